"""A whole money engine on disk, one life of a process after the other, for the state machine."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, text

from latchgate.clock import HOUR_US
from latchgate.domain.ids import new_id
from latchgate.domain.windows import Window, get_zone, window_at
from latchgate.gateway.drain import Drain
from latchgate.gateway.holds import Hold
from latchgate.gateway.journal import Journal
from latchgate.gateway.purse import Purse
from latchgate.services.api_keys import APIKeys
from latchgate.services.audit import audit
from latchgate.services.billing import Billing, InFlight
from latchgate.services.catalog import Catalog, ModelTerms
from latchgate.services.limits import Limits
from latchgate.services.prices import Prices
from latchgate.services.recovery import recover
from latchgate.services.vault import Vault
from latchgate.storage.accounts import get_time_zone, insert_account
from latchgate.storage.budgets import list_budgets
from latchgate.storage.journal_file import CloseRecord, OpenRecord
from latchgate.storage.leases import end_epoch, open_epoch
from latchgate.storage.ledger import open_account_books, open_platform_books
from latchgate.storage.schema import migrate
from latchgate.storage.store import Store
from tests.support.gateway import ACCOUNT, CALLER, PEPPER

#: 2026-01-30, a Friday, 22 o'clock UTC: the day, the week and the month all end soon.
BEGIN_US = 1_769_810_400_000_000
MODEL = "m"
DATABASE = "latchgate.db"
#: Makes a furnished database for a house in this folder; gives its address, and takes it back.
Databases = Callable[[Path], AbstractContextManager[str]]


class SetClock:
    """A clock that only the test moves; it never gives the same moment twice."""

    def __init__(self, at_us: int = BEGIN_US) -> None:
        self.at_us = at_us

    def now_us(self) -> int:
        """A microsecond later each time."""
        self.at_us += 1
        return self.at_us

    def move_hours(self, hours: int) -> None:
        """Let time pass."""
        self.at_us += hours * HOUR_US


async def furnish(path: Path, url: str) -> None:
    """Write an account, a key, and a model of one nano-USD a token into a new database."""
    store, clock = Store(path, url), SetClock(BEGIN_US - HOUR_US)
    await store.write(migrate)
    await store.write(open_platform_books)
    await store.write(_insert_account, clock.now_us())
    catalog, _, api_keys = _services(store, clock)
    await catalog.add_upstream("fake", base_url="http://127.0.0.1:1/v1", api_key=None)
    await catalog.add_model(
        MODEL,
        upstream="fake",
        upstream_model=None,
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=_terms(1),
    )
    await api_keys.create(ACCOUNT, "test", caller=CALLER)
    store.close()


@cache
def _sqlite_template() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        asyncio.run(furnish(path, ""))
        return path.read_bytes()


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """A furnished database in this folder; SQLite has no address."""
    (folder / DATABASE).write_bytes(_sqlite_template())
    yield ""


def _services(store: Store, clock: SetClock) -> tuple[Catalog, Prices, APIKeys]:
    """What changes prices and keys; no directory is there to be told."""

    async def nothing() -> None:
        """Nobody listens."""

    catalog = Catalog(store, clock, Vault(b"v" * 32), nothing)
    prices = Prices(store, clock, nothing)
    return catalog, prices, APIKeys(store, clock, PEPPER, lambda _key_id, _is_usable: None)


def _terms(token_nanos: int) -> ModelTerms:
    """So many nano-USD an output token; input is free."""
    return ModelTerms(0, 0, 1000 * token_nanos)


def _insert_account(conn: Connection, now_us: int) -> None:
    insert_account(
        conn,
        id=ACCOUNT,
        name="Test",
        state="active",
        is_premium_on=0,
        time_zone="UTC",
        credit_line_nanos=0,
        created_us=now_us,
    )
    open_account_books(conn, account_id=ACCOUNT, now_us=now_us)


@dataclass(frozen=True)
class Opened:
    """A call that was let in, and what a token costs it."""

    record: OpenRecord
    token_nanos: int


@dataclass(frozen=True)
class Closed:
    """A call that has ended: its id, its charge, and its record's offset in the journal."""

    request_id: str
    charge_nanos: int
    offset: int


