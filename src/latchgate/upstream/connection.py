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
        self.transport: asyncio.Transport | None = None
        self.is_reusable = False
        self._begin(None)

    def _begin(self, sink: Sink | None) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sink = sink
        self._head_bytes = 0
        self._answer = AnswerHead(0)
        self._head: asyncio.Future[AnswerHead] = self._loop.create_future()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._paused = False
        self.bytes_received = 0

    # ── for the caller ──────────────────────────────────────────────────────────────────────────
    @property
    def is_open(self) -> bool:
        """Whether it can carry another request."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def status(self) -> int:
        """The status of the answer that is coming; 0 before its head is here."""
        return self._answer.status

    async def send(self, request: bytes, sink: Sink) -> AnswerHead:
        """Send a request and wait for its answer's head; the body goes to ``sink``.

        Raises Broken when the connection ends first, UpstreamFailed when it takes too long.
        """
        if self.transport is None:
            raise Broken("not connected")
        self.is_reusable = False
        self._begin(sink)
        # Whoever waits for the head may be gone when the body ends: not an error of its own.
        self._done.add_done_callback(_retrieve)
        self.transport.write(request)
        self._timer = self._loop.call_later(self._deadlines.first_byte_s, self._on_first_byte_late)
        return await self._head

    async def done(self) -> None:
        """Wait until the whole body has gone to the sink. Raises Broken or UpstreamFailed."""
        await self._done

    def fail(self, error: Exception) -> None:
        """End the answer with an error, and the connection with it."""
        self._stop_timer()
        for future in (self._head, self._done):
            if not future.done():
                future.set_exception(error)
        if self._head.done():
            _retrieve(self._head)
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
        if self._done.done():  # bytes that nobody asked for: this server is out of step
            self.fail(Broken("bytes after the answer's end"))
            return
        self.bytes_received += len(data)
        self._heard_at = self._loop.time()
        if not self._head.done():
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(Broken(f"no HTTP answer: {type(error).__name__}"))
            return
        if not self._head.done() and self._head_bytes > HEAD_BYTES_MAX:
            self.fail(Broken("endless head"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed, or the network has."""
        self._stop_timer()
        self.transport = None
        if self._done.done():
            return
        if self._head.done() and not self._has_length() and exc is None:
            self._done.set_result(None)  # a body that only the connection's end delimits
            return
        self.fail(Broken("connection lost"))

    def _has_length(self) -> bool:
        headers = self._answer.headers
        return b"content-length" in headers or b"transfer-encoding" in headers

    # ── httptools ───────────────────────────────────────────────────────────────────────────────
    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field."""
        headers = self._answer.headers
        if len(headers) >= HEADERS_MAX:
            raise Broken("too many header fields")
        headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is whole: hand it over, and watch for silence from now on."""
        self._answer.status = self._parser.get_status_code()
        if self._answer.status < 200:  # noqa: PLR2004 - interim answers (RFC 9110, 15.2)
            self._answer = AnswerHead(0)
            return
        self._stop_timer()
        self._timer = self._loop.call_later(self._deadlines.idle_s, self._on_idle)
        if not self._head.done():
            self._head.set_result(self._answer)

    def on_body(self, body: bytes) -> None:
        """Hand a chunk over."""
        if self._sink is not None and not self._done.done():
            self._sink.on_chunk(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._answer.status == 0 or self._done.done():
            return
        self._stop_timer()
        self.resume()  # the sink may have filled up with the very last bytes
        self.is_reusable = self._parser.should_keep_alive()
        self._sink = None
        self._done.set_result(None)

    # ── deadlines ───────────────────────────────────────────────────────────────────────────────
    def _on_first_byte_late(self) -> None:
        self.fail(timed_out("first byte"))

    def _on_idle(self) -> None:
        silence_s = self._loop.time() - self._heard_at
        left_s = self._deadlines.idle_s - silence_s
        if self._paused:
            left_s = self._deadlines.idle_s  # it is our client that is slow
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._on_idle)
        else:
            self.fail(timed_out("idle"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _retrieve(future: asyncio.Future[None] | asyncio.Future[AnswerHead]) -> None:
    if not future.cancelled():
        future.exception()
