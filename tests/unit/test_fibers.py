"""Fibers go on inside whatever ends their wait, and nothing that they raise gets out."""

from __future__ import annotations

import asyncio

import pytest

from latchgate.fibers import Wait, in_task, run
from tests.support.fibers import settled

pytestmark = pytest.mark.anyio


def test_a_fiber_runs_at_once_up_to_its_first_wait_and_on_when_that_ends() -> None:
    said: list[str] = []
    wait: Wait[str] = Wait()

    async def fiber() -> None:
        said.append("begun")
        said.append(await wait)

    run(fiber())
    assert said == ["begun"]
    wait.set("went on")
    assert said == ["begun", "went on"]


def test_a_wait_that_is_over_already_is_no_wait() -> None:
    said: list[int] = []
    wait: Wait[int] = Wait()
    wait.set(1)
    wait.set(2)
    wait.fail(ValueError())

    async def fiber() -> None:
        said.append(await wait)

    run(fiber())
    assert said == [1]


def test_a_wait_that_fails_raises_in_its_fiber() -> None:
    said: list[str] = []
    wait: Wait[None] = Wait()

    async def fiber() -> None:
        try:
            await wait
        except ConnectionError as error:
            said.append(str(error))

    run(fiber())
    wait.fail(ConnectionError("gone"))
    assert said == ["gone"]


def test_a_fiber_that_crashes_does_not_take_along_who_ended_its_wait() -> None:
    wait: Wait[None] = Wait()

    async def fiber() -> None:
        await wait
        raise RuntimeError("a bug")

    run(fiber())
    wait.set(None)
    assert wait.is_over


async def test_work_that_needs_a_task_is_waited_for() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await settled(in_task(work())) == 7


async def test_what_a_task_raises_is_raised_in_the_fiber() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("not there")

    with pytest.raises(LookupError, match="not there"):
        await settled(in_task(work()))


async def test_a_task_that_is_cancelled_fails_its_wait() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="cancelled"):
        await settled(in_task(work()))