class House:
    """The real store, purse, journal, drain and services over one folder and one database."""

    def __init__(self, folder: Path, databases: Databases = sqlite) -> None:
        self._closing = ExitStack()
        url = self._closing.enter_context(databases(folder))
        self.journal_folder = folder / "journal"
        self.journal_folder.mkdir()
        self.store = Store(folder / DATABASE, url)
        self.clock = SetClock()
        self._numbers = itertools.count()
        self._opened: dict[Hold, Opened] = {}
        self._token_nanos = 1
        in_flight = InFlight(self._flush, self._held)
        self.billing = Billing(
            self.store, self.clock, in_flight, self._on_credit, self._on_limits_changed
        )
        self.limits = Limits(self.store, self.clock, in_flight, self._on_limits_changed)
        self._catalog, self._prices, self._api_keys = _services(self.store, self.clock)

    def close(self) -> None:
        """Give the files and the database back."""
        self.store.close()
        self._closing.close()

    # The engine of just now, whichever it is.
    async def _flush(self) -> None:
        await self.drain.flush()

    def _on_credit(self) -> None:
        self.purse.on_credit()

    async def _on_limits_changed(self, _account_id: str, budget_id: str) -> None:
        await self.purse.on_limit_changed(budget_id)

    def _held(self, window: Window) -> int:
        return self.purse.held_nanos(window)

    # ── a process's life ────────────────────────────────────────────────────────────────────────
    async def start(self) -> None:
        """Settle what a dead process has left, and begin a new epoch."""
        await self.store.write(
            recover, journal_folder=self.journal_folder, now_us=self.clock.now_us()
        )
        self.epoch_id = new_id("epo", self.clock.now_us())
        await self.store.write(open_epoch, epoch_id=self.epoch_id, now_us=self.clock.now_us())
        loop = asyncio.get_running_loop()
        self.purse = Purse(self.store, self.epoch_id)
        self.journal = Journal(self.journal_folder, self.epoch_id, loop, interval_ms=None)
        self.drain = Drain(self.store, self.clock, self.journal, self.purse, self.epoch_id)
        await self._look_up()

    async def _look_up(self) -> None:
        """Learn which key is live and which price is in force."""
        ((self._key_id,),) = await self.rows("SELECT id FROM api_keys WHERE state = 'live'")
        ((self._price_id, picos),) = await self.rows(
            """SELECT id, output_picos FROM prices WHERE service_tier = 'default'
               ORDER BY version DESC LIMIT 1"""
        )
        self._token_nanos = int(picos) // 1000  # type: ignore[call-overload]

    async def replace_key(self, *, at_once: bool) -> None:
        """Give the account a fresh key, in one step or in two."""
        new = await self._api_keys.create(
            ACCOUNT, "fresh", caller=CALLER, replace=True, at_once=at_once
        )
        await self._api_keys.confirm(ACCOUNT, new.view.id, CALLER)
        await self._look_up()

    async def set_price(self, token_nanos: int) -> None:
        """Let a token cost so much for calls that are let in from now on."""
        await self._prices.set_price(MODEL, terms=_terms(token_nanos))
        await self._look_up()

    async def die(self) -> None:
        """Drop the engine as a crash does: what the disk has is there, all else is gone."""
        await self.quiet()
        self._opened.clear()
        self.journal._batch.clear()
        while not self.journal._queue.empty():
            self.journal._queue.get_nowait()
        await self.journal.close()  # only so that its thread ends; nothing is posted

    async def stop(self) -> None:
        """End the engine as a server that is asked to stop does."""
        await self.journal.close()
        await self.drain.close()
        await self.purse.close()
        await self.store.write(end_epoch, epoch_id=self.epoch_id, now_us=self.clock.now_us())

    async def quiet(self) -> None:
        """Wait until no lease is on its way."""
        while self.purse._ahead:
            await asyncio.gather(*self.purse._ahead)

    # ── a call ──────────────────────────────────────────────────────────────────────────────────
    async def windows(self) -> dict[tuple[str, str], Window]:
        """What binds a call that is let in now."""
        now_us = self.clock.now_us()

        def transaction(conn: Connection) -> dict[tuple[str, str], Window]:
            zone = get_zone(get_time_zone(conn, ACCOUNT))
            return {
                (row.kind, row.period): window_at(row.id, row.period, zone, now_us)
                for row in list_budgets(conn, ACCOUNT)
            }

        return await self.store.read(transaction)

    def open(self, hold: Hold) -> int:
        """Note a call that was let in; when it began."""
        opened = OpenRecord(
            request_id=f"req_{next(self._numbers)}",
            account_id=ACCOUNT,
            api_key_id=self._key_id,
            price_id=self._price_id,
            model=MODEL,
            app="test",
            hold_nanos=hold.amount_nanos,
            is_stream=True,
            started_us=self.clock.now_us(),
            ip="127.0.0.1",
        )
        self._opened[hold] = Opened(opened, self._token_nanos)
        self.journal.open_call(opened)
        return opened.started_us

    def close_call(self, hold: Hold, cost_nanos: int, outcome: str = "answered") -> Closed:
        """Settle a call that used what so much money buys, rounded up to a whole token."""
        opened = self._opened.pop(hold)
        call = opened.record
        tokens = -(-cost_nanos // opened.token_nanos)
        charge_nanos = min(tokens * opened.token_nanos, hold.amount_nanos)
        record = CloseRecord(
            request_id=call.request_id,
            account_id=ACCOUNT,
            api_key_id=call.api_key_id,
            price_id=call.price_id,
            model=MODEL,
            app="test",
            hold_nanos=hold.amount_nanos,
            is_stream=True,
            started_us=call.started_us,
            ip=call.ip,
            windows=hold.windows,
            input_tokens=0,
            cached_tokens=0,
            output_tokens=tokens,
            charge_nanos=charge_nanos,
            overrun_nanos=tokens * opened.token_nanos - charge_nanos,
            outcome=outcome,
            counted_by="upstream" if tokens else "nobody",
            http_status=200,
            first_byte_us=None,
            ended_us=self.clock.now_us(),
        )
        hold.settle(charge_nanos)
        offset = self.journal.close_call(record)
        self.drain.add(offset, record)
        return Closed(call.request_id, charge_nanos, offset)

    # ── what the database says ──────────────────────────────────────────────────────────────────
    async def rows(self, query: str) -> Sequence[tuple[object, ...]]:
        """What a query finds."""
        return await self.store.read(
            lambda conn: [tuple(row) for row in conn.execute(text(query)).all()]
        )

    async def findings(self) -> tuple[str, ...]:
        """What the audit finds wrong."""
        report = await self.store.read(audit, journal_folder=self.journal_folder)
        return report.findings
