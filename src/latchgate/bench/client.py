"""One connection of the load generator, and the tally of what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import httptools

EVENT_END = b"\n\n"
DONE = b"[DONE]"


@dataclass(slots=True)
class Tally:
    """What was answered. Only what ends between ``from_s`` and ``until_s`` makes the figures."""

    expect_status: int
    is_stream: bool
    from_s: float
    until_s: float
    #: All answers and events, those before and after the figures included.
    calls_all: int = 0
    events_all: int = 0
    events: int = 0
    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    first_error: str = ""

    def on_answer(self, status: int, started_s: float, now_s: float) -> None:
        """Count an answer that came whole."""
        self.calls_all += 1
        if status != self.expect_status:
            self.on_error(f"status {status} in place of {self.expect_status}")
        elif self.from_s <= now_s < self.until_s:
            self.latencies_s.append(now_s - started_s)

    def on_events(self, count: int, now_s: float) -> None:
        """Count events of a stream."""
        self.events_all += count
        if self.from_s <= now_s < self.until_s:
            self.events += count

    def on_error(self, what: str) -> None:
        """Count an answer that was wrong, or none."""
        self.errors += 1
        self.first_error = self.first_error or what


class Caller(asyncio.Protocol):
    """A kept connection that makes one call at a time."""

    def __init__(self, request: bytes, tally: Tally, on_free: Callable[[Caller], None]) -> None:
        self._request = request
        self._tally = tally
        self._on_free = on_free
        #: Called once when a stream's first event comes.
        self.on_event: Callable[[], None] | None = None
        self._started_s = 0.0
        self._is_calling = False
        self._tail = b""
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def call(self) -> None:
        """Send the request; time runs from here."""
        self._is_calling = True
        self._tail = self._body = b""
        self._started_s = perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP answer: {error}")

    def on_body(self, body: bytes) -> None:
        """Count events by the empty lines that end them, wherever the bytes were cut."""
        self._body = body
        if not self._tally.is_stream:
            return
        count = body.count(EVENT_END)
        if self._tail == b"\n" and body[:1] == b"\n":
            count += 1
        self._tail = body[-1:]
        if count:
            self._tally.on_events(count, perf_counter())
            if self.on_event is not None:
                on_event, self.on_event = self.on_event, None
                on_event()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        status = self._parser.get_status_code()
        self._is_calling = False
        if not self._body:
            self._tally.on_error("an empty answer")
        elif self._tally.is_stream and status == self._tally.expect_status:
            self._check_end()
        self._tally.on_answer(status, self._started_s, perf_counter())
        if not self._parser.should_keep_alive():
            self.is_open = False
            self.transport.close()
        self._on_free(self)

    def _check_end(self) -> None:
        if DONE not in self._body:
            self._tally.on_error("a stream without its end")

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that ends in mid-call is an error; an idle one may."""
        del exc
        self.is_open = False
        if self._is_calling:
            self._fail("the connection ended before the answer did")

    def _fail(self, what: str) -> None:
        self.is_open = False
        self._tally.on_error(what)
        self.transport.abort()
        if self._is_calling:
            self._is_calling = False
            self._on_free(self)

    def leave(self) -> None:
        """Hang up, also in mid-call; that is no error."""
        self._is_calling = False
        self.transport.abort()
