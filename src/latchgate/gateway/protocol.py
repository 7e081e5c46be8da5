"""The door: one port, two houses.

A subclass of uvicorn's httptools protocol that keeps the gateway's paths to itself and leaves
every other request to the ASGI app. TLS, keep-alive, pipelining, flow control, graceful shutdown
stay uvicorn's; added are a bound on heads, a deadline for slow ones, and errors in our shape.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from httptools import parse_url
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from latchgate.clock import Clock
from latchgate.domain.errors import InvalidRequest, LatchgateError, MethodNotAllowed
from latchgate.domain.ids import new_id
from latchgate.gateway import replies
from latchgate.gateway.request import GatewayRequest

HEADERS_MAX = 100


@dataclass(frozen=True, slots=True)
class Door:
    """What every connection needs to know."""

    clock: Clock
    handle: Callable[[GatewayRequest], Awaitable[None]]
    owns: Callable[[str], bool]
    header_bytes_max: int
    body_bytes_max: int
    #: How long a request's head may take to come, in seconds.
    head_timeout_s: float
    trusted_proxies: frozenset[str]


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a client."""

    door: Door
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
        self._head_timer: asyncio.TimerHandle | None = None
        self._active: GatewayRequest | None = None

    # ── connection ──────────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request's head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.door.head_timeout_s, self._on_head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running call that nobody listens any more."""
        self._stop_head_timer()
        super().connection_lost(exc)
        active = self._active
        if active is not None and not active.response_complete:
            active.disconnected = True
            if active.on_gone is not None:
                active.on_gone()

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

    def _on_head_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._head_bytes:
            error = LatchgateError("The request's head came too slowly.", code="request_timeout")
            error.status, error.type = 408, "invalid_request_error"
            self._refuse(error)
        else:
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    # ── parser ──────────────────────────────────────────────────────────────────────────────────
    def on_message_begin(self) -> None:
        """A request begins: bound its head in bytes and time."""
        super().on_message_begin()
        self._head_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.door.head_timeout_s, self._on_head_late)

    def on_url(self, url: bytes) -> None:
        """Count the request line towards the head's bound."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field, as uvicorn's own does, and count it towards the head's bound."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        self._count_head(len(name) + len(value) + 4)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.door.header_bytes_max or len(self.headers) > HEADERS_MAX:
            error = InvalidRequest(
                f"A request's head has at most {HEADERS_MAX} fields and "
                f"{self.door.header_bytes_max} bytes.",
                code="request_header_too_large",
            )
            error.status = 431
            self._refuse(error)
            raise ValueError("head too large")  # ends the parser's run; data_received sees it

    def on_headers_complete(self) -> None:
        """Keep the gateway's requests; hand all others to the ASGI app."""
        self._stop_head_timer()
        url = parse_url(self.url)
        path = url.path.decode("ascii", "replace")
        if not self.door.owns(path):
            super().on_headers_complete()
            return
        request = self._make_request(path, url.query or b"")
        running, self.cycle = self.cycle, request
        if running is None or running.response_complete:
            self._start_asgi_task(request, self.app)
        else:  # pipelined: it waits until the one before has its answer
            self.flow.pause_reading()
            self.pipeline.appendleft((request, self.app))

    def _make_request(self, path: str, query: bytes) -> GatewayRequest:
        headers = dict(self.headers)
        handler = self.door.handle if self.parser.get_http_version() == "1.1" else _refuse_old_http
        return GatewayRequest(
            self,
            request_id=new_id("req", self.door.clock.now_us()),
            method=self.parser.get_method().decode("ascii"),
            path=path,
            query=query,
            headers=headers,
            ip=self._client_ip(headers),
            keep_alive=self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive(),
            expects_continue=self.expect_100_continue,
            handler=handler,
        )

    def _client_ip(self, headers: dict[bytes, bytes]) -> str:
        """The peer's address; a trusted proxy may name the one that it speaks for."""
        peer = self.client[0] if self.client else ""
        if peer in self.door.trusted_proxies:
            # The right-most address is the one that our proxy saw; those before it are hearsay.
            forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
            return forwarded.rpartition(",")[2].strip()[:45] or peer
        return peer

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active = cycle if isinstance(cycle, GatewayRequest) else None
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Gather the body, and not a byte more than is of use."""
        cycle = self.cycle
        if not isinstance(cycle, GatewayRequest):
            super().on_body(body)
            return
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > self.door.body_bytes_max:
            self.flow.pause_reading()
        cycle.message_event.set()

    # ── refusals before there is a request ──────────────────────────────────────────────────────
    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets an error of our shape, and the connection ends."""
        if not self.transport.is_closing():
            self._refuse(InvalidRequest(f"{msg} Check how it was written.", code="invalid_http"))

    def _refuse(self, error: LatchgateError) -> None:
        body = replies.error_body(error)
        head = replies.head(
            error.status,
            new_id("req", self.door.clock.now_us()),
            replies.JSON,
            replies.header("content-length", len(body)),
            b"connection: close\r\n",
        )
        self.transport.write(head + body)
        self.transport.close()


async def _refuse_old_http(_request: GatewayRequest) -> None:
    error = MethodNotAllowed(
        "This API speaks HTTP/1.1; the request came as HTTP/1.0. Behind nginx, set "
        "proxy_http_version 1.1."
    )
    error.status = 400
    raise error


def protocol_for(door: Door) -> type[GatewayProtocol]:
    """The protocol class to give uvicorn as ``http=``."""
    return type("BoundGatewayProtocol", (GatewayProtocol,), {"door": door})
