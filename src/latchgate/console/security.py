"""The security page: the password, second factors, sessions, and what was done last."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.activity import what_was_done, who_did_it
from latchgate.console.confirmation import Confirmed
from latchgate.console.forms import read_form
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.sessions import LoggedIn, caller_of, clear_session_cookie, services_of
from latchgate.services.devices import device_name

router = APIRouter()

EVENTS_SHOWN = 8
_SEE_OTHER = 303


async def _security_page(
    request: Request,
    identity: Identity,
    *,
    error: LatchgateError | None = None,
    notice: str = "",
) -> Response:
    services = services_of(request)
    return page(
        request,
        "security.html",
        identity=identity,
        status=error.status if error else 200,
        sessions=await services.sessions.list_open(identity),
        events=await services.audit_log.list_recent(identity.account_id, EVENTS_SHOWN),
        what_was_done=what_was_done,
        who_did_it=who_did_it,
        passkeys=await services.passkeys.list_passkeys(identity.user_id),
        factor=await services.second_factors.state(identity.user_id),
        notices=await services.key_notices.switches(identity.account_id),
        device_name=device_name,
        error=error,
        notice=notice,
    )


@router.get("/security")
async def show(request: Request, identity: LoggedIn) -> Response:
    """The page."""
    notice = request.query_params.get("notice", "")
    return await _security_page(request, identity, notice=notice)


@router.post("/security/password")
async def change_password(request: Request, identity: LoggedIn) -> Response:
    """Change the password; all other devices are logged out."""
    form = await read_form(request)
    try:
        await services_of(request).password_changes.change(
            identity,
            form.get("current", ""),
            form.get("password", ""),
            caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _security_page(request, identity, error=error)
    return RedirectResponse("/security?notice=password", _SEE_OTHER)


@router.post("/security/notices")
async def switch_notice(request: Request, identity: LoggedIn) -> Response:
    """Switch a mail about the key on or off; off asks first who he is."""
    form = await read_form(request)
    is_on = form.get("is_on") == "1"
    services = services_of(request)
    if not is_on:
        services.confirmations.require(identity, "sensitive")
    await services.key_notices.switch(
        identity.account_id,
        form.get("what", ""),
        is_on=is_on,
        caller=caller_of(request, identity),
    )
    return RedirectResponse("/security?notice=mails", _SEE_OTHER)


@router.post("/security/logout-everywhere")
async def log_out_everywhere(request: Request, identity: LoggedIn) -> Response:
    """End every session, this one too."""
    services = services_of(request)
    await services.sessions.close_all(identity, caller_of(request, identity))
    response = RedirectResponse("/login?notice=everywhere", _SEE_OTHER)
    clear_session_cookie(response, services.settings)
    return response


@router.post("/security/sessions/{session_id}/end")
async def log_out_one(request: Request, session_id: str, identity: Confirmed) -> Response:
    """End the session of one other device."""
    await services_of(request).sessions.close_other(
        identity, session_id, caller_of(request, identity)
    )
    return RedirectResponse("/security?notice=other", _SEE_OTHER)


@router.post("/security/logout-others")
async def log_out_others(request: Request, identity: Confirmed) -> Response:
    """End every session but this one."""
    await services_of(request).sessions.close_all(
        identity, caller_of(request, identity), except_current=True
    )
    return RedirectResponse("/security?notice=others", _SEE_OTHER)
