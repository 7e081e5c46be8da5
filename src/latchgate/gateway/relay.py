"""Relay: the upstream's answer becomes ours, whole or event by event.

Bytes pass as they come; what of them must change is the dialect's affair. What is here is the same
for all: the socket's back-pressure, the money that a stream holds as it goes, and the order in
which a call is settled and its last bytes leave.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from latchgate.domain.errors import LatchgateError, UpstreamFailed
from latchgate.gateway import replies
from latchgate.gateway.call import RanDry
from latchgate.upstream.answers import BROKE_OFF, garbled, refusal
from latchgate.upstream.sse import EventScanner, EventTooLong

if TYPE_CHECKING:
    from latchgate.fibers import Wait
    from latchgate.gateway.call import Call
    from latchgate.gateway.dialects.base import Dialect, Events
    from latchgate.gateway.request import GatewayRequest
    from latchgate.upstream.connection import Connection
    from latchgate.upstream.pool import Pool

EVENT_BYTES_MAX = 1024 * 1024
REFUSAL_BYTES_MAX = 64 * 1024
_OK = 200


class WholeAnswer:
    """Gathers an answer that is not streamed, or a refusal."""

    def __init__(self, call: Call, *, bytes_max: int) -> None:
        self._call = call
        self._bytes_max = bytes_max
        self._connection: Connection | None = None
        self.body = b""

    def on_queued(self, turn: Wait[None]) -> None:
        """The call waits for its turn."""
        self._call.on_queued(turn)

    def on_connected(self, connection: Connection) -> None:
        """Know the connection."""
        self._connection = connection
        self._call.on_connected(connection)

    def on_chunk(self, chunk: bytes) -> None:
        """Gather, within the bound."""
        self._call.note_first_byte()
        self.body = self.body + chunk if self.body else chunk
        if len(self.body) > self._bytes_max and self._connection is not None:
            self._connection.fail(garbled("the answer is too large"))


class EventRelay:
    """Passes a stream on, event by event, as its sink."""

    def __init__(self, call: Call, request: GatewayRequest, events: Events) -> None:
        self._call = call
        self._request = request
        self._events = events
        self._scanner = EventScanner(event_bytes_max=EVENT_BYTES_MAX)
        self._connection: Connection | None = None
        self.refusal_body = b""
        self._is_full = False
        #: Waits for more money to hold; nothing is read from the upstream meanwhile.
        self._holding: asyncio.Task[None] | None = None

    def on_queued(self, turn: Wait[None]) -> None:
        """The call waits for its turn."""
        self._call.on_queued(turn)

    def on_connected(self, connection: Connection) -> None:
        """Know the connection, and slow it down when the client is slow."""
        self._connection = connection
        self._call.on_connected(connection)
        self._request.on_flow = self._on_flow

    def let_go(self) -> None:
        """The answer is whole: its connection carries other calls from now on."""
        self._connection = None
        self._request.on_flow = None

    def _on_flow(self, is_full: bool) -> None:  # noqa: FBT001 - a hook
        self._is_full = is_full
        self._regulate()

    def _regulate(self) -> None:
        """Read from the upstream while the client keeps up and there is money for more."""
        if self._connection is not None:
            if self._is_full or self._holding is not None:
                self._connection.pause()
            else:
                self._connection.resume()

    def _hold_more_if_needed(self) -> None:
        if self._call.needs_more and self._holding is None:
            self._holding = asyncio.create_task(self._hold_more())
            self._regulate()

    async def _hold_more(self) -> None:
        try:
            await self._call.hold_more()
        except LatchgateError as error:
            self._fail(error)
        finally:
            self._holding = None
            self._regulate()

    def on_chunk(self, chunk: bytes) -> None:
        """Pass on what is whole. A stream that makes no sense ends here."""
        if self._connection is not None and self._connection.status != _OK:
            self.refusal_body += chunk
            if len(self.refusal_body) > REFUSAL_BYTES_MAX:
                self._fail(self.refusal(self._connection.status))
            return
        plain = self._events.plain(chunk) if self._scanner.is_clean else None
        if plain is not None:
            self._call.note_output(plain.pieces, plain.text_bytes)
            self._request.write(self._events.rename(chunk))
        else:
            self._look_closer(chunk)
        if self._call.needs_more:
            self._hold_more_if_needed()

    def _look_closer(self, chunk: bytes) -> None:
        ready: list[bytes] = []
        try:
            for event in self._scanner.feed(chunk):
                # One by one, so that those before an error are kept.
                ready.append(self._events.event(event))  # noqa: PERF401
        except EventTooLong as error:
            self._fail(garbled(str(error)))
        except LatchgateError as error:
            self._pass_on(b"".join(ready))  # it is counted, and so is paid
            self._fail(error)
        else:
            self._pass_on(b"".join(ready))

    def _pass_on(self, events: bytes) -> None:
        if events:
            if not self._request.response_started:
                self._call.note_first_byte()
                self._request.start_stream(*allowance_lines(self._call))
            self._request.write(events)

    def refusal(self, status: int) -> LatchgateError:
        """What an upstream that answers with this status means to the caller."""
        return refusal(status, self.refusal_body, self._call.prompt.input_param)

    def _fail(self, error: LatchgateError) -> None:
        if self._connection is not None:
            self._connection.fail(error)


async def relay_whole(
    call: Call,
    request: GatewayRequest,
    pool: Pool,
    dialect: Dialect,
    outgoing: bytes,
    *,
    bytes_max: int,
) -> None:
    """Run a call that is not streamed: the whole answer, settled, then sent."""
    sink = WholeAnswer(call, bytes_max=bytes_max)
    is_priority = call.prompt.is_priority
    status = await pool.send(call.model.target, outgoing, sink, is_priority=is_priority)
    if status != _OK:
        raise refusal(status, sink.body, call.prompt.input_param)
    dialect.read(call, sink.body)
    await call.settle()
    answer = dialect.answer(call, sink.body)
    cost = b"x-latchgate-cost-nanos: %d\r\n" % call.charge_nanos
    request.send_json(_OK, answer, *allowance_lines(call), cost)


async def relay_events(
    call: Call, request: GatewayRequest, pool: Pool, dialect: Dialect, outgoing: bytes
) -> None:
    """Run a stream: events as they come, then the charge, then the last bytes."""
    events = dialect.events(call)
    relay = EventRelay(call, request, events)
    is_priority = call.prompt.is_priority
    try:
        status = await pool.send(call.model.target, outgoing, relay, is_priority=is_priority)
    except UpstreamFailed as error:
        if call.text_pieces:
            error.public = BROKE_OFF
        raise
    except RanDry:
        await call.settle()
        request.start_stream(*allowance_lines(call))
        request.end_stream(events.early())
        return
    finally:
        relay.let_go()
    if status != _OK:
        raise relay.refusal(status)
    if not request.response_started and not call.usage:
        raise garbled("a stream without events")
    await call.settle()
    request.start_stream(*allowance_lines(call))
    request.end_stream(events.last())


def allowance_lines(call: Call) -> tuple[bytes, ...]:
    """The header line that says that a call runs smaller than it asked."""
    if not call.allowance.is_clamped:
        return ()
    return (replies.header("x-latchgate-clamped", f"max_tokens={call.allowance.output_tokens}"),)
