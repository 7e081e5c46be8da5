"""Alerts on the limits page: choose when to be told, and dismiss what was told."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.limits import limits_page
from latchgate.domain.alerts import AlertTerms, parse_percents
from latchgate.domain.errors import LatchgateError
from latchgate.domain.money import parse_usd
from latchgate.http.sessions import LoggedIn, caller_of, services_of

router = APIRouter()

_SEE_OTHER = 303
#: Where a notice can stand, and its reader stays.
_PLACES = ("/home", "/limits")
_DIGITS_MAX = 18


@router.post("/limits/alerts")
async def save(request: Request, identity: LoggedIn) -> Response:
    """Choose thresholds, and what is mailed."""
    form = await read_form(request)
    text = form.get("credit_left", "").strip().removeprefix("$")
    try:
        terms = AlertTerms(
            parse_percents(form.get("percents", "")),
            parse_usd(text, param="credit_left") if text else None,
            mails_limits="mails_limits" in form,
            mails_credit="mails_credit" in form,
        )
        await services_of(request).alerts.set_terms(
            identity.account_id, terms, caller_of(request, identity)
        )
    except LatchgateError as error:
        return await limits_page(request, identity, typed_alerts=form, error=error)
    return RedirectResponse("/limits?notice=alerts#alerts", _SEE_OTHER)


@router.post("/limits/alerts/dismiss")
async def dismiss(request: Request, identity: LoggedIn) -> Response:
    """Show no more what was on the page; what has come since stays."""
    form = await read_form(request)
    until = form.get("until", "")
    if until.isascii() and until.isdigit() and len(until) <= _DIGITS_MAX:
        await services_of(request).alerts.dismiss(identity.account_id, until_us=int(until))
    place = form.get("place", "")
    return RedirectResponse(place if place in _PLACES else "/home", _SEE_OTHER)
