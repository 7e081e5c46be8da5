"""Guards orders of events that a state machine meets rarely, and that have gone wrong.

Each is played on the machine of ``test_engine_machine``, whose rules check what must be true: that
no limit is overshot, that nobody is refused while money is left, that the audit agrees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from latchgate.gateway.purse import Hold, Shortage
from tests.property.engine_house import Databases
from tests.property.test_engine_machine import CENT, EngineMachine

DAY = ("account_limit", "day")


@pytest.fixture
def life(databases: Databases) -> Iterator[EngineMachine]:
    """An account with 1.00 USD of credit; at its end the audit must agree once more."""
    machine = EngineMachine(databases)
    try:
        yield machine
        machine.memory_has_what_the_database_leased()
        machine.finish()
    finally:
        machine.clean_up()


def _ask(life: EngineMachine, cents: int) -> None:
    life.hold(wanted=cents * CENT, part=1)


def _end(life: EngineMachine, *, percent: int, number: int = 0) -> None:
    life.settle(number=number, percent=percent, over=0, is_answered=True)


def test_what_a_call_gives_back_after_its_limit_was_lowered_is_not_held_again(
    life: EngineMachine,
) -> None:
    life.set_limit(DAY, 20 * CENT)
    _ask(life, 10)
    life.set_limit(DAY, 2 * CENT)
    _end(life, percent=0)
    _ask(life, 10)


def test_what_a_call_gives_back_after_its_credit_line_was_taken_is_not_held_again(
    life: EngineMachine,
) -> None:
    life.set_credit_line(50 * CENT)
    _ask(life, 120)
    life.set_credit_line(0)
    _end(life, percent=50)
    _ask(life, 60)


def test_a_running_call_does_not_grow_beyond_a_limit_that_was_lowered(life: EngineMachine) -> None:
    life.set_limit(DAY, 20 * CENT)
    _ask(life, 5)
    _ask(life, 5)
    life.set_limit(DAY, 6 * CENT)
    _end(life, percent=0)
    life.extend(number=0, amount=5 * CENT, may_wait=False)
    life.extend(number=0, amount=5 * CENT, may_wait=True)


def test_a_call_that_ran_when_the_limit_was_set_counts_once_it_is_posted(
    life: EngineMachine,
) -> None:
    _ask(life, 10)
    life.set_limit(DAY, 20 * CENT)
    _ask(life, 1)  # the process has a slice of the day's limit now
    _end(life, percent=100)
    life.flush()
    _ask(life, 10)


def test_no_call_is_refused_while_a_lease_is_on_its_way_back(life: EngineMachine) -> None:
    _ask(life, 12)
    life.hold(wanted=200 * CENT, part=1000)  # the process has all that there is
    _end(life, percent=0, number=1)
    life.return_idle()
    windows = tuple(life.binding())

    async def ask_meanwhile() -> Hold | Shortage:
        purse = life.house.purse
        returning = asyncio.create_task(purse.return_idle())
        await asyncio.sleep(0)
        got = await purse.hold(windows, wanted=CENT, least=CENT)
        await returning
        return got

    got = life.run(ask_meanwhile())
    assert isinstance(got, Hold)
    got.release()


def test_a_limit_lowered_in_one_time_zone_binds_in_the_other(life: EngineMachine) -> None:
    life.set_limit(DAY, 20 * CENT)
    life.move_house("Asia/Tokyo")
    life.set_limit(DAY, 5 * CENT)
    life.move_house("UTC")
    _ask(life, 10)


def test_the_audit_agrees_when_a_limit_comes_back_in_another_time_zone(life: EngineMachine) -> None:
    life.set_limit(DAY, 20 * CENT)
    life.set_limit(DAY, None)
    _ask(life, 10)
    _end(life, percent=100)
    life.move_house("Asia/Tokyo")
    life.set_limit(DAY, 20 * CENT)
    life.flush()
