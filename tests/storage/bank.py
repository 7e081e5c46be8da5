"""A database with one account and its credit, for tests of what moves money in it.

With the fixture ``either_engine`` it is SQLite, then PostgreSQL.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from latchgate.domain.windows import Window
from latchgate.storage.accounts import insert_account
from latchgate.storage.budgets import CREDIT, find_window, get_credit_budget
from latchgate.storage.journal_file import CloseRecord, OpenRecord
from latchgate.storage.leases import open_epoch
from latchgate.storage.ledger import open_account_books, open_platform_books, post_credit
from latchgate.storage.statements import AnyRow
from latchgate.storage.store import Store
from tests.support import gateway
from tests.support.sqlite import copy_empty_database

ACCOUNT = "acct_test"
EPOCH = "epo_test"
NOW_US = 1_800_000_000_000_000
#: A key, an upstream, a model and a price: what a usage event speaks of.
_CATALOG = (
    """INSERT INTO api_keys
       (id, account_id, name, public_id, last_four, secret_hash, state, created_us)
       VALUES ('key_' || :account, :account, 'k', :account, 'xxxx', :hash, 'live', 1)""",
    """INSERT INTO upstreams (id, name, base_url, extra_fields, created_us)
       SELECT 'ups_1', 'fake', 'http://localhost', '[]', 1
       WHERE NOT EXISTS (SELECT 1 FROM upstreams)""",
    """INSERT INTO models (id, name, upstream_id, upstream_model, tier, context_tokens,
                           output_tokens_max, message_tokens, is_thinking, created_us)
       SELECT 'mdl_1', 'm', 'ups_1', 'm', 'standard', 100, 100, 1, 0, 1
       WHERE NOT EXISTS (SELECT 1 FROM models)""",
    """INSERT INTO prices
       (id, model_id, version, input_picos, cached_picos, output_picos, effective_from_us)
       SELECT 'prc_1', 'mdl_1', 1, 1, 1, 1, 1 WHERE NOT EXISTS (SELECT 1 FROM prices)""",
)
#: By engine: what lets every change of a window fail.
_BREAK = {
    "sqlite": (
        """CREATE TRIGGER broken BEFORE UPDATE ON budget_windows
           BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN RAISE 'the disk is gone' USING ERRCODE = '23000'; END$$""",
        """CREATE TRIGGER broken BEFORE UPDATE ON budget_windows
           FOR EACH STATEMENT EXECUTE FUNCTION broken()""",
    ),
}


@dataclass
class Figures:
    """A window as it stands in the database."""

    limit_nanos: int
    spent_nanos: int
    leased_nanos: int
    ceiling_nanos: int


@dataclass
class Bank:
    """The database, and short ways to ask and to change it."""

    store: Store
    credit: Window
    _numbers: Any = field(default_factory=itertools.count)

    async def rows(self, sql: str, **values: object) -> Sequence[AnyRow]:
        """What a query gives."""
        return await self.store.read(lambda conn: conn.execute(text(sql), values).all())

    async def change(self, sql: str, **values: object) -> None:
        """Run a statement as no part of ours would."""

        def run(conn: Connection) -> None:
            conn.execute(text(sql), values)

        await self.store.write(run)

    async def break_windows(self) -> None:
        """From now on no window can be changed."""
        for sql in _BREAK[await self._engine()]:
            await self.change(sql)

    async def mend_windows(self) -> None:
        """Undo that."""
        on_table = " ON budget_windows" if await self._engine() == "postgresql" else ""
        await self.change(f"DROP TRIGGER broken{on_table}")

    async def _engine(self) -> str:
        return await self.store.read(lambda conn: conn.dialect.name)

    async def figures(self, window: Window | None = None) -> Figures | None:
        """A window's figures; None while it is not there."""
        row = await self.store.read(find_window, window or self.credit)
        if row is None:
            return None
        return Figures(row.limit_nanos, row.spent_nanos, row.leased_nanos, row.ceiling_nanos)

    async def leased_nanos(self, window: Window | None = None, epoch_id: str = EPOCH) -> int | None:
        """What an epoch has of a window; None without a row."""
        window = window or self.credit
        rows = await self.rows(
            "SELECT leased_nanos FROM leases"
            " WHERE epoch_id = :epoch AND budget_id = :budget AND starts_us = :starts",
            epoch=epoch_id,
            budget=window.budget_id,
            starts=window.starts_us,
        )
        return rows[0][0] if rows else None

    async def add_account(self, account_id: str, credit_nanos: int) -> Window:
        """An account with a key and credit; its credit's window."""

        def transaction(conn: Connection) -> str:
            insert_account(
                conn,
                id=account_id,
                name=account_id,
                state="active",
                is_premium_on=0,
                time_zone="UTC",
                credit_line_nanos=0,
                created_us=1,
            )
            open_account_books(conn, account_id=account_id, now_us=1)
            if credit_nanos:
                _give(conn, account_id, credit_nanos, f"pst_{account_id}")
            for sql in _CATALOG:
                names = {"account": account_id, "hash": b"\0"} if ":account" in sql else {}
                conn.execute(text(sql), names)
            return get_credit_budget(conn, account_id)

        return Window(await self.store.write(transaction))

    async def add_credit(self, amount_nanos: int) -> None:
        """Give the account more credit."""
        posting_id = f"pst_more_{next(self._numbers)}"
        await self.store.write(_give, ACCOUNT, amount_nanos, posting_id)

    async def add_budget(
        self, budget_id: str, limit_nanos: int, *, period: str = "day", account_id: str = ACCOUNT
    ) -> Window:
        """A limit beside the credit that is on; a window of it that is not open yet."""
        await self.change(
            "INSERT INTO budgets (id, account_id, kind, period, target, limit_nanos,"
            " active_since_us) VALUES (:id, :account, 'account_limit', :period, '', :nanos, 1)",
            id=budget_id,
            account=account_id,
            period=period,
            nanos=limit_nanos,
        )
        return Window(budget_id, NOW_US - 1000, NOW_US + 1000)

    async def add_playground(self) -> str:
        """The row under which the account's calls without a key are noted; its id."""
        await self.change(
            "INSERT INTO api_keys (id, account_id, kind, name, public_id, last_four, secret_hash,"
            " state, created_us) VALUES ('key_play', :account, 'playground', 'p', 'play', 'xxxx',"
            " :hash, 'revoked', 1)",
            account=ACCOUNT,
            hash=b"",
        )
        return "key_play"

    def closed(self, charge_nanos: int, *windows: Window, **values: Any) -> CloseRecord:
        """The record of a call that has ended; it was let in at ``NOW_US``."""
        row = {
            "request_id": f"req_{next(self._numbers)}",
            "account_id": ACCOUNT,
            "api_key_id": "key_acct_test",
            "price_id": "prc_1",
            "model": "m",
            "app": "test",
            "hold_nanos": 10_000,
            "is_stream": False,
            "started_us": NOW_US,
            "ip": "127.0.0.1",
            "windows": tuple((window.budget_id, window.starts_us) for window in windows),
            "input_tokens": 7,
            "cached_tokens": 3,
            "output_tokens": 5,
            "charge_nanos": charge_nanos,
            "overrun_nanos": 0,
            "outcome": "answered",
            "counted_by": "upstream",
            "http_status": 200,
            "first_byte_us": NOW_US + 1,
            "ended_us": NOW_US + 2,
        }
        return CloseRecord(**{**row, **values})

    def opened(self, **values: Any) -> OpenRecord:
        """The record of a call that was let in."""
        closed = self.closed(0)
        row = {name: getattr(closed, name) for name in OpenRecord.__struct_fields__}
        return OpenRecord(**{**row, **values})


def _give(conn: Connection, account_id: str, amount_nanos: int, posting_id: str) -> None:
    post_credit(
        conn,
        account_id=account_id,
        amount_nanos=amount_nanos,
        kind="gift",
        note="",
        actor="test",
        now_us=1,
        posting_id=posting_id,
    )


@asynccontextmanager
async def open_bank(folder: Path, *, credit_nanos: int = 1_000) -> AsyncIterator[Bank]:
    """A database with one account, its credit, and one open epoch."""
    path, url = folder / "latchgate.db", gateway.default_database_url()
    if not url:
        await copy_empty_database(path)
    store = Store(path, url)
    try:
        if url:
            await store.write(open_platform_books)
        await store.write(open_epoch, epoch_id=EPOCH, now_us=NOW_US)
        bank = Bank(store, Window(CREDIT))
        bank.credit = await bank.add_account(ACCOUNT, credit_nanos)
        yield bank
    finally:
        store.close()
