"""Guards that a month closes once, with every posting on one statement, and stays as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from latchgate.clock import DAY_US, HOUR_US
from latchgate.domain.errors import NotFound
from latchgate.domain.monthly_statements import FullStatement, Used
from latchgate.services.audit import audit
from latchgate.services.billing import InFlight
from latchgate.services.monthly_statements import LATE_US, MonthlyStatements
from latchgate.storage.charges import post_calls
from latchgate.storage.leases import end_epoch
from latchgate.storage.ledger import post_credit
from tests.storage.bank import ACCOUNT, EPOCH, Bank, open_bank
from tests.storage.test_redemption_codes import SetClock

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
OTHER = "acct_other"


def us(year: int, month: int, day: int = 1, hour: int = 0) -> int:
    """A moment of UTC."""
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * 1_000_000


@dataclass
class Months:
    """The service over a bank whose account began on 10 January 2026."""

    bank: Bank
    clock: SetClock
    service: MonthlyStatements
    folder: Path
    offset: int = 0
    settled: list[int] = field(default_factory=list)

    async def charge(self, at_us: int, *nanos: int, account_id: str = ACCOUNT) -> None:
        """Calls that ended and were posted together."""
        calls = [
            self.bank.closed(
                amount, account_id=account_id, api_key_id=f"key_{account_id}", started_us=at_us
            )
            for amount in nanos
        ]
        step = {"from_offset": self.offset, "to_offset": self.offset + 1}
        await self.bank.store.write(post_calls, calls, epoch_id=EPOCH, **step, now_us=at_us)
        self.offset += 1

    async def credit(self, at_us: int, nanos: int, kind: str = "top_up", note: str = "") -> None:
        def give(conn: Connection) -> None:
            post_credit(
                conn,
                account_id=ACCOUNT,
                amount_nanos=nanos,
                kind=kind,
                note=note,
                actor="test",
                now_us=at_us,
                posting_id=f"pst_{kind}_{at_us}",
            )

        await self.bank.store.write(give)

    async def all(self, account_id: str = ACCOUNT) -> list[FullStatement]:
        """Every statement with its lines, oldest first."""
        heads, _ = await self.service.list_statements(account_id, limit=200)
        return [await self.service.get(account_id, head.id) for head in heads[::-1]]

    async def findings(self) -> list[str]:
        """What the audit says, less what is of the bank's calls (their prices are made up)."""
        found = (await self.bank.store.read(audit, journal_folder=self.folder)).findings
        return [line for line in found if not line.startswith(("call ", "epoch "))]


@pytest.fixture
async def months(tmp_path: Path) -> AsyncIterator[Months]:
    async with open_bank(tmp_path, credit_nanos=1_000_000) as bank:
        await bank.add_account(OTHER, 0)
        begins_us = us(2026, 1, 10)
        await bank.change(f"UPDATE accounts SET created_us = {begins_us}")
        await bank.change(f"UPDATE postings SET created_us = {begins_us}")
        clock = SetClock(begins_us)
        settled: list[int] = []

        async def settle() -> None:
            settled.append(clock.at_us)

        in_flight = InFlight(settle, lambda _window: 0)
        service = MonthlyStatements(bank.store, clock, in_flight)
        yield Months(bank, clock, service, tmp_path, settled=settled)


async def test_a_month_closes_at_its_accounts_midnight_and_not_a_moment_before(
    months: Months,
) -> None:
    await months.bank.change("UPDATE accounts SET time_zone = 'Asia/Tokyo'")
    months.clock.at_us = us(2026, 2) - 9 * HOUR_US - 1
    assert await months.service.next_close_us(ACCOUNT) == us(2026, 2) - 9 * HOUR_US
    assert (await months.all(), months.settled) == ([], [])
    months.clock.at_us += 1
    (full,) = await months.all()
    statement = full.statement
    assert (statement.starts_us, statement.ends_us) == (us(2026, 1, 10), months.clock.at_us)
    assert (statement.number, statement.time_zone) == (1, "Asia/Tokyo")
    assert (statement.opening_nanos, statement.closing_nanos) == (0, 1_000_000)
    assert months.settled  # what was in flight is posted before a month is closed
    assert await months.findings() == []


async def test_every_posting_is_a_part_of_one_statement(months: Months) -> None:
    await months.charge(us(2026, 1, 20), 10, 20)
    await months.charge(us(2026, 1, 20, 23), 5)
    await months.credit(us(2026, 1, 31), 700, "refund", "Sorry")
    await months.charge(us(2026, 2) - 1, 40)
    await months.charge(us(2026, 2), 80)
    await months.credit(us(2026, 3, 5), -100, "correction", "Too much")
    await months.charge(us(2026, 4, 5), 7)  # in the month that runs
    months.clock.at_us = us(2026, 4, 6)
    january, february, march = await months.all()
    assert [line.amount_nanos for line in january.credits] == [1_000_000, 700]
    assert january.credits[1].note == "Sorry"
    assert {str(day): used.charge_nanos for day, used in january.by_day.items()} == {
        "2026-01-20": 35,
        "2026-01-31": 40,
    }
    assert january.used == Used(4, 28, 12, 20, 75)
    assert january.by_model == {("m", "default"): january.used}
    assert (february.used.charge_nanos, february.credits) == (80, ())
    assert ([line.amount_nanos for line in march.credits], march.usage) == ([-100], ())
    for before, after in ((january, february), (february, march)):
        assert after.statement.opening_nanos == before.statement.closing_nanos
        assert after.statement.starts_us == before.statement.ends_us
    for full in (january, february, march):
        moved = full.statement.closing_nanos - full.statement.opening_nanos
        assert moved == full.credit_nanos - full.used.charge_nanos
    assert march.statement.closing_nanos == 1_000_000 + 700 - 75 - 80 - 100
    assert await months.findings() == []


