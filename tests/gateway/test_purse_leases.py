"""Guards the purse's leases against a real database: when they are taken, and how they go back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from latchgate.domain.errors import LedgerUnavailable
from latchgate.domain.windows import Window
from latchgate.gateway.purse import AHEAD_CALLS, AHEAD_NANOS, Hold, Purse, Shortage, Slice
from latchgate.storage.budgets import set_limit
from latchgate.storage.charges import Spent, post_calls
from latchgate.storage.leases import open_epoch
from tests.gateway.purses import at_rest, check_books, hold_exactly
from tests.storage.bank import EPOCH, NOW_US, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
USD = 1_000_000_000


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        yield opened


@pytest.fixture
async def rich(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 100 USD of credit."""
    async with open_bank(tmp_path, credit_nanos=100 * USD) as opened:
        yield opened


# ── bindings ────────────────────────────────────────────────────────────────────────────────────
async def test_a_binding_is_good_until_its_time_and_while_no_slice_is_forgotten(
    bank: Bank,
) -> None:
    purse = Purse(bank.store, EPOCH)
    bindings = []
    for _ in range(3):
        binding = purse.bind([bank.credit], until_us=100)
        assert purse.is_bound(binding, 99)
        assert not purse.is_bound(binding, 100)
        bindings.append(binding)
        await purse.return_idle()  # nobody holds anything: the slice is forgotten
        assert not any(purse.is_bound(earlier, 99) for earlier in bindings)


