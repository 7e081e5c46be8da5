"""Guards leases: what an epoch has of a window is set aside there, and never twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from latchgate.domain.windows import Window
from latchgate.storage import leases
from latchgate.storage.budgets import find_window
from latchgate.storage.leases import (
    advance_offset,
    end_epoch,
    expect_one,
    list_open_epochs,
    move_lease,
    open_epoch,
    return_lease,
    take_lease,
)
from tests.storage.bank import EPOCH, NOW_US, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
OTHER = "epo_other"


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        yield opened


async def _take(
    bank: Bank, wanted: int, needed: int, *, window: Window | None = None, epoch_id: str = EPOCH
) -> int:
    return await bank.store.write(
        take_lease,
        epoch_id=epoch_id,
        window=window or bank.credit,
        wanted_nanos=wanted,
        needed_nanos=needed,
    )


async def _open_other(bank: Bank) -> None:
    await bank.store.write(open_epoch, epoch_id=OTHER, now_us=NOW_US + 1)


# ── taking ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_lease_is_set_aside_in_its_window(bank: Bank) -> None:
    assert await _take(bank, 100, 10) == 100
    assert await bank.figures() == Figures(1000, 0, 100, 1000)
    assert await bank.leased_nanos() == 100


async def test_what_goes_back_leaves_another_limits_window_of_the_same_day_alone(
    bank: Bank,
) -> None:
    one = await bank.add_budget("bgt_one", 400)
    other = await bank.add_budget("bgt_other", 400, period="week")
    for window in (one, other):
        assert await _take(bank, 50, 50, window=window) == 50
    await bank.store.write(return_lease, epoch_id=EPOCH, window=one, amount_nanos=20)
    assert await bank.figures(one) == Figures(400, 0, 30, 400)
    assert await bank.figures(other) == Figures(400, 0, 50, 400)


async def test_a_second_lease_is_added_to_the_first(bank: Bank) -> None:
    assert [await _take(bank, 100, 10), await _take(bank, 50, 10)] == [100, 50]
    assert await bank.figures() == Figures(1000, 0, 150, 1000)
    assert await bank.leased_nanos() == 150


@pytest.mark.parametrize(
    ("wanted", "needed", "taken"),
    [
        (100, 1, 100),  # there is plenty
        (125, 1, 125),  # just an eighth of what is left
        (126, 1, 125),  # no more than an eighth
        (1000, 1, 125),
        (1000, 125, 125),
        (1000, 126, 126),  # but never below what is needed
        (500, 500, 500),
        (1000, 1000, 1000),
        (1001, 1001, 1000),  # all that is left, which is too little
        (5000, 5000, 1000),
        (3, 2, 3),
        (0, 0, 0),
        (-5, -5, 0),
    ],
)
async def test_a_lease_is_an_eighth_of_the_rest_at_most_but_what_is_needed(
    bank: Bank, wanted: int, needed: int, taken: int
) -> None:
    assert await _take(bank, wanted, needed) == taken
    assert await bank.leased_nanos() == (taken or None)
    figures = await bank.figures()
    assert figures is not None
    assert figures.leased_nanos == taken


async def test_slices_shrink_as_a_window_runs_dry_and_the_last_nano_goes_too(bank: Bank) -> None:
    taken = [await _take(bank, 10_000, 1) for _ in range(20)]
    assert taken[:4] == [125, 109, 95, 83]
    assert taken == sorted(taken, reverse=True)
    while more := await _take(bank, 10_000, 1):
        taken.append(more)
    assert sum(taken) == 1000
    assert taken[-1] == 1


async def test_what_is_spent_is_not_there_to_lease(bank: Bank) -> None:
    await bank.change("UPDATE budget_windows SET spent_nanos = 900, leased_nanos = 60")
    assert await _take(bank, 1000, 1000) == 40
    assert await _take(bank, 1000, 1000) == 0
    assert await bank.figures() == Figures(1000, 900, 100, 1000)


async def test_a_window_beyond_its_limit_gives_nothing_and_takes_nothing_back(bank: Bank) -> None:
    await bank.change("UPDATE budget_windows SET spent_nanos = 900, limit_nanos = 500")
    assert await _take(bank, 100, 100) == 0
    assert await bank.figures() == Figures(500, 900, 0, 1000)
    assert await bank.leased_nanos() is None


async def test_two_epochs_have_slices_of_their_own(bank: Bank) -> None:
    await _open_other(bank)
    assert await _take(bank, 100, 100) == 100
    assert await _take(bank, 70, 70, epoch_id=OTHER) == 70
    assert await bank.leased_nanos() == 100
    assert await bank.leased_nanos(epoch_id=OTHER) == 70
    assert await bank.figures() == Figures(1000, 0, 170, 1000)


async def test_a_window_that_has_just_begun_is_opened_by_its_first_lease(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    assert await bank.figures(day) is None
    assert await _take(bank, 10, 10, window=day) == 10
    assert await bank.figures(day) == Figures(400, 0, 10, 400)
    assert await bank.figures() == Figures(1000, 0, 0, 1000)


async def test_leases_of_one_budget_keep_their_windows_apart(bank: Bank) -> None:
    today = await bank.add_budget("bgt_day", 400)
    tomorrow = Window("bgt_day", today.ends_us, today.ends_us + 2000)
    assert await _take(bank, 10, 10, window=today) == 10
    assert await _take(bank, 20, 20, window=tomorrow) == 20
    assert await _take(bank, 5, 5, window=today) == 5
    assert await bank.figures(today) == Figures(400, 0, 15, 400)
    assert await bank.figures(tomorrow) == Figures(400, 0, 20, 400)
    assert [await bank.leased_nanos(today), await bank.leased_nanos(tomorrow)] == [15, 20]


async def test_a_budget_that_is_off_gives_nothing(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await bank.change("UPDATE budgets SET active_since_us = NULL WHERE id = 'bgt_day'")
    assert await _take(bank, 10, 10, window=day) == 0
    assert await _take(bank, 10, 10, window=Window("bgt_unknown")) == 0
    assert await bank.rows("SELECT * FROM leases") == []


# ── giving back ─────────────────────────────────────────────────────────────────────────────────
async def test_what_is_given_back_can_be_leased_again(bank: Bank) -> None:
    await _open_other(bank)
    await _take(bank, 100, 100)
    await _take(bank, 50, 50, epoch_id=OTHER)
    await bank.store.write(return_lease, epoch_id=EPOCH, window=bank.credit, amount_nanos=30)
    assert await bank.figures() == Figures(1000, 0, 120, 1000)
    assert await bank.leased_nanos() == 70
    assert await bank.leased_nanos(epoch_id=OTHER) == 50


async def test_a_return_says_by_how_much_its_window_is_beyond_its_limit(bank: Bank) -> None:
    async def give_back(amount_nanos: int, window: Window) -> int:
        return await bank.store.write(
            return_lease, epoch_id=EPOCH, window=window, amount_nanos=amount_nanos
        )

    await _take(bank, 600, 600)
    assert await give_back(0, bank.credit) == 0
    await bank.change("UPDATE budget_windows SET limit_nanos = 100, spent_nanos = 50")
    assert [await give_back(nanos, bank.credit) for nanos in (0, 200, 349)] == [550, 350, 1]
    assert [await give_back(nanos, bank.credit) for nanos in (1, 50)] == [0, 0]
    assert await bank.figures() == Figures(100, 50, 0, 1000)
    assert await give_back(0, Window("bgt_unknown")) == 0


async def test_more_than_was_leased_is_not_taken_back(bank: Bank) -> None:
    await _open_other(bank)
    await _take(bank, 100, 100)
    await _take(bank, 200, 200, epoch_id=OTHER)
    with pytest.raises(IntegrityError, match="ck_leases_sign"):
        await bank.store.write(return_lease, epoch_id=EPOCH, window=bank.credit, amount_nanos=101)
    assert await bank.figures() == Figures(1000, 0, 300, 1000)
    assert await bank.leased_nanos() == 100


async def test_a_lease_that_nobody_has_is_not_given_back(bank: Bank) -> None:
    await _take(bank, 100, 100)
    for epoch_id, window in ((OTHER, bank.credit), (EPOCH, Window("bgt_unknown"))):
        with pytest.raises(LookupError, match="0 rows for window Window"):
            await bank.store.write(return_lease, epoch_id=epoch_id, window=window, amount_nanos=1)
    assert await bank.figures() == Figures(1000, 0, 100, 1000)


async def test_a_lease_moves_only_where_there_is_one(bank: Bank) -> None:
    await _take(bank, 100, 100)
    await bank.store.write(move_lease, EPOCH, bank.credit, -40)
    assert await bank.leased_nanos() == 60
    with pytest.raises(LookupError, match="0 rows"):
        await bank.store.write(move_lease, EPOCH, Window(bank.credit.budget_id, 5), -1)


def test_a_statement_must_meet_one_row_and_no_other_number() -> None:
    window = Window("bgt_1", 5)
    expect_one(1, window)
    for count in (-1, 0, 2):
        with pytest.raises(LookupError, match=f"{count} rows for window Window.*bgt_1"):
            expect_one(count, window)


async def test_what_another_process_took_between_two_statements_is_not_taken_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = await bank.store.read(find_window, bank.credit)
    assert await _take(bank, 950, 950) == 950
    monkeypatch.setattr(leases, "_find_window", lambda *_: now)  # what was read before that
    assert await _take(bank, 100, 100) == 0
    assert await bank.figures() == Figures(1000, 0, 950, 1000)
    assert await bank.leased_nanos() == 950
    assert await _take(bank, 50, 50) == 50


# ── epochs ──────────────────────────────────────────────────────────────────────────────────────
async def test_open_epochs_are_listed_oldest_first_with_their_offset(bank: Bank) -> None:
    await bank.store.write(open_epoch, epoch_id="epo_a_later", now_us=NOW_US + 5)
    await bank.store.write(open_epoch, epoch_id="epo_z_early", now_us=NOW_US - 5)
    await bank.store.write(advance_offset, epoch_id="epo_test", from_offset=0, to_offset=77)
    listed = await bank.store.read(list_open_epochs)
    assert [tuple(row) for row in listed] == [
        ("epo_z_early", 0),
        (EPOCH, 77),
        ("epo_a_later", 0),
    ]
    await bank.store.write(end_epoch, epoch_id=EPOCH, now_us=NOW_US)
    listed = await bank.store.read(list_open_epochs)
    assert [row.id for row in listed] == ["epo_z_early", "epo_a_later"]


async def test_an_epoch_begins_open_and_at_the_start_of_its_journal(bank: Bank) -> None:
    (row,) = await bank.rows("SELECT id, started_us, ended_us, journal_offset FROM epochs")
    assert tuple(row) == (EPOCH, NOW_US, None, 0)


async def test_an_ended_epoch_gives_back_every_lease_that_it_had_and_no_other(bank: Bank) -> None:
    await _open_other(bank)
    day = await bank.add_budget("bgt_day", 400)
    await _take(bank, 100, 100)
    await _take(bank, 40, 40, window=day)
    await _take(bank, 7, 7, epoch_id=OTHER)
    await bank.store.write(end_epoch, epoch_id=EPOCH, now_us=NOW_US + 9)
    assert await bank.figures() == Figures(1000, 0, 7, 1000)
    assert await bank.figures(day) == Figures(400, 0, 0, 400)
    rows = await bank.rows("SELECT epoch_id, leased_nanos FROM leases")
    assert [tuple(row) for row in rows] == [(OTHER, 7)]
    rows = await bank.rows("SELECT id, ended_us FROM epochs ORDER BY id DESC")
    assert [tuple(row) for row in rows] == [(EPOCH, NOW_US + 9), (OTHER, None)]


async def test_an_epoch_ends_once_and_keeps_the_moment(bank: Bank) -> None:
    for later_us in (3, 4):
        await bank.store.write(end_epoch, epoch_id=EPOCH, now_us=NOW_US + later_us)
    assert await bank.rows("SELECT ended_us FROM epochs") == [(NOW_US + 3,)]


async def test_an_offset_moves_on_only_from_where_it_stands(bank: Bank) -> None:
    await _open_other(bank)
    await bank.store.write(advance_offset, epoch_id=EPOCH, from_offset=0, to_offset=10)
    for from_offset in (0, 9, 11):
        with pytest.raises(LookupError, match=f"{EPOCH} is fenced or not at offset {from_offset}"):
            await bank.store.write(
                advance_offset, epoch_id=EPOCH, from_offset=from_offset, to_offset=20
            )
    rows = await bank.rows("SELECT journal_offset FROM epochs ORDER BY id DESC")
    assert [row[0] for row in rows] == [10, 0]


async def test_an_offset_is_where_it_should_be_only_in_its_own_open_epoch(bank: Bank) -> None:
    await _open_other(bank)
    await bank.store.write(advance_offset, epoch_id=OTHER, from_offset=0, to_offset=20)
    with pytest.raises(LookupError, match="is fenced or not at offset 5"):
        await bank.store.write(advance_offset, epoch_id=EPOCH, from_offset=5, to_offset=20)
    await bank.store.write(end_epoch, epoch_id=OTHER, now_us=NOW_US)
    with pytest.raises(LookupError, match="is fenced or not at offset 0"):
        await bank.store.write(advance_offset, epoch_id=OTHER, from_offset=0, to_offset=20)


@pytest.mark.parametrize("epoch_id", [EPOCH, "epo_unknown"])
async def test_an_epoch_that_has_ended_or_never_was_posts_nothing(
    bank: Bank, epoch_id: str
) -> None:
    await bank.store.write(end_epoch, epoch_id=EPOCH, now_us=NOW_US)
    with pytest.raises(LookupError, match="is fenced"):
        await bank.store.write(advance_offset, epoch_id=epoch_id, from_offset=0, to_offset=1)


async def test_a_lease_and_what_it_is_for_are_one_transaction(bank: Bank) -> None:
    def take_and_fail(conn: Connection) -> None:
        take_lease(conn, epoch_id=EPOCH, window=bank.credit, wanted_nanos=9, needed_nanos=9)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bank.store.write(take_and_fail)
    assert await bank.figures() == Figures(1000, 0, 0, 1000)
    assert await bank.leased_nanos() is None
