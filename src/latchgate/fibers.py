"""Fibers: coroutines that run on the callbacks of what they wait for.

A call waits three times at most: for its body, for the model server, and for the disk. An asyncio
task would cost a turn of the loop at its start and at each wait, which is a good part of what a
call may cost. A fiber runs at once up to its first wait, and goes on inside the callback that ends
the wait.

    Wait      set once, awaited by one fiber
    run       starts a fiber
    in_task   a wait for whatever needs a real task: locks, timeouts, the database

A fiber awaits only waits. It is never cancelled: what ends it early fails the wait that it is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

import structlog

log = structlog.get_logger()
T = TypeVar("T")


class Wait(Generic[T]):
    """Something that one fiber waits for. Who sets it goes on when the fiber waits again."""

    __slots__ = ("_error", "_fiber", "_value", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self._fiber: Coroutine[Any, None, None] | None = None
        self._error: BaseException | None = None

    def __await__(self) -> Generator[Wait[T], None, T]:
        """The value. Raises what the wait has failed with."""
        if not self.is_over:
            yield self
        if self._error is not None:
            raise self._error
        return self._value

    def set(self, value: T) -> None:
        """End the wait with a value; one that is over already stays as it is."""
        if not self.is_over:
            self._value: T = value
            self._end()

    def fail(self, error: BaseException) -> None:
        """End the wait with an error; one that is over already stays as it is."""
        if not self.is_over:
            self._error = error
            self._end()

    def _end(self) -> None:
        self.is_over = True
        fiber, self._fiber = self._fiber, None
        if fiber is not None:
            run(fiber)

    def resume(self, fiber: Coroutine[Any, None, None]) -> None:
        """Run this fiber when the wait is over."""
        self._fiber = fiber


def run(fiber: Coroutine[Any, None, None]) -> None:
    """Run a fiber up to its next wait, or to its end. What it raises is logged, and ends it."""
    try:
        wait = fiber.send(None)
    except StopIteration:
        return
    except Exception:
        log.exception("fiber.crashed")
        return
    wait.resume(fiber)


def in_task(work: Coroutine[Any, Any, T]) -> Wait[T]:
    """Run ``work`` as an asyncio task, and be over when it is."""
    wait: Wait[T] = Wait()

    def on_done(task: asyncio.Task[T]) -> None:
        _tasks.discard(task)
        if task.cancelled():
            wait.fail(RuntimeError("the task was cancelled"))
        elif (error := task.exception()) is not None:
            wait.fail(error)
        else:
            wait.set(task.result())

    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(on_done)
    return wait


#: Tasks that run; the loop itself holds them only weakly.
_tasks: set[asyncio.Task[Any]] = set()
