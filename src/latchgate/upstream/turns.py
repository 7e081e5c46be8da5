"""Turns: an upstream that is bounded runs so many calls at once, and the others wait in line.

There are two lines: priority calls go before all others, and each line is first come, first served.
A place that becomes free goes to whoever is next, so that nobody who comes meanwhile can slip in.
A call that ends while it waits, for whatever reason, leaves its line and takes no place.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

from latchgate.domain.errors import UpstreamFailed
from latchgate.fibers import Wait

#: When to try again where a line is full, in seconds: some calls have ended by then.
RETRY_AFTER_S = 1


class Waiter(Protocol):
    """Whose call waits for its turn."""

    def on_queued(self, turn: Wait[None]) -> None:
        """It is in line; to fail ``turn`` takes it out. What is raised here takes it out too."""


class Turns:
    """The places of one upstream. Used from one event loop, by fibers."""

    __slots__ = ("_calls_max", "_lines", "_loop", "_queued_max", "_running")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, calls_max: int, queued_calls_max: int
    ) -> None:
        self._loop = loop
        self._calls_max = calls_max
        self._queued_max = queued_calls_max
        self._running = 0
        #: Others, priority: ordered by arrival, and left from anywhere at no cost.
        self._lines: tuple[OrderedDict[Wait[None], None], ...] = (OrderedDict(), OrderedDict())

    @property
    def running(self) -> int:
        """How many places are taken."""
        return self._running

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return sum(map(len, self._lines))

    def take(self) -> bool:
        """Take a place, if one is free; whoever has one gives it back by ``release``."""
        if self._running >= self._calls_max:
            return False
        self._running += 1
        return True

    async def wait(self, waiter: Waiter, *, is_priority: bool, seconds_max: float) -> float:
        """Wait for a place, at most so long; returns the seconds that it took.

        Each line has its own bound, so that a full one never keeps out who pays for the other.
        Raises UpstreamFailed when it is full or the time is up, and what ended the call.
        """
        line = self._lines[is_priority]
        if len(line) >= self._queued_max:
            raise _full()
        turn: Wait[None] = Wait()
        line[turn] = None
        since_s = self._loop.time()
        deadline = self._loop.call_later(seconds_max, turn.fail, _too_long())
        try:
            waiter.on_queued(turn)
            await turn
        except BaseException:
            if turn in line:
                del line[turn]
            else:
                self.release()  # its turn had just come
            raise
        finally:
            deadline.cancel()
        return self._loop.time() - since_s

    def release(self) -> None:
        """Give a place back: to the next in line, if there is one.

        That one goes on in a turn of the loop of its own, so that who gives it back is not kept,
        and a line of calls that all fail at once is not one deep stack.
        """
        for line in reversed(self._lines):
            if line:
                turn, _ = line.popitem(last=False)
                self._loop.call_soon(turn.set, None)
                return
        self._running -= 1


def _full() -> UpstreamFailed:
    return UpstreamFailed(
        "The model is busy, and too many calls wait for it. Try again in a moment.",
        status=503,
        code="server_is_overloaded",
        internal="queued_calls_max",
        retry_after_s=RETRY_AFTER_S,
    )


def _too_long() -> UpstreamFailed:
    return UpstreamFailed(
        "The model is busy, and this call's turn did not come in time. Nothing was charged for it; "
        "try again later.",
        status=504,
        code="upstream_timeout",
        internal="queue",
    )
