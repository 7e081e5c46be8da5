"""Sign up, change the password, and find a way back in without it."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.http.api.shapes import (
    PAGE_ROWS_USUAL,
    Answered,
    Asked,
    Before,
    Email,
    Limit,
    Password,
    Token,
    at,
    session_cookie,
)
from latchgate.http.sessions import LoggedIn, caller_of, log_browser_in, services_of

router = APIRouter(tags=["account"])


class SignupAsked(Asked):
    """Who wants an account."""

    email: Email
    password: Password
    invitation: Token | None = None


class SignupAnswered(Answered):
    """The same for a new e-mail and a used one: only its owner learns by mail which it was."""

    email: str


class PasswordAsked(Asked):
    """The password as it is and as it shall be."""

    current: Password
    new: Password


class ResetAsked(Asked):
    """Whose password is forgotten."""

    email: Email


class ResetAnswered(Answered):
    """The same whether there is such a user or not."""

    message: str


class RedeemAsked(Asked):
    """The token out of the mail, and the new password."""

    token: Token
    password: Password


class EventAnswered(Answered):
    """Something that was done with the account, or by whom it was tried."""

    id: str
    at: datetime
    actor: str
    action: str
    target: str
    address: str
    user_agent: str
    details: dict[str, Any]


class EventsAnswered(Answered):
    """Newest first."""

    data: list[EventAnswered]
    next: str | None


@router.get("/audit-events", operation_id="listAuditEvents", dependencies=[session_cookie])
async def list_audit_events(
    request: Request,
    identity: LoggedIn,
    before: Before = None,
    limit: Limit = PAGE_ROWS_USUAL,
) -> EventsAnswered:
    """What was done with the account; `next` is the following page's `before`."""
    events, following = await services_of(request).audit_log.list_page(
        identity.account_id, before=before, limit=limit
    )
    return EventsAnswered(
        data=[
            EventAnswered(
                id=event.id,
                at=at(event.at_us),
                actor=event.actor,
                action=event.action,
                target=event.target,
                address=event.ip,
                user_agent=event.user_agent,
                details=event.details,
            )
            for event in events
        ],
        next=following,
    )


@router.post("/signup", operation_id="signUp")
async def sign_up(asked: SignupAsked, request: Request, response: Response) -> SignupAnswered:
    """Make an account, and log in to it: the answer sets the session's cookie."""
    services = services_of(request)
    signed_up = await services.accounts.sign_up(
        asked.email,
        asked.password,
        invitation=asked.invitation,
        caller=caller_of(request, None),
    )
    log_browser_in(response, signed_up, services.settings)
    return SignupAnswered(email=signed_up.email)


@router.put(
    "/password",
    operation_id="changePassword",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def change_password(asked: PasswordAsked, request: Request, identity: LoggedIn) -> None:
    """Change the password; all other sessions end."""
    await services_of(request).password_changes.change(
        identity, asked.current, asked.new, caller_of(request, identity)
    )


@router.post("/password-resets", operation_id="requestReset", status_code=HTTPStatus.ACCEPTED)
async def request_reset(asked: ResetAsked, request: Request) -> ResetAnswered:
    """Have a link mailed by which a new password can be set."""
    await services_of(request).password_changes.request_reset(asked.email, caller_of(request, None))
    return ResetAnswered(message="If there is an account with this e-mail, a mail is on its way.")


@router.post(
    "/password-resets/redeem", operation_id="redeemReset", status_code=HTTPStatus.NO_CONTENT
)
async def redeem_reset(asked: RedeemAsked, request: Request) -> None:
    """Set a new password by the mail's token; all sessions end."""
    await services_of(request).password_changes.reset(
        asked.token, asked.password, caller_of(request, None)
    )
