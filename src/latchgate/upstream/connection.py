"""One connection to an upstream: a request out, an answer in, chunk by chunk.

No task and no queue stand between the socket and whoever takes the answer: what one read of the
socket brings is handed to a sink at once, and ``pause`` stops the socket when the sink cannot take
more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from latchgate.domain.errors import UpstreamFailed
from latchgate.fibers import Wait
from latchgate.outbox import Outbox

HEAD_BYTES_MAX = 64 * 1024
HEADERS_MAX = 200
#: A timer that rings so much too late says that this process did not run, not what others did.
STALL_S = 0.25


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long to wait, in seconds: to connect, for the answer's head, between its chunks."""

    connect_s: float
    first_byte_s: float
    idle_s: float


class Sink(Protocol):
    """Takes an answer's body as it comes."""

    def on_queued(self, turn: Wait[None]) -> None:
        """The call waits for its turn at an upstream that is bounded; ``Turns.wait`` says how."""

    def on_connected(self, connection: Connection) -> None:
        """The connection over which the request goes out next; what is raised here ends it."""

    def on_chunk(self, chunk: bytes) -> None:
        """Some bytes of the body."""


class Broken(Exception):
    """The connection ended, or what came over it is no HTTP."""


def timed_out(what: str) -> UpstreamFailed:
    """The refusal for an upstream that is too slow."""
    return UpstreamFailed(
        "The model's server did not answer in time. Try again later.",
        status=504,
        code="upstream_timeout",
        internal=what,
    )


class Connection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, outbox: Outbox
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._deadlines = deadlines
        self._watch_s = min(deadlines.first_byte_s, deadlines.idle_s)
        self._timer: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Wait[int] | None = None
        self._sink: Sink | None = None
        self._fields: list[bytes] = []
        self._body: list[bytes] = []
        #: What has come since the last piece of a body: a head, or what HTTP allows between pieces.
        self._bare_bytes = 0
        self._is_whole = False
        self._heard_at = self._due_at = self._granted_at = 0.0
        self._paused = False
        self.transport: asyncio.Transport | None = None
        self.is_reusable = False
        self.bytes_received = 0
        #: The status of the answer that is coming; 0 before its head is here.
        self.status = 0

    # ── for the caller ──────────────────────────────────────────────────────────────────────────
    @property
    def is_open(self) -> bool:
        """Whether it can carry another request."""
        return self.transport is not None and not self.transport.is_closing()

    def send(self, request: bytes, sink: Sink, waited_s: float = 0.0) -> Wait[int]:
        """Send a request; its answer's body goes to ``sink``. The wait ends with its status.

        ``waited_s`` of the time for its first byte are gone already.
        It fails with Broken when the connection ends first, UpstreamFailed when it takes too long.
        """
        answer: Wait[int] = Wait()
        if self.transport is None:
            answer.fail(Broken("not connected"))
            return answer
        self._answer, self._sink = answer, sink
        self.is_reusable = self._is_whole = self._paused = False
        self.status = self._bare_bytes = self.bytes_received = 0
        self._fields.clear()
        self._body.clear()
        self._heard_at = self._loop.time() - waited_s
        self._outbox.add(self.transport, request)
        if waited_s and self._timer is not None:  # it may ring too late
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._watch_in(max(0.0, self._watch_s - waited_s))
        return answer

    def fail(self, error: Exception) -> None:
        """End the answer with an error, and the connection with it."""
        answer, self._answer, self._sink = self._answer, None, None
        self.is_reusable = False
        if self.transport is not None:
            self.transport.abort()
        if answer is not None:
            answer.fail(error)

    def pause(self) -> None:
        """The sink can take no more: stop reading, so that nothing gathers here."""
        if not self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """The sink can take more again."""
        if self._paused and self.transport is not None and not self.transport.is_closing():
            self._paused = False
            self._heard_at = self._loop.time()
            self.transport.resume_reading()

    def close(self) -> None:
        """Close it; for connections that carry nothing."""
        if self.transport is not None:
            self.transport.close()

    # ── asyncio.Protocol ────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, hand its body over, and end the answer if it is whole."""
        if self._answer is None:  # bytes that nobody asked for: this server is out of step
            self.fail(Broken("bytes after the answer's end"))
            return
        self.bytes_received += len(data)
        self._heard_at = self._loop.time()
        self._bare_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_whole:
                self.fail(Broken(f"no HTTP answer: {type(error).__name__}"))
                return
            self.is_reusable = False
        if self._body:
            self._bare_bytes = 0
        elif self._bare_bytes > HEAD_BYTES_MAX:
            self.fail(Broken("endless head, chunk extension or trailers"))
            return
        if self._body and self._sink is not None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body.clear()
            self._sink.on_chunk(body)
        if self._is_whole:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed, or the network has."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.transport = None
        del self._parser  # they hold each other
        if self._answer is None:
            return
        if self.status and not self._has_length() and exc is None:
            self._finish()  # a body that only the connection's end delimits
            return
        self.fail(Broken("connection lost"))

    def _has_length(self) -> bool:
        return any(
            name.lower() in (b"content-length", b"transfer-encoding") for name in self._fields
        )

    def _finish(self) -> None:
        if self._paused:
            self.resume()  # the sink had filled up with the very last bytes
        answer, self._answer, self._sink = self._answer, None, None
        if answer is not None:
            answer.set(self.status)

    # ── httptools ───────────────────────────────────────────────────────────────────────────────
    def on_message_begin(self) -> None:
        """An answer begins; one behind the answer, in the same breath, nobody has asked for."""
        if self._is_whole:
            raise Broken("two answers")

    def on_header(self, name: bytes, _value: bytes) -> None:
        """Keep a header field's name: all that is asked of an answer is how its body ends."""
        if len(self._fields) >= HEADERS_MAX:
            raise Broken("too many header fields")
        self._fields.append(name)

    def on_headers_complete(self) -> None:
        """The head is whole: from now on the answer's silence is watched."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - interim answers (RFC 9110, 15.2)
            self._fields.clear()
            return
        self.status = status

    def on_body(self, body: bytes) -> None:
        """Keep a piece, until all that has been read is parsed."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole; it ends once all that has been read is parsed."""
        if self.status:
            self._is_whole = True
            self.is_reusable = self._parser.should_keep_alive()

    # ── deadlines ───────────────────────────────────────────────────────────────────────────────
    def _watch_in(self, seconds: float) -> None:
        self._due_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._watch)

    def _watch(self) -> None:
        """One timer for the connection's whole life of answers: it looks, and looks again.

        A timer for each answer would be set and cancelled for every call.
        """
        self._timer = None
        if self._answer is None:
            return  # the next request sets it again
        late_s = self._loop.time() - self._due_at
        # Timers come before sockets: an answer may lie there unread. Once for each silence, or a
        # loop that is always late would wait for ever.
        if late_s > STALL_S and self._heard_at != self._granted_at:
            self._heard_at += late_s + STALL_S
            self._granted_at = self._heard_at
        limit_s = self._deadlines.idle_s if self.status else self._deadlines.first_byte_s
        left_s = limit_s - (self._loop.time() - self._heard_at)
        if self._paused:
            left_s = limit_s  # it is our client that is slow
        if left_s > 0:
            self._watch_in(min(left_s, self._watch_s))
        else:
            self.fail(timed_out("idle" if self.status else "first byte"))
