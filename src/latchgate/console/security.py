"""The password, the sessions, and who did what."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.devices import device_name
from latchgate.console.forms import read_form
from latchgate.console.rendering import page, usd
from latchgate.domain.errors import LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.sessions import LoggedIn, caller_of, clear_session_cookie, services_of
from latchgate.services.audit_log import AuditEventView

router = APIRouter()

EVENTS_SHOWN = 20
_SEE_OTHER = 303

#: The audit log's words in people's.
ACTIONS = {
    "account.create": "Account made",
    "account.suspend": "Account suspended",
    "account.resume": "Account resumed",
    "account.premium_on": "Premium models switched on for the account",
    "account.premium_off": "Premium models switched off for the account",
    "key.premium_on": "Premium models switched on for the key",
    "key.premium_off": "Premium models switched off for the key",
    "account.time_zone": "Time zone changed",
    "account.rates": "Rate limits changed",
    "account.credit_line": "Credit line changed",
    "limit.set": "Limit changed",
    "credit.add": "Credit added",
    "key.create": "Key created",
    "key.replace": "Key replaced",
    "key.revoke": "Key revoked",
    "key.used_after_revoke": "An ended key was tried, and refused",
    "session.open": "Logged in",
    "session.close": "Logged out",
    "session.close_all": "Logged out everywhere",
    "session.login_failed": "Login failed",
    "user.change_password": "Password changed",
    "user.request_reset": "New password asked for",
    "user.reset_password": "Password replaced by mail",
    "user.sign_up_again": "Somebody signed up with this address",
}


_LIMITS = {"account_limit": "Account’s limit", "key_limit": "Key’s limit"}
_PERIODS = {
    "none": "in all",
    "day": "for each day",
    "week": "for each week",
    "month": "for each month",
}


def what_was_done(event: AuditEventView) -> str:
    """An event in people's words, with the name or the amount that it is about."""
    details = event.details
    amount_nanos = details.get("amount_nanos")
    amount = usd(amount_nanos) if isinstance(amount_nanos, int) else None
    if event.action == "limit.set":
        kind, _, period = event.target.partition("/")
        change = f"set to {amount}" if amount else "taken away"
        return f"{_LIMITS.get(kind, 'Limit')} {_PERIODS.get(period, '')} {change}"
    words = ACTIONS.get(event.action, event.action)
    about = details.get("name") or amount
    if event.action == "account.time_zone":
        about = event.target
    return f"{words}: {about}" if about else words


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
        await services_of(request).logins.change_password(
            identity,
            form.get("current", ""),
            form.get("password", ""),
            caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _security_page(request, identity, error=error)
    return RedirectResponse("/security?notice=password", _SEE_OTHER)


@router.post("/security/logout-everywhere")
async def log_out_everywhere(request: Request, identity: LoggedIn) -> Response:
    """End every session, this one too."""
    services = services_of(request)
    await services.sessions.close_all(identity, caller_of(request, identity))
    response = RedirectResponse("/login?notice=everywhere", _SEE_OTHER)
    clear_session_cookie(response, services.settings)
    return response


@router.post("/security/logout-others")
async def log_out_others(request: Request, identity: LoggedIn) -> Response:
    """End every session but this one."""
    await services_of(request).sessions.close_all(
        identity, caller_of(request, identity), except_current=True
    )
    return RedirectResponse("/security?notice=others", _SEE_OTHER)
