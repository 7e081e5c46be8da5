"""The edge: what every request passes before any handler sees it, and every answer after.

    in    request id ─ peer ─ Host ─ same origin ─ body in whole, bounded in bytes and time
    out   security headers, no-store, Secure cookies; an unexpected error becomes a plain 500

Plain ASGI: nothing is buffered on the way out, and a client that goes is noticed.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import OperationalError
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latchgate.clock import Clock
from latchgate.domain.errors import InvalidRequest, LatchgateError, LedgerUnavailable, TooLarge
from latchgate.domain.ids import new_id
from latchgate.http.cross_site import SAFE_METHODS, check_same_origin
from latchgate.http.hosts import name_in
from latchgate.http.peer import HTTPS, TrustedProxies
from latchgate.http.security_headers import complete
from latchgate.http.sessions import session_token
from latchgate.observe.logs import bind_request_id, release

BODY_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 30
HEALTH_PATH = "/healthz"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EdgeRules:
    """What the edge decides by."""

    clock: Clock
    proxies: TrustedProxies
    host_names: frozenset[str]
    #: Draws a refusal in the shape that the path's clients read.
    refuse: Callable[[Request, LatchgateError], Response]


class Edge:
    """The outermost middleware of ours."""

    def __init__(self, app: ASGIApp, rules: EdgeRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan messages pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = self._begin(scope, receive)
        bound = bind_request_id(request.state.request_id)
        answer = _Answer(request, send)
        try:
            await self._serve(request, receive, answer)
        except ClientDisconnect:
            return
        except LatchgateError as error:
            await self._refuse(request, error, answer)
        except Exception as error:
            # The last line of defence: a bug ends one request, not the server.
            _log_unexpected(request, error)
            if answer.has_begun:
                raise  # the server cuts the connection: half an answer must not look whole
            await self._refuse(request, _sorry(request, error), answer)
        finally:
            release(bound)

    def _begin(self, scope: Scope, receive: Receive) -> Request:
        """Note in the request's state what handlers may ask: its id, the peer, TLS."""
        scope["state"] = dict(scope.get("state", {}))
        request = Request(scope, receive)
        rules = self._rules
        request.state.request_id = new_id("req", rules.clock.now_us())
        request.state.client_ip = rules.proxies.client_ip(request)
        request.state.is_behind_tls = rules.proxies.is_behind_tls(request)
        return request

    async def _serve(self, request: Request, receive: Receive, answer: _Answer) -> None:
        if request.scope["path"] != HEALTH_PATH:
            self._check_host(request)
        check_same_origin(
            request.method,
            request.headers,
            scheme=HTTPS if request.state.is_behind_tls else "http",
            has_session_cookie=session_token(request) is not None,
        )
        body = await _read_body(request, receive)
        await self._app(request.scope, _replay(body, receive), answer.send)

    def _check_host(self, request: Request) -> None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or name_in(hosts[0]) not in self._rules.host_names:
            raise InvalidRequest(
                "This server does not answer to that name. Its operator can add the name to "
                "server.allowed_hosts.",
                code="invalid_host",
            )

    async def _refuse(self, request: Request, error: LatchgateError, answer: _Answer) -> None:
        response = self._rules.refuse(request, error)
        await response(request.scope, request.receive, answer.send)


class _Answer:
    """The way out: completes the head of whatever is answered."""

    def __init__(self, request: Request, send: Send) -> None:
        self._request = request
        self._send = send
        self.has_begun = False

    async def send(self, message: Message) -> None:
        """Pass one message on to the server."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            state = self._request.state
            complete(
                MutableHeaders(scope=message),
                path=self._request.scope["path"],
                request_id=state.request_id,
                is_behind_tls=state.is_behind_tls,
            )
        await self._send(message)


async def _read_body(request: Request, receive: Receive) -> bytes | None:
    """The whole body. Raises TooLarge beyond 64 KiB; None for a request that has none."""
    length = request.headers.get("content-length", "")
    has_body = length or "transfer-encoding" in request.headers
    if request.method in SAFE_METHODS and not has_body:
        return None
    # Compared as text where it is long: nobody makes us count to a number of a million digits.
    if len(length) > len(str(BODY_BYTES_MAX)) or (
        length.isdecimal() and int(length) > BODY_BYTES_MAX
    ):
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > BODY_BYTES_MAX:
                    raise _too_large()
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _too_slow() from None


def _replay(body: bytes | None, receive: Receive) -> Receive:
    """A ``receive`` that gives the body at once, and after it whatever the server says."""
    if body is None:
        return receive
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def _too_large() -> TooLarge:
    return TooLarge(f"A request here has at most {BODY_BYTES_MAX} bytes.")


def _too_slow() -> InvalidRequest:
    error = InvalidRequest("The request came too slowly. Send it again.", code="request_timeout")
    error.status = 408
    return error


def _sorry(request: Request, error: Exception) -> LatchgateError:
    if isinstance(error, OperationalError):
        return LedgerUnavailable("The database is not there just now. Try again in a moment.")
    return LatchgateError(
        "Something went wrong here. Try again; if it happens again, tell the operator this "
        f"request's id: {request.state.request_id}"
    )


def _log_unexpected(request: Request, error: Exception) -> None:
    """Write where it happened, but not the exception's own text, which may quote what was typed."""
    log.error(
        "request.failed",
        method=request.method,
        path=request.scope["path"],
        error=type(error).__name__,
        frames=[
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ],
    )
