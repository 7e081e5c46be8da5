"""Log in, see who is logged in, log out."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from latchgate.domain.errors import LoginFailed
from latchgate.domain.people import Identity
from latchgate.http.api.shapes import (
    Answered,
    Asked,
    Code,
    Email,
    Password,
    PathID,
    at,
    session_cookie,
)
from latchgate.http.sessions import (
    LoggedIn,
    RecentlyConfirmed,
    caller_of,
    clear_session_cookie,
    confirm,
    known_device,
    log_browser_in,
    services_of,
)
from latchgate.services.logins import CodeAsked
from latchgate.services.logins import LoggedIn as JustLoggedIn

router = APIRouter(tags=["session"])


class LoginAsked(Asked):
    """Who logs in."""

    email: Email
    password: Password
    code: Annotated[
        Code, Field(description="Where the login asks for one: of the app, or a recovery code.")
    ] = ""


class ConfirmationAsked(Asked):
    """What shows that whoever is logged in is still he."""

    password: Password
    code: Annotated[Code, Field(description="As for logging in.")] = ""


class OpenSession(Answered):
    """One login of the user, on one device."""

    id: str
    is_current: bool
    address: str
    user_agent: str
    created_at: datetime
    last_seen_at: datetime


class OpenSessions(Answered):
    """The latest used first; at most 100."""

    data: list[OpenSession]


class SessionAnswered(Answered):
    """Who is logged in, and for which account he acts."""

    user_id: str
    email: str
    is_operator: bool
    account_id: str
    account_state: str


@router.post("/session", operation_id="logIn")
async def log_in(asked: LoginAsked, request: Request, response: Response) -> SessionAnswered:
    """Log in: the answer sets the session's cookie.

    Where there is a second factor this is 401 `mfa_code_required`, unless `code` is given.
    """
    services = services_of(request)
    caller, device = caller_of(request, None), known_device(request)
    logged_in = await services.logins.log_in(
        asked.email, asked.password, caller, known_device=device
    )
    if isinstance(logged_in, CodeAsked):
        if not asked.code:
            raise LoginFailed(
                "This login asks for a code too: of the app, or a recovery code.",
                code="mfa_code_required",
                param="code",
            )
        logged_in = await services.logins.give_code(
            logged_in.ticket, asked.code, caller, known_device=device
        )
    return await session_answer(request, response, logged_in)


async def session_answer(
    request: Request, response: Response, logged_in: JustLoggedIn
) -> SessionAnswered:
    """The answer to whoever has just logged in, with his cookies."""
    services = services_of(request)
    identity = await services.sessions.find_identity(logged_in.session_token)
    if identity is None:  # ended between the two lines, as by a password reset
        raise LoginFailed("You are not logged in, or no longer. Log in.", code="session_expired")
    log_browser_in(response, logged_in, services.settings)
    return _answered(identity)


@router.get("/session", operation_id="getSession", dependencies=[session_cookie])
async def get_session(identity: LoggedIn) -> SessionAnswered:
    """Who is logged in."""
    return _answered(identity)


@router.put(
    "/session/confirmation",
    operation_id="confirmSession",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def confirm_session(
    asked: ConfirmationAsked, request: Request, response: Response, identity: LoggedIn
) -> None:
    """Show that it is still you, for what answers 403 `reauthentication_required`.

    The answer sets the session's cookie anew; the old value opens nothing any more.
    """
    await confirm(request, response, identity, asked.password, asked.code)


@router.get("/sessions", operation_id="listSessions", dependencies=[session_cookie])
async def list_sessions(request: Request, identity: LoggedIn) -> OpenSessions:
    """Where the user is logged in."""
    found = await services_of(request).sessions.list_open(identity)
    return OpenSessions(
        data=[
            OpenSession(
                id=view.id,
                is_current=view.is_current,
                address=view.ip,
                user_agent=view.user_agent,
                created_at=at(view.created_us),
                last_seen_at=at(view.seen_us),
            )
            for view in found
        ]
    )


@router.delete(
    "/sessions/{session_id}",
    operation_id="logOutDevice",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def log_out_device(request: Request, identity: RecentlyConfirmed, session_id: PathID) -> None:
    """End one of the user's sessions."""
    await services_of(request).sessions.close_other(
        identity, session_id, caller_of(request, identity)
    )


@router.delete(
    "/session",
    operation_id="logOut",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def log_out(request: Request, response: Response, identity: LoggedIn) -> None:
    """Log out: the session ends, here and for whoever has copied its cookie."""
    services = services_of(request)
    await services.sessions.close(identity, caller_of(request, identity))
    clear_session_cookie(response, services.settings)


@router.delete(
    "/sessions",
    operation_id="logOutEverywhere",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def log_out_everywhere(
    request: Request,
    response: Response,
    identity: LoggedIn,
    *,
    except_current: Annotated[bool, Query(description="Stay logged in here.")] = False,
) -> None:
    """End all of the user's sessions."""
    services = services_of(request)
    if except_current:
        services.confirmations.require(identity, "sensitive")
    await services.sessions.close_all(
        identity, caller_of(request, identity), except_current=except_current
    )
    if not except_current:
        clear_session_cookie(response, services.settings)


def _answered(identity: Identity) -> SessionAnswered:
    return SessionAnswered(
        user_id=identity.user_id,
        email=identity.email,
        is_operator=identity.is_operator,
        account_id=identity.account_id,
        account_state=identity.account_state,
    )
