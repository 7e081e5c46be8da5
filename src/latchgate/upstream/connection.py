"""One connection to an upstream: a request out, an answer in, chunk by chunk.

No task and no queue stand between the socket and whoever takes the answer: chunks are handed to a
sink as they come, and ``pause`` stops the socket when the sink cannot take more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol, cast

import httptools

from latchgate.domain.errors import UpstreamFailed

HEAD_BYTES_MAX = 64 * 1024
HEADERS_MAX = 200


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long to wait, in seconds: to connect, for the answer's head, between its chunks."""

    connect_s: float
    first_byte_s: float
    idle_s: float


@dataclass(slots=True)
class AnswerHead:
    """An answer's status and header fields, names in lower case."""

    status: int
    headers: dict[bytes, bytes] = field(default_factory=dict)


class Sink(Protocol):
    """Takes an answer's body as it comes."""

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

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._watch_s = min(deadlines.first_byte_s, deadlines.idle_s)
        self._timer: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[AnswerHead] | None = None
        self._sink: Sink | None = None
        self._head = AnswerHead(0)
        self._has_head = False
        self._head_bytes = 0
        self._heard_at = 0.0
        self._paused = False
        self.transport: asyncio.Transport | None = None
        self.is_reusable = False
        self.bytes_received = 0

    # ── for the caller ──────────────────────────────────────────────────────────────────────────
    @property
    def is_open(self) -> bool:
        """Whether it can carry another request."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def status(self) -> int:
        """The status of the answer that is coming; 0 before its head is here."""
        return self._head.status if self._has_head else 0

    async def send(self, request: bytes, sink: Sink) -> AnswerHead:
        """Send a request; its answer's body goes to ``sink``. Returns when it is whole.

        Raises Broken when the connection ends first, UpstreamFailed when it takes too long.
        """
        if self.transport is None:
            raise Broken("not connected")
        self.is_reusable = False
        self._sink = sink
        self._head = AnswerHead(0)
        self._has_head = self._paused = False
        self._head_bytes = self.bytes_received = 0
        self._heard_at = self._loop.time()
        answer: asyncio.Future[AnswerHead] = self._loop.create_future()
        self._answer = answer
        self.transport.write(request)
        if self._timer is None:
            self._timer = self._loop.call_later(self._watch_s, self._watch)
        return await answer

    def fail(self, error: Exception) -> None:
        """End the answer with an error, and the connection with it."""
        answer, self._answer, self._sink = self._answer, None, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        self.is_reusable = False
        if self.transport is not None:
            self.transport.abort()

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
        """Parse what has come."""
        if self._answer is None:  # bytes that nobody asked for: this server is out of step
            self.fail(Broken("bytes after the answer's end"))
            return
        self.bytes_received += len(data)
        self._heard_at = self._loop.time()
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(Broken(f"no HTTP answer: {type(error).__name__}"))
            return
        if not self._has_head and self._head_bytes > HEAD_BYTES_MAX:
            self.fail(Broken("endless head"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed, or the network has."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.transport = None
        if self._answer is None:
            return
        if self._has_head and not self._has_length() and exc is None:
            self._finish()  # a body that only the connection's end delimits
            return
        self.fail(Broken("connection lost"))

    def _has_length(self) -> bool:
        headers = self._head.headers
        return b"content-length" in headers or b"transfer-encoding" in headers

    def _finish(self) -> None:
        answer, self._answer, self._sink = self._answer, None, None
        if answer is not None and not answer.done():
            answer.set_result(self._head)

    # ── httptools ───────────────────────────────────────────────────────────────────────────────
    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field."""
        headers = self._head.headers
        if len(headers) >= HEADERS_MAX:
            raise Broken("too many header fields")
        headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is whole: from now on the answer's silence is watched."""
        status = self._parser.get_status_code()
        if status < 200:  # noqa: PLR2004 - interim answers (RFC 9110, 15.2)
            self._head = AnswerHead(0)
            return
        self._head.status = status
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        """Hand a chunk over."""
        if self._sink is not None:
            self._sink.on_chunk(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._has_head or self._answer is None:
            # Another answer behind the first, in the same breath: nobody asked for it.
            self.is_reusable = False
            return
        self.resume()  # the sink may have filled up with the very last bytes
        self.is_reusable = self._parser.should_keep_alive()
        self._finish()

    # ── deadlines ───────────────────────────────────────────────────────────────────────────────
    def _watch(self) -> None:
        """One timer for the connection's whole life of answers: it looks, and looks again.

        A timer for each answer would be set and cancelled for every call.
        """
        self._timer = None
        if self._answer is None:
            return  # the next request sets it again
        limit_s = self._deadlines.idle_s if self._has_head else self._deadlines.first_byte_s
        left_s = limit_s - (self._loop.time() - self._heard_at)
        if self._paused:
            left_s = limit_s  # it is our client that is slow
        if left_s > 0:
            self._timer = self._loop.call_later(min(left_s, self._watch_s), self._watch)
        else:
            self.fail(timed_out("idle" if self._has_head else "first byte"))
