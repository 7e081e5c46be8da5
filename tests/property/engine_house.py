"""A whole money engine on disk, one life of a process after the other, for the state machine."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
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


@cache
def _template() -> tuple[bytes, str, str]:
    """A database with an account, a key, and a model of one nano-USD a token; key's, price's id."""

    async def build(path: Path) -> tuple[str, str]:
        store, clock = Store(path), SetClock(BEGIN_US - HOUR_US)
        await store.write(migrate)
        await store.write(open_platform_books)
        await store.write(_insert_account, clock.now_us())

        async def nothing() -> None:
            """No directory is there to be told."""

        catalog = Catalog(store, clock, Vault(b"v" * 32), nothing)
        await catalog.add_upstream("fake", base_url="http://127.0.0.1:1/v1", api_key=None)
        await catalog.add_model(
            "m",
            upstream="fake",
            upstream_model=None,
            tier="standard",
            context_tokens=8192,
            output_tokens_max=1000,
            terms=ModelTerms(0, 0, 1000),
        )
        api_keys = APIKeys(store, clock, PEPPER, lambda _key_id, _is_usable: None)
        key = await api_keys.create(ACCOUNT, "test", caller=CALLER)
        price_id: str = await store.read(
            lambda conn: conn.execute(text("SELECT id FROM prices")).scalar_one()
        )
        store.close()
        return key.view.id, price_id

    with TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        key_id, price_id = asyncio.run(build(path))
        return path.read_bytes(), key_id, price_id


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


class House:
    """The real store, purse, journal, drain and services over one folder."""

    def __init__(self, folder: Path) -> None:
        image, self._key_id, self._price_id = _template()
        (folder / "latchgate.db").write_bytes(image)
        self.journal_folder = folder / "journal"
        self.journal_folder.mkdir()
        self.store = Store(folder / "latchgate.db")
        self.clock = SetClock()
        self._numbers = itertools.count()
        self._opened: dict[Hold, OpenRecord] = {}
        in_flight = InFlight(self._flush, self._held)
        self.billing = Billing(self.store, self.clock, in_flight, self._on_credit)
        self.limits = Limits(self.store, self.clock, in_flight, self._on_limits_changed)

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
            model="m",
            app="test",
            hold_nanos=hold.amount_nanos,
            is_stream=True,
            started_us=self.clock.now_us(),
            ip="127.0.0.1",
        )
        self._opened[hold] = opened
        self.journal.open_call(opened)
        return opened.started_us

    def close(self, hold: Hold, cost_nanos: int) -> tuple[str, int]:
        """Settle a call that cost so much; its id and its record's offset in the journal."""
        opened = self._opened.pop(hold)
        charge_nanos = min(cost_nanos, hold.amount_nanos)
        record = CloseRecord(
            request_id=opened.request_id,
            account_id=ACCOUNT,
            api_key_id=self._key_id,
            price_id=self._price_id,
            model="m",
            app="test",
            hold_nanos=hold.amount_nanos,
            is_stream=True,
            started_us=opened.started_us,
            ip=opened.ip,
            windows=hold.windows,
            input_tokens=0,
            cached_tokens=0,
            output_tokens=cost_nanos,
            charge_nanos=charge_nanos,
            overrun_nanos=cost_nanos - charge_nanos,
            outcome="answered",
            counted_by="upstream",
            http_status=200,
            first_byte_us=None,
            ended_us=self.clock.now_us(),
        )
        hold.settle(charge_nanos)
        offset = self.journal.close_call(record)
        self.drain.add(offset, record)
        return opened.request_id, offset

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
