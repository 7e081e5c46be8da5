"""Guards who waits in the purse, what wakes them, and how leases find their way home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from latchgate.domain.windows import Window
from latchgate.gateway.purse import Purse, Shortage
from latchgate.storage.budgets import set_limit
from tests.gateway.purses import at_rest, hold_exactly
from tests.storage.bank import EPOCH, NOW_US, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
#: Longer than any test takes: whoever waits so long was not woken.
PATIENCE_S = 60.0


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        yield opened


@pytest.fixture
def purse(bank: Bank) -> Purse:
    """A purse whose callers are patient."""
    return Purse(bank.store, EPOCH, wait_s=PATIENCE_S)


async def _waiting(
    purse: Purse, window: Window, *askers: Awaitable[Any]
) -> list[asyncio.Task[Any]]:
    """Ask, and wait until all of them wait."""
    tasks = [asyncio.ensure_future(asker) for asker in askers]
    async with asyncio.timeout(PATIENCE_S):
        while len(purse.slice_of(window).waiting) < len(tasks):
            assert not any(task.done() for task in tasks), "it did not wait"
            await asyncio.sleep(0.001)
    return tasks


async def _soon(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(PATIENCE_S / 2):
        return await task


# ── waiting for a hold ──────────────────────────────────────────────────────────────────────────
async def test_a_call_waits_until_a_running_one_gives_back(bank: Bank, purse: Purse) -> None:
    first = await hold_exactly(purse, 900, bank.credit)
    (task,) = await _waiting(purse, bank.credit, hold_exactly(purse, 500, bank.credit))
    first.settle(500)
    assert (await _soon(task)).amount_nanos == 500
    assert purse.held_nanos(bank.credit) == 1000
    assert purse.slice_of(bank.credit).waiting == []
    assert purse.slice_of(bank.credit).askers == 0


async def test_who_waits_takes_what_there_is_when_it_is_enough(bank: Bank, purse: Purse) -> None:
    first = await hold_exactly(purse, 1000, bank.credit)
    (task,) = await _waiting(purse, bank.credit, purse.hold((bank.credit,), wanted=500, least=200))
    first.settle(700)
    assert (await _soon(task)).amount_nanos == 300


async def test_a_waiting_call_is_refused_when_its_money_was_spent(bank: Bank, purse: Purse) -> None:
    first = await hold_exactly(purse, 900, bank.credit)
    (task,) = await _waiting(purse, bank.credit, purse.hold((bank.credit,), wanted=500, least=500))
    first.settle(501)
    assert await _soon(task) == Shortage(bank.credit, 499)
    assert purse.slice_of(bank.credit).askers == 0


async def test_all_that_fit_are_let_in_and_the_others_wait_on(bank: Bank, purse: Purse) -> None:
    first = await hold_exactly(purse, 1000, bank.credit)
    tasks = await _waiting(
        purse, bank.credit, *(hold_exactly(purse, 400, bank.credit) for _ in range(3))
    )
    assert purse.slice_of(bank.credit).askers == 3
    first.release()
    async with asyncio.timeout(PATIENCE_S / 2):
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 2:
            done |= (await asyncio.wait(set(tasks) - done, return_when="FIRST_COMPLETED"))[0]
    assert purse.held_nanos(bank.credit) == 800
    done.pop().result().release()
    assert all([await _soon(task) for task in tasks])


async def test_nobody_waits_for_what_running_calls_can_not_give_back(
    bank: Bank, purse: Purse
) -> None:
    spent = await hold_exactly(purse, 600, bank.credit)
    spent.settle(600)
    await hold_exactly(purse, 300, bank.credit)
    asked = purse.hold((bank.credit,), wanted=401, least=401)
    assert await _soon(asyncio.ensure_future(asked)) == Shortage(bank.credit, 100)
    (task,) = await _waiting(purse, bank.credit, hold_exactly(purse, 400, bank.credit))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert purse.slice_of(bank.credit).askers == 0


async def test_without_patience_a_call_is_refused_at_once(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH)
    await hold_exactly(purse, 900, bank.credit)
    assert await purse.hold((bank.credit,), wanted=101, least=101) == Shortage(bank.credit, 100)
    assert purse.slice_of(bank.credit).waiting == []


async def test_patience_ends(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH, wait_s=0.05)
    await hold_exactly(purse, 900, bank.credit)
    assert await purse.hold((bank.credit,), wanted=101, least=101) == Shortage(bank.credit, 100)
    assert purse.slice_of(bank.credit).waiting == []


async def test_the_window_that_binds_is_the_one_that_is_waited_for(
    bank: Bank, purse: Purse
) -> None:
    day = await bank.add_budget("bgt_day", 100)
    first = await hold_exactly(purse, 80, bank.credit, day)
    (task,) = await _waiting(purse, day, hold_exactly(purse, 30, bank.credit, day))
    first.release()
    assert (await _soon(task)).amount_nanos == 30


async def test_a_void_charge_wakes_who_waits(bank: Bank, purse: Purse) -> None:
    first = await hold_exactly(purse, 600, bank.credit)
    first.settle(600)
    second = await hold_exactly(purse, 400, bank.credit)
    (task,) = await _waiting(purse, bank.credit, hold_exactly(purse, 350, bank.credit))
    first.void(600)
    await _soon(task)
    second.release()


async def test_new_credit_wakes_who_waits(bank: Bank, purse: Purse) -> None:
    await hold_exactly(purse, 900, bank.credit)
    (task,) = await _waiting(purse, bank.credit, hold_exactly(purse, 500, bank.credit))
    await bank.add_credit(400)
    purse.on_credit()
    assert (await _soon(task)).amount_nanos == 500
    assert await bank.figures() == Figures(1400, 0, 1400, 1400)


async def test_a_raised_limit_wakes_who_waits(bank: Bank, purse: Purse) -> None:
    day = await bank.add_budget("bgt_day", 100)
    await hold_exactly(purse, 100, day)
    (task,) = await _waiting(purse, day, hold_exactly(purse, 100, day))
    await bank.store.write(
        set_limit, budget_id="bgt_day", window=day, limit_nanos=200, now_us=NOW_US
    )
    await purse.on_limit_changed("bgt_day")
    assert (await _soon(task)).amount_nanos == 100


async def test_a_budget_that_was_dry_is_asked_again_only_after_new_credit(
    bank: Bank, purse: Purse
) -> None:
    await hold_exactly(purse, 1000, bank.credit)
    assert isinstance(await purse.hold((bank.credit,), wanted=2000, least=2000), Shortage)
    await bank.add_credit(2000)
    assert isinstance(await purse.hold((bank.credit,), wanted=2000, least=2000), Shortage)
    purse.on_credit()
    await hold_exactly(purse, 2000, bank.credit)


# ── more for a running call ─────────────────────────────────────────────────────────────────────
async def test_a_running_call_gets_more_from_the_database(bank: Bank, purse: Purse) -> None:
    hold = await hold_exactly(purse, 10, bank.credit)
    await at_rest(purse)
    await purse.return_idle()
    await purse.return_idle()
    assert await bank.leased_nanos() == 10
    assert await purse.extend_slowly(hold, 500)
    assert hold.amount_nanos == purse.held_nanos(bank.credit) == 510


async def test_a_running_call_waits_for_another_one(bank: Bank, purse: Purse) -> None:
    day = await bank.add_budget("bgt_day", 100)
    hold = await hold_exactly(purse, 10, bank.credit, day)
    other = await hold_exactly(purse, 80, bank.credit, day)
    (task,) = await _waiting(purse, day, purse.extend_slowly(hold, 50))
    other.settle(40)
    assert await _soon(task) is True
    assert (hold.amount_nanos, purse.held_nanos(day)) == (60, 100)


async def test_a_running_call_is_told_when_there_is_no_more(bank: Bank, purse: Purse) -> None:
    hold = await hold_exactly(purse, 400, bank.credit)
    assert await purse.extend_slowly(hold, 1001) is False
    assert hold.amount_nanos == 400
    assert await purse.extend_slowly(hold, 600) is True


async def test_a_running_call_waits_no_longer_than_a_new_one(bank: Bank) -> None:
    purse = Purse(bank.store, EPOCH, wait_s=0.05)
    hold = await hold_exactly(purse, 400, bank.credit)
    await hold_exactly(purse, 400, bank.credit)
    assert await purse.extend_slowly(hold, 201) is False
    assert await purse.extend_slowly(hold, 200) is True


async def test_a_call_that_ended_while_it_waited_gets_no_more(bank: Bank, purse: Purse) -> None:
    hold = await hold_exactly(purse, 400, bank.credit)
    await hold_exactly(purse, 600, bank.credit)
    (task,) = await _waiting(purse, bank.credit, purse.extend_slowly(hold, 100))
    hold.settle(0)
    assert await _soon(task) is False
    assert purse.held_nanos(bank.credit) == 600
    assert await purse.extend_slowly(hold, 1) is False
