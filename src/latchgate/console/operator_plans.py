"""Plans in the operator's hands: made, changed, and given to accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.operator_accounts import PATH as ACCOUNTS_PATH
from latchgate.console.operator_accounts import (
    RATES,
    configured_rates,
    find_open_account,
    read_rate,
)
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.domain.money import format_usd, parse_usd
from latchgate.domain.people import Identity
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.plans import PlanTerms, PlanView

router = APIRouter()

PATH = "/operator/plans"
FIELDS = ("name", "gift", *RATES, "credit_line")
_SEE_OTHER = 303


@router.get(PATH)
async def show(request: Request, identity: Operator) -> Response:
    """Every plan, and a form for another one."""
    return await _plans_page(request, identity)


async def _plans_page(
    request: Request,
    identity: Identity,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    services = services_of(request)
    return page(
        request,
        "operator_plans.html",
        identity=identity,
        status=error.status if error else 200,
        plans=await services.plans.list_plans(),
        typed={"has_premium": "1", "credit_line": "0"} if typed is None else typed,
        fields=FIELDS,
        rates=RATES,
        configured=configured_rates(services.settings),
        gift_nanos=services.settings.signup.gift_nanos,
        error=error,
        notice=request.query_params.get("notice", ""),
    )


@router.post(PATH)
async def create(request: Request, identity: ConfirmedOperator) -> Response:
    """Make a plan."""
    form = await read_form(request)
    try:
        await services_of(request).plans.create(
            form.get("name", "").strip(), _terms(form), caller_of(request, identity)
        )
    except LatchgateError as error:
        return await _plans_page(request, identity, form, error)
    return RedirectResponse(f"{PATH}?notice=created", _SEE_OTHER)


@router.get(f"{PATH}/change")
async def show_change(request: Request, identity: Operator) -> Response:
    """One plan."""
    plan = await services_of(request).plans.get(request.query_params.get("name", ""))
    return _change_page(request, identity, plan, _written(plan.terms))


def _change_page(
    request: Request,
    identity: Identity,
    plan: PlanView,
    typed: Mapping[str, str],
    error: LatchgateError | None = None,
) -> Response:
    settings = services_of(request).settings
    return page(
        request,
        "operator_plan.html",
        identity=identity,
        status=error.status if error else 200,
        plan=plan,
        typed=typed,
        fields=FIELDS,
        rates=RATES,
        configured=configured_rates(settings),
        gift_nanos=settings.signup.gift_nanos,
        error=error,
    )


@router.post(f"{PATH}/change")
async def change(request: Request, identity: ConfirmedOperator) -> Response:
    """Give a plan other terms."""
    form = await read_form(request)
    plans = services_of(request).plans
    plan = await plans.get(form.get("name", ""))
    try:
        terms = _terms(form)
        if plan.is_default:
            terms = replace(terms, gift_nanos=None)
        await plans.change(plan.name, terms, caller_of(request, identity))
    except LatchgateError as error:
        return _change_page(request, identity, plan, form, error)
    return RedirectResponse(f"{PATH}?notice=changed", _SEE_OTHER)


@router.post(ACCOUNTS_PATH + "/{account_id}/plan")
async def assign(request: Request, account_id: str, identity: ConfirmedOperator) -> Response:
    """Give an account a plan."""
    form = await read_form(request)
    await find_open_account(request, account_id)
    await services_of(request).plans.assign(
        account_id, form.get("plan", ""), caller_of(request, identity)
    )
    return RedirectResponse(f"{ACCOUNTS_PATH}/{account_id}?notice=plan", _SEE_OTHER)


def _terms(form: Mapping[str, str]) -> PlanTerms:
    gift = form.get("gift", "").strip().removeprefix("$")
    line = form.get("credit_line", "").strip().removeprefix("$")
    return PlanTerms(
        gift_nanos=parse_usd(gift, param="gift", allow_zero=True) if gift else None,
        requests_per_minute=read_rate(form, "requests_per_minute"),
        tokens_per_minute=read_rate(form, "tokens_per_minute"),
        calls_at_once=read_rate(form, "calls_at_once"),
        has_premium=form.get("has_premium") == "1",
        credit_line_nanos=parse_usd(line or "0", param="credit_line", allow_zero=True),
    )


def _written(terms: PlanTerms) -> dict[str, str]:
    """What the form holds: everything as it is."""
    rates = {name: getattr(terms, name) for name in RATES}
    return {
        **{name: "" if rate is None else str(rate) for name, rate in rates.items()},
        "gift": "" if terms.gift_nanos is None else format_usd(terms.gift_nanos),
        "credit_line": format_usd(terms.credit_line_nanos),
        "has_premium": "1" if terms.has_premium else "",
    }
