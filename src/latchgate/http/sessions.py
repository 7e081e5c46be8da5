"""A session in a cookie, and what a request's handler may ask about who sent it.

Handlers write the cookie under its plain name; behind TLS the edge sends it as
``__Host-latchgate; Secure``, which no other host and no plain connection can overwrite, and only
that name is read back. The edge has noted the client's address and TLS in the request's state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from latchgate.clock import DAY_US, SECOND_US
from latchgate.config import Settings
from latchgate.domain.errors import Forbidden, LoginFailed
from latchgate.domain.people import Caller, Identity
from latchgate.services.audit_log import USER_AGENT_CHARS_MAX
from latchgate.services.sessions import TOKEN_CHARS_MAX
from latchgate.services.tickets import TICKET_MINUTES

if TYPE_CHECKING:
    from latchgate.services.bundle import Services
    from latchgate.services.confirmations import Confirmed as JustConfirmed
    from latchgate.services.logins import LoggedIn as JustLoggedIn

COOKIE = "latchgate"
DEVICE_COOKIE = "latchgate-device"
#: The ticket of a login whose password was right and whose code is still to come.
STEP_COOKIE = "latchgate-step"
#: What a browser takes only from this very host, and only over TLS (RFC 6265bis, 4.1.3.2).
SECURE_PREFIX = "__Host-"
DEVICE_CHARS_MAX = 256
DEVICE_DAYS = 365
ANONYMOUS = "anonymous"
_DAY_S, _MINUTE_S = DAY_US // SECOND_US, 60


def services_of(request: Request) -> Services:
    """The use cases, as the application was built with."""
    services: Services = request.app.state.services
    return services


def session_token(connection: HTTPConnection) -> str | None:
    """The session's token as the client sent it, or None."""
    return _cookie(connection, COOKIE, TOKEN_CHARS_MAX) or None


def is_behind_tls(connection: HTTPConnection) -> bool:
    """Whether the client's side of the connection is encrypted, as the edge has found."""
    return bool(getattr(connection.state, "is_behind_tls", False))


def client_ip(connection: HTTPConnection) -> str:
    """The client's address, as the edge has found."""
    return str(getattr(connection.state, "client_ip", ""))


def request_id(connection: HTTPConnection) -> str:
    """The id that the answer carries as ``x-request-id``."""
    return str(getattr(connection.state, "request_id", ""))


async def find_identity(request: Request) -> Identity | None:
    """Who sent the request, or None. Asked for once in each request."""
    if hasattr(request.state, "identity"):
        found: Identity | None = request.state.identity
        return found
    token = session_token(request)
    identity = None
    if token:
        sessions = services_of(request).sessions
        identity = await sessions.find_identity(token, client_ip(request))
    request.state.identity = identity
    return identity


async def require_identity(request: Request) -> Identity:
    """Who sent the request. Raises LoginFailed ``session_expired`` when nobody is logged in."""
    identity = await find_identity(request)
    if identity is None:
        raise LoginFailed("You are not logged in, or no longer. Log in.", code="session_expired")
    return identity


async def require_operator(request: Request) -> Identity:
    """Who sent the request, who must be an operator. Raises LoginFailed or Forbidden."""
    identity = await require_identity(request)
    if not identity.is_operator:
        raise Forbidden("Only an operator may do this.")
    return identity


async def require_confirmed(request: Request) -> Identity:
    """Who sent the request, who has shown a short time ago that it is he.

    Raises LoginFailed, or Forbidden ``reauthentication_required``.
    """
    identity = await require_identity(request)
    services_of(request).confirmations.require(identity, "sensitive")
    return identity


async def confirm(
    request: Request, response: Response, identity: Identity, password: str, code: str
) -> None:
    """Take what shows that it is he, and give the browser its session's new token.

    Raises what ``Confirmations.confirm`` raises.
    """
    services = services_of(request)
    caller = caller_of(request, identity)
    confirmed = await services.confirmations.confirm(identity, password, code, caller)
    renew_cookie(response, confirmed, services.settings)


def caller_of(request: Request, identity: Identity | None) -> Caller:
    """Who asks for a change, for the audit log and the throttles."""
    return Caller(
        actor=identity.user_id if identity else ANONYMOUS,
        ip=client_ip(request),
        user_agent=request.headers.get("user-agent", "")[:USER_AGENT_CHARS_MAX],
    )


def clear_session_cookie(response: Response, _settings: Settings) -> None:
    """Take the session's cookie out of the browser."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")


def known_device(connection: HTTPConnection) -> str:
    """What the browser kept from an earlier login; empty when there is nothing of ours.

    It opens nothing: its owner's tries to log in are counted apart from a stranger's.
    """
    return _cookie(connection, DEVICE_COOKIE, DEVICE_CHARS_MAX)


def _cookie(connection: HTTPConnection, name: str, chars_max: int) -> str:
    """One of our cookies; behind TLS a plain one, which any connection can set, is not believed."""
    sent_name = SECURE_PREFIX + name if is_behind_tls(connection) else name
    value = connection.cookies.get(sent_name, "")
    return value if len(value) <= chars_max else ""


def log_browser_in(response: Response, logged_in: JustLoggedIn, settings: Settings) -> None:
    """Give the browser its session, for as long as one lasts at the most, and its device's mark."""
    lasts_s = settings.sessions.absolute_days * _DAY_S
    _set_cookie(response, COOKIE, logged_in.session_token, lasts_s)
    _set_cookie(response, DEVICE_COOKIE, logged_in.known_device, DEVICE_DAYS * _DAY_S)


def renew_cookie(response: Response, confirmed: JustConfirmed, settings: Settings) -> None:
    """Give the browser its session's new token."""
    lasts_s = settings.sessions.absolute_days * _DAY_S
    _set_cookie(response, COOKIE, confirmed.session_token, lasts_s)


def login_ticket(connection: HTTPConnection) -> str:
    """What the browser keeps between its password and its code; empty when there is nothing."""
    return _cookie(connection, STEP_COOKIE, TOKEN_CHARS_MAX)


def keep_login_ticket(response: Response, ticket: str) -> None:
    """Let the browser give a code next."""
    _set_cookie(response, STEP_COOKIE, ticket, TICKET_MINUTES * _MINUTE_S)


def drop_login_ticket(response: Response) -> None:
    """The code was given, or will not be."""
    response.delete_cookie(STEP_COOKIE, path="/", httponly=True, samesite="lax")


def _set_cookie(response: Response, name: str, value: str, max_age_s: int) -> None:
    response.set_cookie(name, value, max_age=max_age_s, path="/", httponly=True, samesite="lax")


#: What handlers write in their signatures.
LoggedIn = Annotated[Identity, Depends(require_identity)]
#: … for what a login alone does not open once it is some time ago.
RecentlyConfirmed = Annotated[Identity, Depends(require_confirmed)]
OperatorLoggedIn = Annotated[Identity, Depends(require_operator)]
