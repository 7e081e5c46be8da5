"""The profile: another e-mail address, a copy of all data, and the end of the account."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from latchgate.console.confirmation import Confirmed
from latchgate.console.forms import read_form
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.sessions import (
    LoggedIn,
    caller_of,
    clear_session_cookie,
    find_identity,
    services_of,
)

router = APIRouter()

TOKEN_CHARS_SHOWN = 200
_SEE_OTHER = 303


# ── the address ─────────────────────────────────────────────────────────────────────────────────
@router.get("/profile")
async def show(request: Request, identity: LoggedIn) -> Response:
    """The page."""
    return await _profile_page(request, identity)


async def _profile_page(
    request: Request,
    identity: Identity,
    typed_email: str = "",
    error: LatchgateError | None = None,
) -> Response:
    services = services_of(request)
    return page(
        request,
        "profile.html",
        identity=identity,
        status=error.status if error else 200,
        change=await services.email_changes.find_open(identity.user_id),
        typed_email=typed_email,
        error=error,
        notice=request.query_params.get("notice", ""),
    )


@router.post("/profile/email")
async def ask_for_email(request: Request, identity: Confirmed) -> Response:
    """Mail a link to the old address and to the new one."""
    email = (await read_form(request)).get("email", "")
    try:
        await services_of(request).email_changes.ask(identity, email, caller_of(request, identity))
    except LatchgateError as error:
        return await _profile_page(request, identity, email, error)
    return RedirectResponse("/profile?notice=asked", _SEE_OTHER)


@router.post("/profile/email/cancel")
async def cancel_email(request: Request, identity: LoggedIn) -> Response:
    """Call the change off."""
    await services_of(request).email_changes.cancel(identity, caller_of(request, identity))
    return RedirectResponse("/profile?notice=cancelled", _SEE_OTHER)


@router.get("/email-change")
async def show_email_link(request: Request) -> Response:
    """Behind a mail's link: a button, as mailboxes open links by themselves."""
    token = request.query_params.get("token", "")[:TOKEN_CHARS_SHOWN]
    return page(request, "email_change.html", token=token, change=None, error=None)


@router.post("/email-change")
async def confirm_email(request: Request) -> Response:
    """One of the two addresses says yes; nobody has to be logged in for that."""
    token = (await read_form(request)).get("token", "")[:TOKEN_CHARS_SHOWN]
    caller = caller_of(request, await find_identity(request))
    try:
        change = await services_of(request).email_changes.confirm(token, caller)
    except LatchgateError as error:
        return page(
            request, "email_change.html", status=error.status, token="", change=None, error=error
        )
    return page(request, "email_change.html", token="", change=change, error=None)


# ── the data ────────────────────────────────────────────────────────────────────────────────────
@router.get("/profile/data")
async def show_data(request: Request, identity: Confirmed) -> Response:
    """What is in the copy."""
    return page(request, "profile_data.html", identity=identity)


@router.post("/profile/data")
async def download(request: Request, identity: Confirmed) -> Response:
    """The copy, as it is read: a file that may be long."""
    parts = await services_of(request).exports.begin(identity, caller_of(request, identity))
    headers = {"content-disposition": 'attachment; filename="latchgate-data.json"'}
    return StreamingResponse(parts, media_type="application/json", headers=headers)


# ── the end ─────────────────────────────────────────────────────────────────────────────────────
@router.get("/profile/close")
async def show_close(request: Request, identity: Confirmed) -> Response:
    """What closing it breaks, before it does."""
    return await _close_page(request, identity)


async def _close_page(
    request: Request,
    identity: Identity,
    typed_email: str = "",
    error: LatchgateError | None = None,
) -> Response:
    services = services_of(request)
    keys = await services.api_keys.list_keys(identity.account_id)
    return page(
        request,
        "profile_close.html",
        identity=identity,
        status=error.status if error else 200,
        keys=[key for key in keys if key.is_usable],
        balances=await services.billing.balances(identity.account_id),
        typed_email=typed_email,
        error=error,
    )


@router.post("/profile/close")
async def close(request: Request, identity: Confirmed) -> Response:
    """Close the account."""
    services, email = services_of(request), (await read_form(request)).get("email", "")
    try:
        await services.closings.close(identity, email, caller_of(request, identity))
    except LatchgateError as error:
        return await _close_page(request, identity, email, error)
    response = RedirectResponse("/login?notice=closed", _SEE_OTHER)
    clear_session_cookie(response, services.settings)
    return response
