"""What was done with the account: who, when, and from where, a page at a time."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import page, usd
from latchgate.domain.people import ADMIN_KEY
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.audit_log import AuditEventView
from latchgate.services.devices import device_name

router = APIRouter()

EVENTS_SHOWN = 50
CURSOR_CHARS_MAX = 64

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
    "account.plan": "Plan changed",
    "account.rates": "Rate limits changed",
    "account.credit_line": "Credit line changed",
    "limit.set": "Limit changed",
    "alerts.set": "Alerts changed",
    "credit.add": "Credit added",
    "credit.refund": "Refund",
    "credit.correct": "Correction",
    "code.redeem": "Code redeemed",
    "payment.begin": "Payment begun",
    "payment.payment": "Payment credited",
    "payment.payment_refund": "Payment refunded",
    "payment.dispute": "Payment disputed",
    "top_up.begin": "Auto-top-up to be confirmed",
    "top_up.on": "Auto-top-up confirmed",
    "top_up.off": "Auto-top-up switched off",
    "top_up.failed": "Auto-top-up stopped: the card was refused",
    "key.create": "Key created",
    "key.replace": "Key replaced",
    "key.revoke": "Key revoked",
    "key.terms": "Terms of the key changed",
    "key.new_use": "A new app or address used the key, told by mail",
    "key.used_after_revoke": "An ended key was tried, and refused",
    "admin_key.create": "Admin key made",
    "admin_key.revoke": "Admin key revoked",
    "notice.on": "A mail about the key switched on",
    "notice.off": "A mail about the key switched off",
    "session.open": "Logged in",
    "session.close": "Logged out",
    "session.close_all": "Logged out everywhere",
    "session.close_other": "Another device logged out",
    "session.confirm": "Confirmed that it is you",
    "session.confirm_failed": "A wrong password or code, when asked again",
    "session.login_failed": "Login failed",
    "factor.totp_on": "Codes from an app switched on",
    "factor.totp_off": "Codes from an app switched off",
    "factor.codes_renewed": "New recovery codes made",
    "factor.reset": "Second factors reset",
    "passkey.add": "Passkey added",
    "passkey.rename": "Passkey renamed",
    "passkey.remove": "Passkey removed",
    "user.request_email_change": "New e-mail address asked for",
    "user.cancel_email_change": "Change of e-mail address called off",
    "user.change_email": "E-mail address changed",
    "account.download": "Data downloaded",
    "account.close": "Account closed",
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
    about = details.get("name") or amount or details.get("with")
    if event.action == "account.time_zone":
        about = event.target
    return f"{words}: {about}" if about else words


def who_did_it(event: AuditEventView, user_id: str) -> str:
    """An event's actor, as the account's owner would say it."""
    if event.actor == user_id:
        return "You"
    if event.actor.startswith("key_"):
        return "Your key"
    is_operator = event.actor == "cli" or event.actor.startswith(("usr_", f"{ADMIN_KEY}_"))
    return "The operator" if is_operator else "Somebody not logged in"


@router.get("/security/activity")
async def show(request: Request, identity: LoggedIn) -> Response:
    """The page."""
    before = request.query_params.get("before", "")[:CURSOR_CHARS_MAX] or None
    events, next_page = await services_of(request).audit_log.list_page(
        identity.account_id, before=before, limit=EVENTS_SHOWN
    )
    return page(
        request,
        "activity.html",
        identity=identity,
        events=events,
        what_was_done=what_was_done,
        who_did_it=who_did_it,
        device_name=device_name,
        before=before,
        next_page=next_page,
    )
