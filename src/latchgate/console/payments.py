"""Paying by Stripe: from the credit page to Stripe's own, and back. Only where it is set up."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.billing import billing_page
from latchgate.console.confirmation import Confirmed
from latchgate.console.forms import read_form
from latchgate.console.rendering import page, usd
from latchgate.domain.auto_top_ups import TopUpTerms
from latchgate.domain.errors import LatchgateError, NotFound
from latchgate.domain.money import parse_usd
from latchgate.domain.people import Identity
from latchgate.http.sessions import LoggedIn, caller_of, services_of
from latchgate.services.bundle import Services

router = APIRouter()

AMOUNT_CHARS_MAX = 32
_SEE_OTHER = 303
#: What the domain calls a field, and what the form does: it has two amounts.
_FORM_NAMES = {"amount": "top_up"}


@router.post("/billing/pay")
async def pay(request: Request, identity: LoggedIn) -> Response:
    """Begin a payment, and lead on to Stripe."""
    services = _services_that_pay(request)
    form = await read_form(request)
    try:
        begun = await services.payments.begin(
            identity, _amount(form, "amount"), caller_of(request, identity)
        )
    except LatchgateError as error:
        typed = form.get("amount", "")[:AMOUNT_CHARS_MAX]
        return await billing_page(request, identity, typed_amount=typed, error=error)
    headline = f"You pay {usd(begun.view.amount_nanos)} at Stripe"
    about = "The credit is yours when Stripe says that it was paid."
    return _lead_on(request, identity, begun.url, headline, about)


@router.post("/billing/auto")
async def confirm_auto(request: Request, identity: Confirmed) -> Response:
    """Write terms, and lead on to where their owner confirms a card."""
    services = _services_that_pay(request)
    form = await read_form(request)
    try:
        terms = TopUpTerms(
            threshold_nanos=_amount(form, "threshold"),
            amount_nanos=_amount(form, "top_up"),
            month_max_nanos=_amount(form, "month_max"),
        )
        url = await services.auto_top_ups.begin(identity, terms, caller_of(request, identity))
    except LatchgateError as error:
        error.param = _FORM_NAMES.get(error.param or "", error.param)
        typed = {name: text[:AMOUNT_CHARS_MAX] for name, text in form.items()}
        return await billing_page(request, identity, typed_terms=typed, error=error)
    headline = "You confirm a card at Stripe"
    about = "Nothing is paid now: it is kept there for what your terms allow."
    return _lead_on(request, identity, url, headline, about)


@router.post("/billing/auto/off")
async def switch_auto_off(request: Request, identity: LoggedIn) -> Response:
    """Pay nothing by itself any more."""
    services = _services_that_pay(request)
    await services.auto_top_ups.switch_off(identity.account_id, caller_of(request, identity))
    return RedirectResponse("/billing", _SEE_OTHER)


def _services_that_pay(request: Request) -> Services:
    services = services_of(request)
    if not services.payments.is_on:
        raise NotFound("There is nothing at this address.")
    return services


def _amount(form: Mapping[str, str], name: str) -> int:
    return parse_usd(form.get(name, "").strip().removeprefix("$"), param=name)


def _lead_on(request: Request, identity: Identity, url: str, headline: str, about: str) -> Response:
    """A page in between: our policy lets no form lead elsewhere, not even by a redirect."""
    response = page(
        request, "payment.html", identity=identity, url=url, headline=headline, about=about
    )
    response.headers["refresh"] = f"0; url={url}"
    return response
