"""The limits page: what the account allows itself, and what is left of it."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.rendering import page
from latchgate.domain.alerts import AlertTerms
from latchgate.domain.errors import LatchgateError
from latchgate.domain.money import format_usd, parse_usd
from latchgate.domain.people import Identity
from latchgate.http.sessions import LoggedIn, caller_of, services_of
from latchgate.services.confirmations import REQUIRED
from latchgate.services.limits import SETTABLE, Standing
from latchgate.services.worth import most_to_lose_today, worth_for

router = APIRouter()

_SEE_OTHER = 303


async def limits_page(
    request: Request,
    identity: Identity,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
    *,
    typed_alerts: Mapping[str, str] | None = None,
) -> Response:
    """The page; what was typed stays where there was a mistake in it."""
    services = services_of(request)
    standing = await services.limits.standing(identity.account_id)
    models = await services.catalog.list_models()
    top_up = await services.auto_top_ups.find(identity.account_id)
    return page(
        request,
        "limits.html",
        identity=identity,
        status=error.status if error else 200,
        standing=standing,
        settable=SETTABLE,
        premium_models=[model.name for model in models if model.tier == "premium"],
        typed=typed if typed is not None else _written(standing),
        worth=await worth_for(
            identity.account_id, services.usage, services.catalog, services.clock
        ),
        top_up=top_up,
        most_nanos=most_to_lose_today(standing, top_up),
        alerts=await services.alerts.list_shown(identity.account_id),
        alert_terms=typed_alerts
        or _terms_written(await services.alerts.terms(identity.account_id)),
        error=error,
        notice=request.query_params.get("notice", ""),
    )


def _written(standing: Standing) -> dict[str, str]:
    """What the form's fields hold: the limits as they are."""
    fields = {
        f"{view.kind}.{view.period}": format_usd(view.limit_nanos) for view in standing.limits
    }
    return {**fields, "time_zone": standing.time_zone}


def _terms_written(terms: AlertTerms) -> dict[str, str]:
    """What the alerts' fields hold; a box that is not ticked is not there, as in a form."""
    left_nanos = terms.credit_left_nanos
    boxes = {"mails_limits": terms.mails_limits, "mails_credit": terms.mails_credit}
    return {
        "percents": ", ".join(map(str, terms.percents)),
        "credit_left": "" if left_nanos is None else format_usd(left_nanos),
        **{name: "1" for name, is_on in boxes.items() if is_on},
    }


@router.get("/limits")
async def show(request: Request, identity: LoggedIn) -> Response:
    """The page."""
    return await limits_page(request, identity)


@router.post("/limits")
async def save(request: Request, identity: LoggedIn) -> Response:
    """Set what was changed; an empty field takes its limit away, a missing one changes nothing.

    Neither does a mistake.
    """
    form = await read_form(request)
    limits, caller = services_of(request).limits, caller_of(request, identity)
    try:
        standing = await limits.standing(identity.account_id)
        wanted = {
            (kind, period): _amount(form, f"{kind}.{period}")
            for kind, periods in SETTABLE.items()
            for period in periods
            if f"{kind}.{period}" in form
        }
        time_zone = form.get("time_zone", "").strip() or standing.time_zone
        is_looser = any(standing.would_loosen(*which, amount) for which, amount in wanted.items())
        if is_looser or time_zone != standing.time_zone:
            services_of(request).confirmations.require(identity, "sensitive")
        if time_zone != standing.time_zone:
            await limits.set_time_zone(identity.account_id, time_zone, caller)
        for (kind, period), amount_nanos in wanted.items():
            view = standing.find(kind, period)
            if amount_nanos != (view.limit_nanos if view else None):
                await limits.set_limit(identity.account_id, kind, period, amount_nanos, caller)
    except LatchgateError as error:
        if error.code == REQUIRED:
            raise  # asked on a page of its own, and then it goes on here
        return await limits_page(request, identity, form, error)
    return RedirectResponse("/limits?notice=saved", _SEE_OTHER)


@router.post("/limits/premium")
async def switch_premium(request: Request, identity: LoggedIn) -> Response:
    """Switch premium models on or off, for the account or for its key."""
    form = await read_form(request)
    is_on = form.get("is_on") == "1"
    if is_on:
        services_of(request).confirmations.require(identity, "sensitive")
    try:
        await services_of(request).limits.set_premium(
            identity.account_id,
            form.get("what", ""),
            is_on=is_on,
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        return await limits_page(request, identity, error=error)
    return RedirectResponse("/limits?notice=premium", _SEE_OTHER)


def _amount(form: Mapping[str, str], name: str) -> int | None:
    # A comma is not guessed at: 5,00 is five dollars to one reader and five hundred to another.
    text = form[name].strip().removeprefix("$")
    return parse_usd(text, param=name, allow_zero=True) if text else None
