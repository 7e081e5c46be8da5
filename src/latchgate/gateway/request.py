"""One request of the gateway's, and the answer that is written to it.

It stands where uvicorn keeps its own request-response cycle, and so shares uvicorn's keep-alive,
pipelining, flow control and graceful shutdown; the attributes that uvicorn reads are named so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import OperationalError

from latchgate.domain.errors import InvalidRequest, LatchgateError, LedgerUnavailable, TooLarge
from latchgate.fibers import Wait
from latchgate.gateway import replies
from latchgate.gateway.repeats import Answer

if TYPE_CHECKING:
    from latchgate.gateway.head import Head
    from latchgate.gateway.protocol import GatewayProtocol

log = structlog.get_logger()

#: How long a client may take over its whole body, in seconds.
BODY_TIMEOUT_S = 60.0
#: How long a refused upload's connection stays open, so that the refusal is not lost in a reset.
LINGER_S = 1.0
#: Says that an answer was given before, and is not charged again.
REPLAYED = b"x-latchgate-replayed: true\r\n"
_END = b"0\r\n\r\n"


class ClientGone(Exception):
    """The client has hung up: there is nobody to answer."""


class GatewayRequest:
    """A request with its body and its answer. Lives on the event loop of its connection."""

    __slots__ = (
        "_body_wait",
        "_handler",
        "_protocol",
        "_recorded",
        "_recording",
        "body",
        "disconnected",
        "error_body",
        "error_event",
        "error_status",
        "head",
        "headers",
        "keep_alive",
        "more_body",
        "on_flow",
        "on_gone",
        "own_lines",
        "rate_lines",
        "request_id",
        "response_complete",
        "response_started",
        "started_us",
        "waiting_for_100_continue",
    )

    def __init__(
        self,
        protocol: GatewayProtocol,
        head: Head,
        request_id: str,
        started_us: int,
        handler: Callable[[GatewayRequest], Awaitable[None]],
        *,
        expects_continue: bool = False,
    ) -> None:
        self._protocol = protocol
        self._handler = handler
        self._body_wait: Wait[None] | None = None
        self._recording: list[bytes] | None = None
        self._recorded: Answer | None = None
        self.request_id = request_id
        self.head = head
        self.headers = head.headers
        self.started_us = started_us
        #: Header lines that say what is left of the account's rates.
        self.rate_lines = b""
        #: Header lines that its dialect of the API adds to every answer.
        self.own_lines = b""
        #: How a refusal is written: each dialect of the API has a shape of its own.
        self.error_status: Callable[[LatchgateError], int] = replies.error_status
        self.error_body: Callable[[LatchgateError], bytes] = replies.error_body
        self.error_event: Callable[[LatchgateError], bytes] = replies.error_event
        # What uvicorn reads and writes.
        self.keep_alive = head.keep_alive
        self.waiting_for_100_continue = expects_continue
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        #: Called once when the client hangs up, and whenever its socket fills or drains.
        self.on_gone: Callable[[], None] | None = None
        self.on_flow: Callable[[bool], None] | None = None

    async def run(self) -> None:
        """Answer: the whole of the request's fiber."""
        try:
            await self._handler(self)
        except ClientGone:
            pass
        except LatchgateError as error:
            if error.internal:
                log.warning("call.refused", code=error.code, cause=error.internal, **self.bound)
            self.send_error(error)
        except OperationalError as error:
            log.warning(
                "call.refused", code=LedgerUnavailable.code, cause=str(error.orig), **self.bound
            )
            self.send_error(LedgerUnavailable("The database is not there just now. Try again."))
        except Exception:
            log.exception("call.crashed", **self.bound)
            self.send_error(LatchgateError("Something went wrong on our side. Try again."))
        finally:
            self.on_gone = self.on_flow = None
            if not self.response_complete and not self.disconnected:
                self.abort()

    @property
    def now_s(self) -> float:
        """The loop's clock, in seconds."""
        return self._protocol.loop.time()

    @property
    def bound(self) -> dict[str, str]:
        """What a log line about this request carries."""
        return {"request_id": self.request_id, "path": self.head.path}

    def check_connected(self) -> None:
        """Raise ClientGone when there is nobody to answer any more."""
        if self.disconnected:
            raise ClientGone

    # ── the body ────────────────────────────────────────────────────────────────────────────────
    def on_body(self, piece: bytes) -> None:
        """More of the body has come."""
        self.body = self.body + piece if self.body else piece
        self._wake()

    def on_whole(self) -> None:
        """The body is whole."""
        self.more_body = False
        self._wake()

    def _wake(self) -> None:
        wait, self._body_wait = self._body_wait, None
        if wait is not None:
            wait.set(None)

    async def read_body(self, *, bytes_max: int) -> bytes:
        """The whole body. Raises TooLarge as soon as it is, ClientGone, or InvalidRequest 408."""
        if self.more_body:
            declared = self.headers.get(b"content-length", b"")
            if declared.isdigit() and int(declared) > bytes_max:
                self._refuse_upload(bytes_max)
            if self.waiting_for_100_continue:
                self._write_at_once(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self._gather_body(bytes_max)
        return self.whole_body(bytes_max=bytes_max)

    def whole_body(self, *, bytes_max: int) -> bytes:
        """The whole body, when all of it has come. Raises TooLarge."""
        if len(self.body) > bytes_max:
            self._refuse_upload(bytes_max)
        return self.body

    async def _gather_body(self, bytes_max: int) -> None:
        """Wait for the rest, within the bounds of size and time."""
        pieces = [self.body]
        size = len(self.body)
        timer = self._protocol.loop.call_later(BODY_TIMEOUT_S, self._on_body_late)
        try:
            while self.more_body:
                self.check_connected()
                if size > bytes_max:
                    self._refuse_upload(bytes_max)
                self.body = b""
                self._protocol.flow.resume_reading()
                wait = self._body_wait = Wait[None]()
                await wait
                pieces.append(self.body)
                size += len(self.body)
        finally:
            timer.cancel()
        self.body = b"".join(pieces)

    def _on_body_late(self) -> None:
        wait, self._body_wait = self._body_wait, None
        if wait is not None:
            self.keep_alive = False
            error = InvalidRequest("The request's body came too slowly.", code="request_timeout")
            error.status = 408
            wait.fail(error)

    def _refuse_upload(self, bytes_max: int) -> None:
        self.keep_alive = False
        raise TooLarge(f"A request's body has at most {bytes_max} bytes.")

    # ── the connection ──────────────────────────────────────────────────────────────────────────
    def on_lost(self) -> None:
        """The client has hung up."""
        self.disconnected = True
        self._wake()
        if self.on_gone is not None:
            self.on_gone()

    # ── the answer ──────────────────────────────────────────────────────────────────────────────
    def send(self, status: int, body: bytes, *lines: bytes) -> None:
        """Send a whole answer."""
        if self._recording is not None and status == 200:  # noqa: PLR2004 - OK
            self._recorded = Answer(body, lines, is_stream=False)
        if self.disconnected or self.response_started:
            return
        self.response_started = True
        if self.head.method == "HEAD" or status == 204:  # noqa: PLR2004 - No Content
            body = b""
        self._protocol.door.outbox.add(
            self._protocol.transport,
            b"%b%b\r\n%b%b%bopenai-processing-ms: %d\r\n%bcontent-length: %d\r\n\r\n%b"
            % (
                replies.opening(status),
                self.request_id.encode("ascii"),
                b"".join(lines),
                self.own_lines,
                self.rate_lines,
                self._processing_ms(),
                self._closing(),
                len(body),
                body,
            ),
        )
        self._complete()

    def send_json(self, status: int, body: bytes, *lines: bytes) -> None:
        """Send a whole answer of JSON."""
        self.send(status, body, replies.JSON, *lines)

    def send_error(self, error: LatchgateError) -> None:
        """Send a refusal: as an answer, or as the last event of a stream that has begun."""
        if self.disconnected or self.response_complete:
            return
        self._protocol.door.refusals[error.code] += 1
        if self.response_started:
            self.write(self.error_event(error))
            self.abort()
            return
        lines = replies.error_lines(error)
        self.send_json(self.error_status(error), self.error_body(error), *lines)

    def start_stream(self, *lines: bytes) -> None:
        """Begin an answer of events."""
        if self.disconnected or self.response_started:
            return
        self.response_started = True
        self._write_at_once(
            b"%b%b\r\n%btransfer-encoding: chunked\r\nopenai-processing-ms: %d\r\n%b%b%b%b\r\n"
            % (
                replies.opening(200),
                self.request_id.encode("ascii"),
                replies.EVENTS,
                self._processing_ms(),
                self.own_lines,
                self.rate_lines,
                b"".join(lines),
                self._closing(),
            )
        )

    def _write_at_once(self, data: bytes) -> None:
        """Write it, behind whole answers to earlier requests that wait for the turn's end."""
        self._protocol.door.outbox.flush()
        self._protocol.transport.write(data)

    def write(self, data: bytes) -> None:
        """Send a piece of a stream as one chunk."""
        if self._recording is not None:
            self._recording.append(data)
        if not self.disconnected:
            self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self, data: bytes) -> None:
        """Send the last piece of a stream; the call is over."""
        if self._recording is not None:
            self._recorded = Answer(b"".join((*self._recording, data)), (), is_stream=True)
        if not self.disconnected:
            last = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self._protocol.transport.write(last + _END)
            self._complete()

    # ── the answer, once more ───────────────────────────────────────────────────────────────────
    def start_recording(self) -> None:
        """Keep what is answered, so that it can be given again."""
        self._recording = []

    def recorded(self) -> Answer | None:
        """What was answered in whole; None for a refusal, or an answer that broke off."""
        return self._recorded

    def replay(self, answer: Answer) -> None:
        """Give an answer again that an earlier call has got."""
        if answer.is_stream:
            self.start_stream(REPLAYED)
            self.end_stream(answer.body)
        else:
            self.send(200, answer.body, *answer.lines, REPLAYED)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Have something done on the request's loop in so many seconds."""
        self._protocol.loop.call_later(seconds, callback)

    def abort(self) -> None:
        """Cut the connection, so that nobody takes a part for the whole."""
        self.response_complete = True
        self._protocol.door.outbox.flush()
        self._protocol.transport.close()

    def _processing_ms(self) -> int:
        passed_us = self._protocol.door.clock.now_us() - self.started_us
        return max(0, passed_us) // 1000  # a clock may be set back

    def _closing(self) -> bytes:
        return b"" if self.keep_alive else b"connection: close\r\n"

    def _complete(self) -> None:
        self.response_complete = True
        transport = self._protocol.transport
        if not self.keep_alive:
            self._protocol.door.outbox.flush()
            if self.more_body:  # bytes are still under way: closing now would reset the answer away
                self._protocol.flow.pause_reading()
                self._protocol.loop.call_later(LINGER_S, transport.abort)
            else:
                transport.close()
        self._protocol.on_response_complete()
