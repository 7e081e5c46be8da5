"""Guards holds in the purse: money is set aside in every window or in none, and settled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from latchgate.gateway.holds import Hold, Shortage
from latchgate.gateway.purse import Purse
from tests.gateway.purses import at_rest, check_books, hold_exactly
from tests.storage.bank import EPOCH, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        yield opened


# ── holds ───────────────────────────────────────────────────────────────────────────────────────
async def test_a_hold_sets_money_aside_in_every_window(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 400)
    hold = await hold_exactly(purse, 30, bank.credit, day)
    assert hold.windows == ((bank.credit.budget_id, 0), (day.budget_id, day.starts_us))
    assert (purse.held_nanos(bank.credit), purse.held_nanos(day)) == (30, 30)
    assert purse.held_nanos_all() == 60
    await check_books(bank, purse, bank.credit, day)


async def test_all_windows_carry_a_hold_or_none_does(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 50)
    for windows in ((bank.credit, day), (day, bank.credit)):
        assert await purse.hold(windows, wanted=100, least=51) == Shortage(day, 50)
        assert purse.held_nanos_all() == 0
    await check_books(bank, purse, bank.credit, day)


async def test_a_hold_is_as_much_as_there_is_but_not_less_than_the_least(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 50)
    hold = await purse.hold((bank.credit, day), wanted=100, least=50)
    assert isinstance(hold, Hold)
    assert hold.amount_nanos == 50
    assert (purse.held_nanos(bank.credit), purse.held_nanos(day)) == (50, 50)
    assert await purse.hold((bank.credit, day), wanted=1, least=1) == Shortage(day, 0)


async def test_memory_alone_tells_what_a_dry_window_still_has(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 50)
    (await hold_exactly(purse, 50, bank.credit, day)).settle(20)
    assert await purse.hold((bank.credit, day), wanted=40, least=31) == Shortage(day, 30)
    await at_rest(purse)
    await bank.break_windows()  # from here on the database can't be asked
    binding = purse.bind((bank.credit, day))
    less = purse.hold_now(binding, 40, 30)
    assert isinstance(less, Hold)
    assert less.amount_nanos == 30
    assert [piece.held_nanos for piece in binding.slices] == [30, 30]
    less.release()
    assert purse.hold_now(binding, 40, 31) == Shortage(day, 30)


async def test_memory_alone_tells_whether_running_calls_may_give_enough_back(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH, wait_s=60.0)
    day = await bank.add_budget("bgt_day", 50)
    (await hold_exactly(purse, 20, bank.credit, day)).settle(20)
    await hold_exactly(purse, 30, bank.credit, day)
    assert await purse.hold((bank.credit, day), wanted=40, least=31) == Shortage(day, 0)
    binding = purse.bind((bank.credit, day))
    assert purse.hold_now(binding, 40, 30) is None  # it may be worth waiting
    assert purse.hold_now(binding, 40, 31) == Shortage(day, 0)


async def test_all_of_a_budget_can_be_held_and_no_nano_more(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    holds = [await hold_exactly(purse, 1, bank.credit) for _ in range(999)]
    await hold_exactly(purse, 1, bank.credit)
    assert await purse.hold((bank.credit,), wanted=1, least=1) == Shortage(bank.credit, 0)
    holds[0].release()
    await hold_exactly(purse, 1, bank.credit)
    assert await bank.figures() == Figures(1000, 0, 1000, 1000)


async def test_a_race_for_the_last_of_it_is_won_by_as_many_as_it_carries(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 730)
    found = await asyncio.gather(
        *(purse.hold((bank.credit, day), wanted=10, least=10) for _ in range(200))
    )
    assert sum(isinstance(hold, Hold) for hold in found) == 73
    assert purse.held_nanos(day) == 730
    await check_books(bank, purse, bank.credit, day)


async def test_a_call_that_costs_nothing_needs_no_window(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    hold = await hold_exactly(purse, 55)
    assert hold.windows == ()
    assert hold.extend(10)
    hold.settle(0)
    assert await bank.rows("SELECT * FROM leases") == []


async def test_a_settled_hold_owes_its_charge_and_frees_the_rest(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    hold = await hold_exactly(purse, 100, bank.credit)
    piece = purse.slice_of(bank.credit)
    free_nanos = piece.free_nanos
    hold.settle(30)
    assert (piece.held_nanos, piece.charged_nanos) == (0, 30)
    assert piece.free_nanos == free_nanos + 70
    assert hold.is_open is False
    assert purse.held_nanos(bank.credit) == 30  # it is owed until it is posted
    assert purse.held_nanos_all() == 0
    (await hold_exactly(purse, 100, bank.credit)).settle(5)
    assert purse.held_nanos(bank.credit) == 35


async def test_a_hold_is_settled_once(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    hold = await hold_exactly(purse, 100, bank.credit)
    hold.settle(100)
    for again in (hold.release, lambda: hold.settle(1)):
        with pytest.raises(ValueError, match=r"^a hold is settled once$"):
            again()
    assert purse.slice_of(bank.credit).charged_nanos == 100


@pytest.mark.parametrize("charge_nanos", [-1, 101])
async def test_a_charge_that_does_not_fit_its_hold_changes_nothing(
    bank: Bank, charge_nanos: int
) -> None:
    purse = Purse(bank.store, EPOCH)
    hold = await hold_exactly(purse, 100, bank.credit)
    with pytest.raises(ValueError, match=f"charge {charge_nanos} does not fit hold 100"):
        hold.settle(charge_nanos)
    assert hold.is_open
    assert purse.held_nanos_all() == 100
    hold.release()
    assert purse.held_nanos(bank.credit) == 0


async def test_a_hold_grows_in_every_window_or_in_none(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 100)
    (await hold_exactly(purse, 100, bank.credit, day)).release()
    hold = await hold_exactly(purse, 60, bank.credit, day)
    assert not purse.extend(hold, 41)
    assert (purse.held_nanos(bank.credit), purse.held_nanos(day), hold.amount_nanos) == (60, 60, 60)
    assert purse.extend(hold, 40)
    assert (purse.held_nanos(bank.credit), purse.held_nanos(day)) == (100, 100)
    hold.settle(99)
    assert not purse.extend(hold, 1)
    assert not hold.extend(0)
    assert purse.held_nanos(day) == 99


async def test_a_void_charge_is_free_again(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    day = await bank.add_budget("bgt_day", 100)
    hold = await hold_exactly(purse, 60, bank.credit, day)
    hold.settle(50)
    hold.void(50)
    assert (purse.held_nanos(bank.credit), purse.held_nanos(day)) == (0, 0)
    await hold_exactly(purse, 100, bank.credit, day)
    await check_books(bank, purse, bank.credit, day)