# ── leases ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_first_hold_leases_ahead_and_the_next_ones_ask_nobody(rich: Bank) -> None:
    purse = Purse(rich.store, EPOCH)
    await hold_exactly(purse, 1000, rich.credit)
    assert await rich.leased_nanos() == AHEAD_NANOS
    await rich.break_windows()
    for _ in range(100):
        await hold_exactly(purse, AHEAD_NANOS // 200, rich.credit)
    assert not purse._ahead


async def test_dear_calls_lease_some_times_their_need(rich: Bank) -> None:
    purse = Purse(rich.store, EPOCH)
    await hold_exactly(purse, USD // 10, rich.credit)
    assert await rich.leased_nanos() == AHEAD_CALLS * USD // 10
    await hold_exactly(purse, 20 * USD, rich.credit)
    await check_books(rich, purse, rich.credit)


@pytest.mark.parametrize("grows", [False, True])
async def test_a_slice_that_gets_low_is_filled_before_it_is_empty(
    rich: Bank, *, grows: bool
) -> None:
    purse = Purse(rich.store, EPOCH)
    hold = await hold_exactly(purse, 1000, rich.credit)
    piece = purse.slice_of(rich.credit)

    async def take(amount_nanos: int) -> None:
        if grows:
            assert purse.extend(hold, amount_nanos)
        else:
            await hold_exactly(purse, amount_nanos, rich.credit)

    step_nanos = AHEAD_NANOS // 100
    while piece.free_nanos > AHEAD_NANOS // 4:
        await take(min(step_nanos, piece.free_nanos - AHEAD_NANOS // 4))
        assert not purse._ahead
    assert await rich.leased_nanos() == AHEAD_NANOS
    await take(1)
    assert purse._ahead
    await at_rest(purse)
    assert piece.free_nanos >= AHEAD_NANOS // 2
    await check_books(rich, purse, rich.credit)


async def test_a_call_that_grows_fast_has_more_leased_ahead(rich: Bank) -> None:
    purse = Purse(rich.store, EPOCH)
    hold = await hold_exactly(purse, 1000, rich.credit)
    assert purse.extend(hold, AHEAD_NANOS // 2)
    assert purse._ahead
    await at_rest(purse)
    assert purse.slice_of(rich.credit).free_nanos > AHEAD_NANOS // 2


async def test_what_is_leased_ahead_is_no_more_than_is_said(rich: Bank) -> None:
    purse = Purse(rich.store, EPOCH)
    for _ in range(20):
        await hold_exactly(purse, AHEAD_NANOS // AHEAD_CALLS, rich.credit)
        await at_rest(purse)
        piece = purse.slice_of(rich.credit)
        assert piece.free_nanos <= 2 * AHEAD_NANOS


async def test_near_the_end_of_a_budget_one_process_leaves_some_to_another(bank: Bank) -> None:
    await bank.store.write(open_epoch, epoch_id="epo_other", now_us=NOW_US)
    first, second = Purse(bank.store, EPOCH), Purse(bank.store, "epo_other")
    await hold_exactly(first, 10, bank.credit)
    await at_rest(first)
    await hold_exactly(second, 100, bank.credit)


async def test_a_lease_is_taken_once_for_many_calls_at_a_time(rich: Bank) -> None:
    purse = Purse(rich.store, EPOCH)
    await asyncio.gather(*(hold_exactly(purse, 1000, rich.credit) for _ in range(100)))
    assert await rich.leased_nanos() == AHEAD_NANOS


async def test_without_the_database_what_is_leased_can_be_held_and_no_more(rich: Bank) -> None:
    purse = Purse(rich.store, EPOCH)
    await hold_exactly(purse, 100, rich.credit)
    free_nanos = purse.slice_of(rich.credit).free_nanos
    await rich.break_windows()
    for _ in range(2):
        with pytest.raises(
            LedgerUnavailable,
            match=r"^The account's credit can't be read just now\. Try again later\.$",
        ) as caught:
            await purse.hold((rich.credit,), wanted=free_nanos + 1, least=1)
        assert "the disk is gone" in (caught.value.internal or "")
    assert purse.held_nanos_all() == 100
    assert purse.slice_of(rich.credit).askers == 0
    await hold_exactly(purse, free_nanos, rich.credit)
    await at_rest(purse)  # what is leased ahead fails, and only says so
    await rich.mend_windows()
    await check_books(rich, purse, rich.credit)
    await hold_exactly(purse, free_nanos, rich.credit)


async def test_posted_charges_leave_the_slice(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 400)
    hold = await hold_exactly(purse, 100, bank.credit, day)
    await at_rest(purse)
    hold.settle(70)
    piece = purse.slice_of(day)
    leased_nanos, free_nanos = piece.leased_nanos, piece.free_nanos
    purse.on_posted({bank.credit: Spent(70), day: Spent(60), Window("bgt_unknown"): Spent()})
    assert (piece.leased_nanos, piece.charged_nanos) == (leased_nanos - 60, 10)
    assert piece.free_nanos == free_nanos
    assert purse.held_nanos(bank.credit) == 0
    assert Window("bgt_unknown") not in purse._slices


async def test_a_window_that_nobody_has_asked_for_holds_nothing(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    assert purse.held_nanos(bank.credit) == 0
    assert not purse._slices


async def test_a_return_that_fails_is_tried_again(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    (await hold_exactly(purse, 100, bank.credit)).release()
    await hold_exactly(purse, 40, bank.credit)
    await at_rest(purse)
    await purse.return_idle()
    await bank.break_windows()
    with pytest.raises(IntegrityError, match="the disk is gone"):
        await purse.return_idle()
    await bank.mend_windows()
    await check_books(bank, purse, bank.credit)
    await purse.return_idle()
    assert await bank.figures() == Figures(1000, 0, 40, 1000)


# ── leases go back ──────────────────────────────────────────────────────────────────────────────
async def test_idle_leases_go_back_and_used_ones_stay(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 400)
    await hold_exactly(purse, 10, day)
    (await hold_exactly(purse, 100, bank.credit)).settle(30)
    await at_rest(purse)
    leased_nanos = await bank.leased_nanos()
    await purse.return_idle()  # both were asked for since the last time
    assert await bank.leased_nanos() == leased_nanos
    await hold_exactly(purse, 5, bank.credit)
    await at_rest(purse)
    leased_nanos = await bank.leased_nanos()
    await purse.return_idle()
    assert await bank.leased_nanos() == leased_nanos
    assert await bank.leased_nanos(day) == 10
    await purse.return_idle()
    assert await bank.leased_nanos() == 35  # what is held, and what is owed
    assert purse.slice_of(bank.credit).free_nanos == 0


async def test_a_lease_goes_back_though_one_before_it_is_in_use(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 400)
    (await hold_exactly(purse, 100, bank.credit)).release()
    (await hold_exactly(purse, 100, day)).release()
    await at_rest(purse)
    await purse.return_idle()
    (await hold_exactly(purse, 1, bank.credit)).release()
    await purse.return_idle()
    assert await bank.leased_nanos()
    assert await bank.leased_nanos(day) == 0


async def test_what_went_back_can_be_leased_again_though_the_budget_was_dry(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    await hold_exactly(purse, 1, bank.credit)
    (await hold_exactly(purse, 999, bank.credit)).release()
    assert isinstance(await purse.hold((bank.credit,), wanted=2000, least=1001), Shortage)
    assert purse.slice_of(bank.credit).is_dry
    for _ in range(2):
        await purse.return_idle()
    assert await bank.leased_nanos() == 1
    await hold_exactly(purse, 999, bank.credit)


@pytest.mark.parametrize("state", ["empty", "held", "charged", "asked"])
async def test_a_slice_is_forgotten_when_nothing_is_in_it(bank: Bank, state: str) -> None:
    purse = Purse(bank.store, EPOCH)
    hold = await hold_exactly(purse, 100, bank.credit)
    await at_rest(purse)
    piece = purse.slice_of(bank.credit)
    if state != "held":
        hold.settle(40 if state == "charged" else 0)
    piece.askers += state == "asked"
    for _ in range(2):
        await purse.return_idle()
    assert piece.free_nanos == 0
    assert (purse.slice_of(bank.credit) is piece) == (state != "empty")


async def test_a_lowered_limit_gets_back_what_is_free_and_only_there(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 400)
    (await hold_exactly(purse, 400, bank.credit, day)).release()
    await hold_exactly(purse, 100, bank.credit, day)
    await at_rest(purse)
    credit_nanos = await bank.leased_nanos()
    assert await bank.leased_nanos(day) == 400
    await bank.store.write(
        set_limit, budget_id="bgt_day", window=day, limit_nanos=150, now_us=NOW_US
    )
    await purse.on_limit_changed("bgt_day")
    assert await bank.leased_nanos(day) == 100
    assert await bank.leased_nanos() == credit_nanos
    assert isinstance(await purse.hold((day,), wanted=51, least=51), Shortage)
    await hold_exactly(purse, 50, day)


async def test_what_is_beyond_a_lowered_limit_goes_back_before_it_goes_out_again(
    bank: Bank,
) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 400)
    first = await hold_exactly(purse, 300, bank.credit, day)
    await bank.store.write(
        set_limit, budget_id="bgt_day", window=day, limit_nanos=100, now_us=NOW_US
    )
    await purse.on_limit_changed("bgt_day")
    assert await bank.leased_nanos(day) == 300  # a running call keeps what it holds
    assert await purse.hold((day,), wanted=1, least=1) == Shortage(day, 0)
    first.settle(50)
    assert await purse.hold((day,), wanted=51, least=51) == Shortage(day, 50)
    assert await bank.leased_nanos(day) == 100
    await hold_exactly(purse, 50, day)
    await check_books(bank, purse, bank.credit, day)


async def test_what_was_spent_beside_a_lease_is_not_lent_again(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    early = await hold_exactly(purse, 300, bank.credit)
    day = await bank.add_budget("bgt_day", 400)  # set while a call runs
    (await hold_exactly(purse, 350, bank.credit, day)).release()
    early.settle(300)
    spent = await bank.store.write(
        post_calls,
        [bank.closed(300, bank.credit)],
        epoch_id=EPOCH,
        from_offset=0,
        to_offset=1,
        now_us=NOW_US,
    )
    purse.on_posted(spent)
    assert await purse.hold((bank.credit, day), wanted=101, least=101) == Shortage(day, 100)
    await hold_exactly(purse, 100, bank.credit, day)
    await check_books(bank, purse, bank.credit, day)


async def test_what_is_spent_beside_a_lease_adds_up_and_lets_a_window_be_asked_again(
    bank: Bank,
) -> None:
    purse = Purse(bank.store, EPOCH)
    await hold_exactly(purse, 1000, bank.credit)
    assert isinstance(await purse.hold((bank.credit,), wanted=1, least=1), Shortage)
    piece = purse.slice_of(bank.credit)
    purse.on_posted({bank.credit: Spent(0, 0)})
    assert piece.is_dry, "nothing has changed that it could be asked about"
    for _ in range(2):
        purse.on_posted({bank.credit: Spent(0, 30), Window("bgt_unknown"): Spent(0, 5)})
    assert (piece.excess_nanos, piece.is_dry) == (60, False)
    assert Window("bgt_unknown") not in purse._slices


async def test_a_lease_ahead_that_fails_is_logged_and_asked_for_again(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    piece = purse.slice_of(bank.credit)
    await bank.break_windows()
    with capture_logs() as logs:
        purse._refill_ahead(piece, 500)
        await at_rest(purse)
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("purse.lease_ahead_failed", "warning")
    assert "can't be read just now" in line["error"]
    await bank.mend_windows()
    with capture_logs() as logs:
        purse._refill_ahead(piece, 500)
        await at_rest(purse)
    assert logs == []
    assert piece.leased_nanos > 0


async def test_a_call_whose_lease_another_one_has_taken_asks_again(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    refill, taken = purse._refill, []

    async def refill_and_lose(piece: Slice, needed_nanos: int, ahead_nanos: int) -> None:
        await refill(piece, needed_nanos, ahead_nanos)
        if not taken:
            taken.append(Hold(purse.bind((piece.window,)), piece.free_nanos))

    purse._refill = refill_and_lose  # type: ignore[method-assign]
    await hold_exactly(purse, 100, bank.credit)
    assert purse.held_nanos(bank.credit) == 100 + taken[0].amount_nanos


async def test_a_lease_ahead_that_fails_keeps_no_purse_from_closing(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    (await hold_exactly(purse, 100, bank.credit)).release()
    await at_rest(purse)

    async def fail() -> None:
        raise LedgerUnavailable("gone")

    purse._ahead.add(asyncio.create_task(fail()))
    await purse.close()
    assert await bank.figures() == Figures(1000, 0, 0, 1000)


async def test_a_closing_purse_gives_back_all_that_is_free(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 400)
    await hold_exactly(purse, 100, bank.credit, day)
    await purse.close()  # also what is just being leased
    assert not purse._ahead
    assert [await bank.leased_nanos(), await bank.leased_nanos(day)] == [100, 100]
    assert purse.slice_of(day).free_nanos == 0