async def test_a_closed_statement_never_changes(months: Months) -> None:
    await months.charge(us(2026, 1, 20), 10)
    months.clock.at_us = us(2026, 2)
    (before,) = await months.all()
    # A posting of January that was written just behind the close, a new zone, more of everything.
    await months.charge(us(2026, 1, 31, 23), 3)
    await months.credit(us(2026, 2, 2), 9)
    await months.bank.change("UPDATE accounts SET time_zone = 'America/New_York'")
    months.clock.at_us = us(2026, 3, 2)
    again, february = await months.all()
    assert again == before
    assert february.used.charge_nanos == 3
    assert [str(line.day) for line in february.usage] == ["2026-01-31"]
    assert await months.findings() == []


async def test_a_month_is_closed_once_whoever_asks_at_once(months: Months) -> None:
    await months.charge(us(2026, 1, 20), 10)
    months.clock.at_us = us(2026, 3)
    others = [
        MonthlyStatements(months.bank.store, months.clock, InFlight(_nothing, lambda _w: 0))
        for _ in range(4)
    ]
    closed = await asyncio.gather(
        *(service.close_due(ACCOUNT) for service in others), *(s.close_all() for s in others)
    )
    assert sum(closed) == 4  # two months of two accounts
    assert [full.statement.number for full in await months.all()] == [1, 2]
    assert await months.findings() == []


async def _nothing() -> None:
    """Nothing is in flight."""


async def test_all_accounts_that_are_behind_are_found_and_no_other(months: Months) -> None:
    months.clock.at_us = us(2026, 1, 31, 23)
    assert await months.service.close_all() == 0
    await months.bank.change(f"UPDATE accounts SET time_zone = 'Asia/Tokyo' WHERE id = '{OTHER}'")
    assert await months.service.close_all() == 1
    assert (await months.all(), len(await months.all(OTHER))) == ([], 1)
    months.clock.at_us = us(2026, 2)
    assert await months.service.close_all() == 1
    assert await months.service.close_all() == 0
    months.clock.at_us = us(2027, 2)
    assert await months.service.close_all() == 24


async def test_a_serving_process_closes_months_by_itself_and_stops(months: Months) -> None:
    months.clock.at_us = us(2026, 2, 2)
    months.service.start()
    query = "SELECT count(*) FROM monthly_statements"
    while (await months.bank.rows(query))[0][0] < 2:  # noqa: ASYNC110 - rows tell nobody
        await asyncio.sleep(0.01)
    await months.service.stop()


async def test_another_accounts_statement_looks_like_a_missing_one(months: Months) -> None:
    months.clock.at_us = us(2026, 2)
    (mine,) = await months.all()
    for account_id, statement_id in (
        (OTHER, mine.statement.id),
        (ACCOUNT, "stm_00000000000000000000000000"),
        (ACCOUNT, "' OR 1=1 --"),
    ):
        with pytest.raises(NotFound, match="There is no such statement"):
            await months.service.get(account_id, statement_id)


async def test_statements_are_paged_newest_first(months: Months) -> None:
    months.clock.at_us = us(2026, 8)
    seen: list[int] = []
    before = None
    while True:
        page, before = await months.service.list_statements(ACCOUNT, before=before, limit=3)
        seen += [statement.number for statement in page]
        if before is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


#: What is spoiled, and what the audit must say of it.
SPOILED = {
    "UPDATE monthly_statements SET closing_nanos = closing_nanos + 1 WHERE number = 2": (" make ",),
    "UPDATE monthly_statements SET opening_nanos = opening_nanos + 1,"
    " closing_nanos = closing_nanos + 1 WHERE number = 2": ("does not go on from number 1",),
    "UPDATE monthly_statements SET starts_us = starts_us + 1 WHERE number = 2": (
        "does not go on from number 1",
    ),
    "UPDATE statement_usage SET charge_nanos = charge_nanos + 1": ("its lines of usage sum to",),
    "UPDATE statement_usage SET calls = calls + 1": ("calls, its postings have",),
    "DELETE FROM statement_usage": ("its lines of usage sum to", "calls, its postings have"),
    "DELETE FROM statement_postings": (" make ", "its month is closed, and it is on no statement"),
    "UPDATE monthly_statements SET account_id = 'acct_other', number = number + 10": (
        "is another account's",
    ),
    "UPDATE postings SET amount_nanos = amount_nanos - 1 WHERE kind = 'usage'": (
        " make ",
        "its lines of usage sum to",
    ),
}


@pytest.mark.parametrize("statement", SPOILED)
async def test_the_audit_finds_statements_that_were_tampered_with(
    months: Months, statement: str
) -> None:
    await months.charge(us(2026, 1, 20), 10, 20)
    months.clock.at_us = us(2026, 3)
    assert len(await months.all()) == 2
    assert await months.findings() == []
    await months.bank.store.write(end_epoch, epoch_id=EPOCH, now_us=1)

    def spoil(conn: Connection) -> tuple[str, ...]:
        assert conn.execute(text(statement)).rowcount > 0
        return audit(conn, journal_folder=months.folder).findings

    found = "\n".join(await months.bank.store.write(spoil))
    for sentence in SPOILED[statement]:
        assert sentence in found


async def test_a_clock_that_was_put_back_loses_no_posting(months: Months) -> None:
    months.clock.at_us = us(2026, 3)
    assert len(await months.all()) == 2
    await months.credit(us(2026, 3) - LATE_US + DAY_US, 9)
    months.clock.at_us = us(2026, 4)
    assert (await months.all())[-1].credit_nanos == 9
    assert await months.findings() == []
