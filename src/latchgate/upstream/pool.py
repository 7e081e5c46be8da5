"""Connections to upstreams, kept open and bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latchgate.domain.errors import UpstreamFailed
from latchgate.fibers import in_task
from latchgate.outbox import Outbox
from latchgate.upstream.breaker import Breaker
from latchgate.upstream.connection import (
    Broken,
    Connection,
    Deadlines,
    Sink,
    timed_out,
)
from latchgate.upstream.turns import Turns

if TYPE_CHECKING:
    from latchgate.upstream.target import Target

IDLE_CONNECTIONS_MAX = 64
#: How long to wait before a connection that was refused is tried once more, in seconds.
RECONNECT_AFTER_S = 0.1


class Unreachable(UpstreamFailed):
    """No connection came about: nothing was sent."""


class _Place:
    """What is kept of one upstream: its idle connections, its line, and whether it is well."""

    __slots__ = ("breaker", "idle", "turns")

    def __init__(self, turns: Turns | None) -> None:
        self.idle: deque[Connection] = deque()
        self.breaker = Breaker()
        #: None: it takes as many calls at once as there are.
        self.turns = turns


@dataclass(slots=True)
class UpstreamState:
    """How one upstream is."""

    is_broken: bool = False
    failures: int = 0
    waiting_calls: int = 0
    idle_connections: int = 0


class _Places(dict["Target", _Place]):
    """Each upstream's, made when it is first asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, queued_calls_max: int) -> None:
        self._loop = loop
        self._queued_calls_max = queued_calls_max

    def __missing__(self, target: Target) -> _Place:
        turns = None
        if target.calls_at_once is not None:
            turns = Turns(
                self._loop,
                calls_max=target.calls_at_once,
                queued_calls_max=self._queued_calls_max,
            )
        place = self[target] = _Place(turns)
        return place


class Pool:
    """Opens, lends and takes back connections. Used from one event loop, by fibers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadlines: Deadlines,
        outbox: Outbox,
        *,
        connections_max: int,
        queued_calls_max: int,
    ) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._connections_max = connections_max
        self._count = 0
        self._places = _Places(loop, queued_calls_max)
        self._outbox = outbox
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False

    def send(
        self, target: Target, request: bytes, sink: Sink, *, is_priority: bool = False
    ) -> Coroutine[Any, None, int]:
        """Send a request; its answer's body goes to ``sink``. Returns its status when it is whole.

        Where the upstream is bounded, it waits for its turn first, which is a part of the time for
        its first byte. Raises UpstreamFailed.
        """
        place = self._places[target]
        if place.turns is None:
            return self._exchange(target, place, request, sink)
        return self._exchange_in_turn(target, place, place.turns, request, sink, is_priority)

    async def _exchange_in_turn(
        self,
        target: Target,
        place: _Place,
        turns: Turns,
        request: bytes,
        sink: Sink,
        is_priority: bool,  # noqa: FBT001 - handed on
    ) -> int:
        waited_s = 0.0
        if not turns.take():
            seconds_max = self._deadlines.first_byte_s
            waited_s = await turns.wait(sink, is_priority=is_priority, seconds_max=seconds_max)
        try:
            return await self._exchange(target, place, request, sink, waited_s)
        finally:
            turns.release()

    async def _exchange(
        self, target: Target, place: _Place, request: bytes, sink: Sink, waited_s: float = 0.0
    ) -> int:
        """Send over a kept connection, or a fresh one; the breaker hears how it went.

        A kept connection that the other side had closed meanwhile is no failure: when it ends
        without a byte, the request goes out once more, on a fresh one.
        """
        breaker = place.breaker
        breaker.enter(self._loop.time())
        try:
            status, connection = 0, self._find_idle(place)
            while not status:
                is_kept = connection is not None
                if connection is None:
                    connection = await in_task(self._connect_patiently(target))
                try:
                    sink.on_connected(connection)
                    status = await connection.send(request, sink, waited_s)
                except Broken as error:
                    if not is_kept or connection.bytes_received:
                        raise broke(str(error)) from None
                finally:
                    self._put_back(place, connection)
                connection = None
        except UpstreamFailed:
            breaker.failed(self._loop.time())
            raise
        except BaseException:
            breaker.given_up()
            raise
        breaker.answered(status, self._loop.time())
        return status

    def _find_idle(self, place: _Place) -> Connection | None:
        idle = place.idle
        while idle:
            connection = idle.pop()
            if connection.is_open:
                return connection
            self._count -= 1
        return None

    async def _connect_patiently(self, target: Target) -> Connection:
        try:
            return await self._connect(target)
        except Unreachable:
            # Nothing was sent yet, so that trying once more can't run anything twice.
            await asyncio.sleep(RECONNECT_AFTER_S)
            return await self._connect(target)

    async def _connect(self, target: Target) -> Connection:
        if not target.port:
            raise UpstreamFailed(
                "The model is just starting. Try again in a moment.",
                status=503,
                code="server_is_overloaded",
                internal=f"{target.name} is not up",
            )
        if self._count >= self._connections_max:
            raise UpstreamFailed(
                "The model's server is busy. Try again in a moment.",
                status=503,
                code="server_is_overloaded",
                internal="connections_max",
            )
        self._count += 1
        try:
            async with asyncio.timeout(self._deadlines.connect_s):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._loop, self._deadlines, self._outbox),
                    target.host,
                    target.port,
                    ssl=self._tls_context() if target.is_tls else None,
                )
        except TimeoutError:
            self._count -= 1
            raise timed_out("connect") from None
        except (OSError, ValueError) as error:  # ValueError: a name that can't be a host's
            self._count -= 1
            raise Unreachable(
                "The model's server can't be reached. Try again in a moment.",
                internal=f"connect: {error}",
            ) from None
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _put_back(self, place: _Place, connection: Connection) -> None:
        """Keep a connection for the next request, or let it go."""
        can_stay = len(place.idle) < IDLE_CONNECTIONS_MAX and not self._is_closed
        if connection.is_reusable and connection.is_open and can_stay:
            place.idle.append(connection)
        else:
            self._count -= 1
            connection.close()

    def states(self) -> dict[str, UpstreamState]:
        """How each upstream is that was ever asked; one may have had several addresses."""
        states: dict[str, UpstreamState] = {}
        for target, place in self._places.items():
            state = states.setdefault(target.name, UpstreamState())
            # The last one is where it is now.
            state.is_broken = place.breaker.is_broken
            state.failures += place.breaker.failures
            state.waiting_calls += 0 if place.turns is None else place.turns.queued
            state.idle_connections += len(place.idle)
        return states

    def close(self) -> None:
        """Close what is idle; what runs is closed as it ends."""
        self._is_closed = True
        for place in self._places.values():
            for connection in place.idle:
                connection.close()
            place.idle.clear()


def broke(internal: str) -> UpstreamFailed:
    """The refusal for an upstream that broke off or cannot be reached."""
    return UpstreamFailed(
        "The model's server failed to answer. Try again; nothing was charged for this call.",
        internal=internal,
    )
