"""Guards alerts: a threshold is told of once in a window, by the posting that passes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from latchgate.domain.alerts import AlertTerms
from latchgate.domain.windows import Window
from latchgate.storage import alerts as rows
from latchgate.storage.budgets import open_window
from latchgate.storage.charges import post_calls
from latchgate.storage.leases import take_lease
from latchgate.storage.ledger import post_credit
from tests.storage.bank import ACCOUNT, EPOCH, NOW_US, Bank, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
OTHER = "acct_other"


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit, all of which its epoch has leased."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        await _lease(opened, opened.credit, 1000)
        yield opened


async def _lease(bank: Bank, window: Window, amount_nanos: int) -> None:
    taken = await bank.store.write(
        take_lease,
        epoch_id=EPOCH,
        window=window,
        wanted_nanos=amount_nanos,
        needed_nanos=amount_nanos,
    )
    assert taken == amount_nanos


async def _add_day(bank: Bank, limit_nanos: int, leased_nanos: int = 0) -> Window:
    """A limit for the day, of which the epoch has leased so much."""
    day = await bank.add_budget("bgt_day", limit_nanos)
    await bank.store.write(open_window, day)
    if leased_nanos:
        await _lease(bank, day, leased_nanos)
    return day


class _Poster:
    """Posts one batch behind the other."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.offset = 0

    async def post(self, *charges: int, windows: tuple[Window, ...] = ()) -> None:
        """Calls of the account with these charges, as one batch."""
        held = windows or (self._bank.credit,)
        records = [self._bank.closed(nanos, *held) for nanos in charges]
        await self.post_records(records)

    async def post_records(self, records: list[object], *, again: bool = False) -> None:
        """A batch; ``again`` posts it where it was posted before."""
        from_offset = self.offset - 10 if again else self.offset
        await self._bank.store.write(
            post_calls,
            records,
            epoch_id=EPOCH,
            from_offset=from_offset,
            to_offset=from_offset + 10,
            now_us=NOW_US + 100,
        )
        self.offset = from_offset + 10


@pytest.fixture
def poster(bank: Bank) -> _Poster:
    return _Poster(bank)


async def _told(bank: Bank) -> list[tuple[str, int, int]]:
    found = await bank.rows(
        "SELECT account_id, kind, threshold, left_nanos FROM alerts ORDER BY kind DESC, threshold"
    )
    return [(row.kind, row.threshold, row.left_nanos) for row in found]


async def test_each_threshold_is_told_of_once_by_the_posting_that_passes_it(
    bank: Bank, poster: _Poster
) -> None:
    await poster.post(10, 489)
    assert await _told(bank) == []
    await poster.post(1)
    assert await _told(bank) == [("credit", 50, 500)]
    await poster.post(1)
    await poster.post(299, 1)
    assert await _told(bank) == [("credit", 50, 500), ("credit", 80, 199)]
    await poster.post(1, 198)
    assert await _told(bank) == [("credit", 50, 500), ("credit", 80, 199), ("credit", 100, 0)]
    mails = await bank.rows("SELECT DISTINCT mail_id FROM alerts WHERE mail_id IS NOT NULL")
    assert len(mails) == 3


async def test_the_end_is_told_of_before_a_call_is_refused(bank: Bank, poster: _Poster) -> None:
    """Nobody ever spends a limit to the last nano-dollar."""
    await poster.post(300)
    await poster.post(300)
    await poster.post(300)
    assert (await _told(bank))[-1] == ("credit", 100, 100)


async def test_towards_the_end_what_a_call_sets_aside_counts(bank: Bank, poster: _Poster) -> None:
    """A call is refused for what it may cost, not for what it will."""
    await poster.post_records([bank.closed(40, bank.credit, hold_nanos=90) for _ in range(22)])
    assert (await _told(bank))[-1] == ("credit", 80, 120)
    await poster.post_records([bank.closed(40, bank.credit, hold_nanos=90)])
    assert (await _told(bank))[-1] == ("credit", 100, 80)


async def test_thresholds_that_are_passed_together_are_one_alert_and_one_mail(
    bank: Bank, poster: _Poster
) -> None:
    day = await _add_day(bank, 600, 600)
    await poster.post(5, 535, windows=(bank.credit, day))
    assert await _told(bank) == [("credit", 50, 460), ("account_limit", 80, 60)]
    mails = await bank.rows("SELECT DISTINCT mail_id FROM alerts")
    assert len(mails) == 1


async def test_a_limit_that_no_lease_carries_is_watched_too(bank: Bank, poster: _Poster) -> None:
    await _add_day(bank, 100)
    await poster.post(5, 55)
    assert await _told(bank) == [("account_limit", 50, 40)]


