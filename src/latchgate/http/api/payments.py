"""Payments by Stripe: begun by an owner, and told by a webhook. Only where they are set up."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from latchgate.domain.auto_top_ups import TopUpTerms
from latchgate.domain.money import format_usd, parse_usd
from latchgate.http.api.shapes import (
    PAGE_ROWS_USUAL,
    Answered,
    Asked,
    Before,
    Limit,
    at,
    session_cookie,
)
from latchgate.http.sessions import LoggedIn, RecentlyConfirmed, caller_of, services_of
from latchgate.services.payments import PaymentView

router = APIRouter(tags=["billing"])


class PaymentAsked(Asked):
    """A payment to be made."""

    amount_usd: Annotated[
        str, Field(max_length=32, description="Decimal USD in whole cents.", examples=["20.00"])
    ]


class PaymentAnswered(Answered):
    """A payment; it is `paid` when its credit is posted."""

    id: str
    amount_nanos: int
    amount_usd: str
    state: str
    created_at: datetime


class NewPaymentAnswered(PaymentAnswered):
    """A payment just begun, and where its owner pays."""

    url: str


class PaymentsAnswered(Answered):
    """A page of payments, newest first; `next` is the following page's `before`."""

    data: list[PaymentAnswered]
    next: str | None


class TopUpAsked(Asked):
    """Terms on which credit is paid for by itself."""

    threshold_usd: Annotated[
        str, Field(max_length=32, description="Pay when less is left.", examples=["5.00"])
    ]
    amount_usd: Annotated[str, Field(max_length=32, description="What is paid each time.")]
    month_max_usd: Annotated[str, Field(max_length=32, description="The most in a month.")]


class TopUpAnswered(Answered):
    """The terms: `off`, `confirming`, `on`, or `failed` where the card was refused."""

    state: str
    threshold_nanos: int
    amount_nanos: int
    month_max_nanos: int
    paid_this_month_nanos: int


class TopUpBegun(Answered):
    """Where the owner confirms a card; until then nothing is on."""

    url: str


class WebhookAnswered(Answered):
    """What came of the event."""

    outcome: str


@router.post(
    "/billing/payments",
    operation_id="createPayment",
    status_code=HTTPStatus.CREATED,
    dependencies=[session_cookie],
)
async def create_payment(
    request: Request, identity: LoggedIn, asked: PaymentAsked
) -> NewPaymentAnswered:
    """Begin a payment at Stripe. Its credit is posted when Stripe says that it was paid."""
    begun = await services_of(request).payments.begin(
        identity, parse_usd(asked.amount_usd, param="amount_usd"), caller_of(request, identity)
    )
    return NewPaymentAnswered(**_answered(begun.view).model_dump(), url=begun.url)


@router.get("/billing/payments", operation_id="listPayments", dependencies=[session_cookie])
async def list_payments(
    request: Request, identity: LoggedIn, before: Before = None, limit: Limit = PAGE_ROWS_USUAL
) -> PaymentsAnswered:
    """The account's payments, whatever became of them."""
    found, cursor = await services_of(request).payments.list_payments(
        identity.account_id, before=before, limit=limit
    )
    return PaymentsAnswered(data=[_answered(view) for view in found], next=cursor)


@router.get("/billing/auto-top-up", operation_id="getAutoTopUp", dependencies=[session_cookie])
async def get_auto_top_up(request: Request, identity: LoggedIn) -> TopUpAnswered:
    """The terms on which credit is paid for by itself."""
    found = await services_of(request).auto_top_ups.find(identity.account_id)
    if found is None:
        return TopUpAnswered(
            state="off",
            threshold_nanos=0,
            amount_nanos=0,
            month_max_nanos=0,
            paid_this_month_nanos=0,
        )
    return TopUpAnswered(
        state=found.state,
        threshold_nanos=found.terms.threshold_nanos,
        amount_nanos=found.terms.amount_nanos,
        month_max_nanos=found.terms.month_max_nanos,
        paid_this_month_nanos=found.paid_this_month_nanos,
    )


@router.put("/billing/auto-top-up", operation_id="setAutoTopUp", dependencies=[session_cookie])
async def set_auto_top_up(
    request: Request, identity: RecentlyConfirmed, asked: TopUpAsked
) -> TopUpBegun:
    """Write terms; they hold once their owner has confirmed a card at the address."""
    services = services_of(request)
    terms = TopUpTerms(
        threshold_nanos=parse_usd(asked.threshold_usd, param="threshold_usd"),
        amount_nanos=parse_usd(asked.amount_usd, param="amount_usd"),
        month_max_nanos=parse_usd(asked.month_max_usd, param="month_max_usd"),
    )
    caller = caller_of(request, identity)
    return TopUpBegun(url=await services.auto_top_ups.begin(identity, terms, caller))


@router.delete(
    "/billing/auto-top-up",
    operation_id="switchOffAutoTopUp",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def switch_off(request: Request, identity: LoggedIn) -> None:
    """Pay nothing by itself any more."""
    top_ups = services_of(request).auto_top_ups
    await top_ups.switch_off(identity.account_id, caller_of(request, identity))


@router.post("/stripe/webhook", include_in_schema=False)
async def receive(request: Request) -> WebhookAnswered:
    """What Stripe tells. Each event is done once, however often it is delivered."""
    signature = request.headers.get("stripe-signature", "")
    outcome = await services_of(request).payments.receive(await request.body(), signature)
    return WebhookAnswered(outcome=outcome)


def _answered(view: PaymentView) -> PaymentAnswered:
    return PaymentAnswered(
        id=view.id,
        amount_nanos=view.amount_nanos,
        amount_usd=format_usd(view.amount_nanos),
        state=view.state,
        created_at=at(view.created_us),
    )
