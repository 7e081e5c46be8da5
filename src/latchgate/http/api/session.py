"""Log in, see who is logged in, log out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from latchgate.domain.errors import LoginFailed
from latchgate.domain.people import Identity
from latchgate.http.api.shapes import Answered, Asked, Email, Password, session_cookie
from latchgate.http.sessions import (
    LoggedIn,
    caller_of,
    clear_session_cookie,
    known_device,
    log_browser_in,
    services_of,
)

router = APIRouter(tags=["session"])


class LoginAsked(Asked):
    """Who logs in."""

    email: Email
    password: Password


class SessionAnswered(Answered):
    """Who is logged in, and for which account he acts."""

    user_id: str
    email: str
    is_operator: bool
    account_id: str
    account_state: str


@router.post("/session", operation_id="logIn")
async def log_in(asked: LoginAsked, request: Request, response: Response) -> SessionAnswered:
    """Log in: the answer sets the session's cookie."""
    services = services_of(request)
    logged_in = await services.logins.log_in(
        asked.email,
        asked.password,
        caller_of(request, None),
        known_device=known_device(request),
    )
    identity = await services.sessions.find_identity(logged_in.session_token)
    if identity is None:  # ended between the two lines, as by a password reset
        raise LoginFailed("You are not logged in, or no longer. Log in.", code="session_expired")
    log_browser_in(response, logged_in, services.settings)
    return _answered(identity)


@router.get("/session", operation_id="getSession", dependencies=[session_cookie])
async def get_session(identity: LoggedIn) -> SessionAnswered:
    """Who is logged in."""
    return _answered(identity)


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
