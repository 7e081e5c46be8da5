"""The door: one port, two houses.

A subclass of uvicorn's httptools protocol that keeps the gateway's paths to itself and leaves
every other request to the ASGI app. TLS, pipelining, flow control and graceful shutdown stay
uvicorn's; ours are a bound on heads, one timer for slow heads and idle connections, and errors in
our shape. What uvicorn makes for ASGI is made only for requests that go there.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from latchgate import fibers
from latchgate.clock import Clock
from latchgate.domain.errors import InvalidRequest, LatchgateError, MethodNotAllowed
from latchgate.domain.ids import IdMint, new_id
from latchgate.gateway import replies
from latchgate.gateway.head import Head, KnownHead
from latchgate.gateway.request import GatewayRequest
from latchgate.outbox import Outbox

HEADERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Door:
    """What every connection needs to know."""

    clock: Clock
    outbox: Outbox
    handle: Callable[[GatewayRequest], Awaitable[None]]
    owns: Callable[[str], bool]
    header_bytes_max: int
    body_bytes_max: int
    #: How long a request's head may take to come, in seconds.
    head_timeout_s: float
    trusted_proxies: frozenset[str]
    #: How often each code was refused.
    refusals: Counter[str] = field(default_factory=Counter)


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a client."""

    door: Door
    mint: IdMint
    parser: Any
    # uvicorn's own cycles and ours, which have the attributes that uvicorn uses.
    cycle: Any
    pipeline: deque[tuple[Any, Any]]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._is_in_head = False
        #: When what is waited for, a head or another request, is late; None while a call runs.
        self._late_at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: The next bytes begin a request: the one before is whole, and has its answer.
        self._is_between_requests = True
        #: A request of ours whose head is here, and which has not begun to be answered.
        self._fresh: GatewayRequest | None = None
        self._active: GatewayRequest | None = None
        self._peer = ""
        #: The last head that came this way: most often the next one is the same.
        self._known: KnownHead | None = None

    # ── connection ──────────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request's head."""
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        self._expect_by(self.door.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running call that nobody listens any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if isinstance(self.cycle, GatewayRequest):
            self.connections.discard(self)
            self.flow.resume_writing()
            self.transport.close()
        else:
            super().connection_lost(exc)
        active, self._active, self._known = self._active, None, None
        # The parser and its protocol hold each other: without this, only the collector frees them.
        self.parser = None
        if active is None:
            return
        if active.response_complete:
            self.cycle = None
        else:
            active.on_lost()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        if self._active is not None and self._active.on_flow is not None:
            self._active.on_flow(True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._active is not None and self._active.on_flow is not None:
            self._active.on_flow(False)

    def shutdown(self) -> None:
        """The server stops: what is answered goes out before the connection ends."""
        self.door.outbox.flush()
        super().shutdown()

    # ── deadlines ───────────────────────────────────────────────────────────────────────────────
    def _expect_by(self, seconds: float) -> None:
        """Wait so long for a head or another request, and no longer.

        The timer is not set anew for each request: it looks when it fires, and again if need be.
        """
        self._late_at_s = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._watch)

    def _watch(self) -> None:
        self._timer = None
        if self._late_at_s is None or self.transport.is_closing():
            return
        left_s = self._late_at_s - self.loop.time()
        if left_s > 0:
            self._timer = self.loop.call_later(left_s, self._watch)
        elif self._is_in_head:
            error = LatchgateError("The request's head came too slowly.", code="request_timeout")
            error.status, error.type = 408, "invalid_request_error"
            self._refuse(error)
        else:
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        """Uvicorn's own timer, which is never set here."""

    # ── parser ──────────────────────────────────────────────────────────────────────────────────
    def data_received(self, data: bytes) -> None:
        """Begin what is asked for: at once where its head is known, else when it is parsed."""
        if self._is_between_requests:
            known = self._known
            body = None if known is None else known.body_of(data)
            if known is not None and body is not None:
                self._begin_known(known.head, body)
                return
        may_learn, self._is_between_requests = self._is_between_requests, False
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        except httptools.HttpParserUpgrade:
            pass  # its request, the connection's last, is answered as any other, or refused
        if self._is_in_head and self._head_bytes > self.door.header_bytes_max:
            self._refuse(self._head_too_large())
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            if may_learn:
                self._known = KnownHead.learn(data, fresh.head)
            self._begin(fresh)

    def _begin_known(self, head: Head, body: bytes) -> None:
        """Begin a request whose head has come before; the parser never sees it."""
        self._late_at_s = None
        now_us = self.door.clock.now_us()
        request = GatewayRequest(self, head, self.mint(now_us), now_us, self.door.handle)
        request.body, request.more_body = body, False
        self.cycle = request
        self._begin(request)

    def on_message_begin(self) -> None:
        """A request begins: bound its head in bytes and time."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._is_in_head = True
        if self.cycle is not None:  # the first head's time runs since the connection was made
            self._expect_by(self.door.head_timeout_s)

    def on_headers_complete(self) -> None:
        """Keep the gateway's requests; hand all others to the ASGI app."""
        self._late_at_s, self._is_in_head = None, False
        if len(self.headers) > HEADERS_MAX or (
            self._head_bytes > self.door.header_bytes_max
            and self._count_head() > self.door.header_bytes_max
        ):
            self._refuse(self._head_too_large())
            raise ValueError("head too large")  # ends the parser's run
        self._head_bytes = 0
        path, query = _split(self.url)
        if not self.door.owns(path):
            self._make_scope()
            super().on_headers_complete()
            return
        now_us = self.door.clock.now_us()
        request = GatewayRequest(
            self,
            self._make_head(path, query),
            self.mint(now_us),
            now_us,
            self._handler(),
            expects_continue=self.expect_100_continue,
        )
        running, self.cycle = self.cycle, request
        if running is None or running.response_complete:
            self._fresh = request
        else:  # pipelined: it waits until the one before has its answer
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))

    def _count_head(self) -> int:
        """The head's size: what came with it may have been a body."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _head_too_large(self) -> LatchgateError:
        error = InvalidRequest(
            f"A request's head has at most {HEADERS_MAX} fields and "
            f"{self.door.header_bytes_max} bytes.",
            code="request_header_too_large",
        )
        error.status = 431
        return error

    def _make_scope(self) -> None:
        """What uvicorn fills in at a request's beginning; headers were gathered since."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers

    def _make_head(self, path: str, query: bytes) -> Head:
        parser, headers = self.parser, dict(self.headers)
        is_kept = parser.get_http_version() == "1.1" and not parser.should_upgrade()
        head = Head(
            parser.get_method().decode("ascii"),
            path,
            query,
            headers,
            keep_alive=is_kept and parser.should_keep_alive(),
            ip=self._client_ip(headers),
        )
        if self._known is not None:
            head.take_over_key(self._known.head)
        return head

    def _handler(self) -> Callable[[GatewayRequest], Awaitable[None]]:
        if self.parser.get_http_version() != "1.1":
            return _refuse_old_http
        offers_upgrade = self.parser.should_upgrade() and self.parser.get_method() == b"POST"
        return _refuse_upgrade if offers_upgrade else self.door.handle

    def _client_ip(self, headers: dict[bytes, bytes]) -> str:
        """The peer's address; a trusted proxy may name the one that it speaks for."""
        if self._peer in self.door.trusted_proxies:
            # The right-most address is the one that our proxy saw; those before it are hearsay.
            forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
            return forwarded.rpartition(",")[2].strip()[:45] or self._peer
        return self._peer

    def on_body(self, body: bytes) -> None:
        """Hand the body's pieces over, and not a byte more than is of use."""
        cycle = self.cycle
        if not isinstance(cycle, GatewayRequest):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.on_body(body)
            if len(cycle.body) > self.door.body_bytes_max:
                self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """The request is whole."""
        cycle = self.cycle
        if not isinstance(cycle, GatewayRequest):
            super().on_message_complete()
        elif not cycle.response_complete:
            cycle.on_whole()

    # ── answering ───────────────────────────────────────────────────────────────────────────────
    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if isinstance(cycle, GatewayRequest):
            self._begin(cycle)
        else:
            self._active = None
            super()._start_asgi_task(cycle, app)

    def _begin(self, request: GatewayRequest) -> None:
        self._active = request
        fibers.run(request.run())

    def on_response_complete(self) -> None:
        """An answer is out: the next request that has come already, or a while for one to come."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif not self._is_in_head:
            self._is_between_requests = not self.cycle.more_body
            self._expect_by(self.timeout_keep_alive)

    # ── refusals before there is a request ──────────────────────────────────────────────────────
    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an error of our shape, and the connection ends."""
        if not self.transport.is_closing():
            self._refuse(InvalidRequest(f"{msg} Check how it was written.", code="invalid_http"))

    def _refuse(self, error: LatchgateError) -> None:
        self.door.refusals[error.code] += 1
        body = replies.error_body(error)
        head = replies.head(
            error.status,
            new_id("req", self.door.clock.now_us()),
            replies.JSON,
            replies.header("content-length", len(body)),
            b"connection: close\r\n",
        )
        self.door.outbox.flush()
        self.transport.write(head + body)
        self.transport.close()


async def _refuse_old_http(_request: GatewayRequest) -> None:
    error = MethodNotAllowed(
        "This API speaks HTTP/1.1; the request came as HTTP/1.0. Behind nginx, set "
        "proxy_http_version 1.1."
    )
    error.status = 400
    raise error


async def _refuse_upgrade(_request: GatewayRequest) -> None:
    """Answer a call that offers another protocol: the parser leaves its body to that one."""
    raise InvalidRequest(
        "This API does not change to another protocol. Send the call without the header Upgrade: "
        "in Java, build the client with version(HTTP_1_1).",
        code="invalid_http",
    )


def protocol_for(door: Door) -> type[GatewayProtocol]:
    """The protocol class to give uvicorn as ``http=``."""
    bound = {"door": door, "mint": IdMint("req")}
    return type("BoundGatewayProtocol", (GatewayProtocol,), bound)


@lru_cache(maxsize=1024)
def _split(url: bytes) -> tuple[str, bytes]:
    """A request target's path and query. What is none raises, and so ends the parser's run."""
    parsed = httptools.parse_url(url)
    return (parsed.path or b"/").decode("ascii", "replace"), parsed.query or b""