async def test_what_a_lease_carries_and_what_none_does_are_told_of_together(
    bank: Bank, poster: _Poster
) -> None:
    day = await _add_day(bank, 100, 50)
    await poster.post_records([bank.closed(25, bank.credit, day), bank.closed(30, bank.credit)])
    assert await _told(bank) == [("account_limit", 50, 45)]


async def test_a_batch_that_is_posted_again_tells_nobody_again(bank: Bank, poster: _Poster) -> None:
    records: list[object] = [bank.closed(1, bank.credit), bank.closed(549, bank.credit)]
    await poster.post_records(records)
    await poster.post_records(records, again=True)
    assert await _told(bank) == [("credit", 50, 450)]


async def test_a_batch_that_fails_tells_nobody(bank: Bank, poster: _Poster) -> None:
    records: list[object] = [bank.closed(1, bank.credit), bank.closed(549, bank.credit)]
    await bank.break_windows()
    with pytest.raises(IntegrityError):
        await poster.post_records(records)
    await bank.mend_windows()
    assert await _told(bank) == []
    await poster.post_records(records)
    assert await _told(bank) == [("credit", 50, 450)]


async def test_added_credit_begins_anew_with_shares_of_what_was_added(
    bank: Bank, poster: _Poster
) -> None:
    await poster.post(1, 899)
    assert await _told(bank) == [("credit", 80, 100)]
    await bank.store.write(
        post_credit,
        account_id=ACCOUNT,
        amount_nanos=400,
        kind="top_up",
        note="",
        actor="test",
        now_us=NOW_US + 200,
        posting_id="pst_added",
    )
    assert await bank.store.read(rows.list_shown, ACCOUNT, now_us=NOW_US + 300) == []
    await _lease(bank, bank.credit, 400)
    await poster.post(1, 298)  # 201 are left, of 400 that were added
    assert len(await _told(bank)) == 1
    await poster.post(1)
    assert await _told(bank) == [("credit", 50, 200), ("credit", 80, 100)]


async def test_an_own_amount_stands_for_the_shares_of_credit_but_not_for_the_end(
    bank: Bank, poster: _Poster
) -> None:
    await bank.store.write(rows.set_terms, ACCOUNT, AlertTerms((30, 100), 250, mails_credit=False))
    await poster.post(1, 749)
    assert await _told(bank) == []
    await poster.post(1)
    await poster.post(1, 248)
    assert await _told(bank) == [("credit", 1, 249), ("credit", 100, 0)]
    assert await bank.rows("SELECT mail_id FROM alerts WHERE mail_id IS NOT NULL") == []


async def test_thresholds_set_anew_do_not_tell_of_what_is_passed_already(
    bank: Bank, poster: _Poster
) -> None:
    await poster.post(1, 599)

    def change(conn: object) -> None:
        rows.set_terms(conn, ACCOUNT, AlertTerms((20, 60, 90)))  # type: ignore[arg-type]
        rows.begin_anew(conn, ACCOUNT, now_us=NOW_US + 150)  # type: ignore[arg-type]

    await bank.store.write(change)
    await poster.post(1)
    assert await _told(bank) == [("credit", 50, 400)]
    await poster.post(1, 298)
    assert await _told(bank) == [("credit", 50, 400), ("credit", 90, 100)]


async def test_each_account_is_told_of_its_own_and_gets_its_own_mail(
    bank: Bank, poster: _Poster
) -> None:
    theirs = await bank.add_account(OTHER, 700)
    await _lease(bank, theirs, 700)
    key = f"key_{OTHER}"
    await poster.post_records(
        [
            bank.closed(1, bank.credit),
            bank.closed(599, bank.credit),
            bank.closed(1, theirs, account_id=OTHER, api_key_id=key),
            bank.closed(399, theirs, account_id=OTHER, api_key_id=key),
        ]
    )
    found = await bank.rows("SELECT account_id, mail_id, left_nanos FROM alerts")
    assert {(row.account_id, row.left_nanos) for row in found} == {(ACCOUNT, 400), (OTHER, 300)}
    assert len({row.mail_id for row in found}) == 2


async def test_what_passes_no_threshold_costs_no_statement_and_what_does_costs_two(
    bank: Bank, poster: _Poster
) -> None:
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await poster.post(*[1] * 300)
        quiet = len(statements)
        assert not any("alerts" in statement for statement in statements)
        statements.clear()
        await poster.post(*[1] * 300)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(await _told(bank)) == 1
    assert len(statements) == quiet + 2
