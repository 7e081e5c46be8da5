"""One request of the gateway's, and the answer that is written to it.

It stands where uvicorn keeps its own request-response cycle, and so shares uvicorn's keep-alive,
pipelining, flow control and graceful shutdown; the attributes that uvicorn reads are named so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import OperationalError

from latchgate.domain.errors import InvalidRequest, LatchgateError, LedgerUnavailable, TooLarge
from latchgate.gateway import replies

if TYPE_CHECKING:
    from latchgate.gateway.protocol import GatewayProtocol

log = structlog.get_logger()

#: How long a client may take over its whole body, in seconds.
BODY_TIMEOUT_S = 60.0
#: How long a refused upload's connection stays open, so that the refusal is not lost in a reset.
LINGER_S = 1.0


class ClientGone(Exception):
    """The client has hung up: there is nobody to answer."""


class GatewayRequest:
    """A request with its body and its answer. Lives on the event loop of its connection."""

    def __init__(
        self,
        protocol: GatewayProtocol,
        *,
        request_id: str,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        ip: str,
        keep_alive: bool,
        expects_continue: bool,
        handler: Callable[[GatewayRequest], Awaitable[None]],
    ) -> None:
        self._protocol = protocol
        self._handler = handler
        self.request_id = request_id
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.ip = ip
        self.started_s = protocol.loop.time()
        #: Header lines that say what is left of the account's rates.
        self.rate_lines: tuple[bytes, ...] = ()
        # What uvicorn reads and writes.
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expects_continue
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.message_event = asyncio.Event()
        #: Called once when the client hangs up, and whenever its socket fills or drains.
        self.on_gone: Callable[[], None] | None = None
        self.on_flow: Callable[[bool], None] | None = None

    async def run_asgi(self, _app: object) -> None:
        """Answer; uvicorn calls this as the request's task."""
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
        return {"request_id": self.request_id, "path": self.path}

    def check_connected(self) -> None:
        """Raise ClientGone when there is nobody to answer any more."""
        if self.disconnected:
            raise ClientGone

    # ── the body ────────────────────────────────────────────────────────────────────────────────
    async def read_body(self, *, bytes_max: int) -> bytes:
        """The whole body. Raises TooLarge as soon as it is, ClientGone, or InvalidRequest 408."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > bytes_max:
            self._refuse_upload(bytes_max)
        if self.waiting_for_100_continue and self.more_body:
            self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.more_body:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    await self._gather_body(bytes_max)
            except TimeoutError:
                self.keep_alive = False
                raise _body_too_slow() from None
        if len(self.body) > bytes_max:
            self._refuse_upload(bytes_max)
        return bytes(self.body)

    async def _gather_body(self, bytes_max: int) -> None:
        while self.more_body:
            if self.disconnected:
                raise ClientGone
            if len(self.body) > bytes_max:
                self._refuse_upload(bytes_max)
            self._protocol.flow.resume_reading()
            self.message_event.clear()
            await self.message_event.wait()

    def _refuse_upload(self, bytes_max: int) -> None:
        self.keep_alive = False
        raise TooLarge(f"A request's body has at most {bytes_max} bytes.")

    # ── the answer ──────────────────────────────────────────────────────────────────────────────
    def send(self, status: int, body: bytes, *lines: bytes) -> None:
        """Send a whole answer."""
        if self.disconnected or self.response_started:
            return
        self.response_started = True
        length = b"content-length: %d\r\n" % len(body)
        lines = (*lines, *self.rate_lines, self._processing(), length)
        head = replies.head(status, self.request_id, *lines, *self._closing())
        is_bodiless = self.method == "HEAD" or status == 204  # noqa: PLR2004 - No Content
        self._protocol.transport.write(head if is_bodiless else head + body)
        self._complete()

    def send_json(self, status: int, body: bytes, *lines: bytes) -> None:
        """Send a whole answer of JSON."""
        self.send(status, body, replies.JSON, *lines)

    def send_error(self, error: LatchgateError) -> None:
        """Send a refusal: as an answer, or as the last event of a stream that has begun."""
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            self.write(replies.error_event(error))
            self.abort()
            return
        self.send_json(error.status, replies.error_body(error), *replies.error_lines(error))

    def start_stream(self, *lines: bytes) -> None:
        """Begin an answer of events."""
        if self.disconnected or self.response_started:
            return
        self.response_started = True
        lines = (
            replies.EVENTS,
            b"transfer-encoding: chunked\r\n",
            self._processing(),
            *self.rate_lines,
            *lines,
        )
        self._protocol.transport.write(replies.head(200, self.request_id, *lines, *self._closing()))

    def write(self, data: bytes) -> None:
        """Send a piece of a stream as one chunk."""
        if not self.disconnected:
            self._protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self, data: bytes) -> None:
        """Send the last piece of a stream; the call is over."""
        if not self.disconnected:
            self._protocol.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
            self._complete()

    def abort(self) -> None:
        """Cut the connection, so that nobody takes a part for the whole."""
        self.response_complete = True
        self._protocol.transport.close()

    def _processing(self) -> bytes:
        spent_ms = int((self._protocol.loop.time() - self.started_s) * 1000)
        return b"openai-processing-ms: %d\r\n" % spent_ms

    def _closing(self) -> tuple[bytes, ...]:
        return () if self.keep_alive else (b"connection: close\r\n",)

    def _complete(self) -> None:
        self.response_complete = True
        transport = self._protocol.transport
        if not self.keep_alive:
            if self.more_body:  # bytes are still under way: closing now would reset the answer away
                self._protocol.flow.pause_reading()
                self._protocol.loop.call_later(LINGER_S, transport.abort)
            else:
                transport.close()
        self._protocol.on_response_complete()


def _body_too_slow() -> InvalidRequest:
    error = InvalidRequest("The request's body came too slowly.", code="request_timeout")
    error.status = 408
    return error
