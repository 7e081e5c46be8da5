"""Alerts: what the owner was told of his limits and credit, and what he wants to be told."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from latchgate.domain.alerts import OWN_AMOUNT, PERCENT_MIN, THRESHOLDS_MAX, AlertTerms
from latchgate.domain.money import format_usd, parse_usd
from latchgate.domain.people import Identity
from latchgate.http.api.shapes import Answered, Asked, at, session_cookie
from latchgate.http.sessions import LoggedIn, caller_of, services_of
from latchgate.services.alerts import AlertView

router = APIRouter(prefix="/alerts", tags=["limits"], dependencies=[session_cookie])


class AlertTermsAsked(Asked):
    """What the account wants to be told of, and what of it by mail."""

    percents: Annotated[
        list[Annotated[int, Field(ge=PERCENT_MIN, le=100, strict=True)]],
        Field(max_length=THRESHOLDS_MAX, description="Shares that are spent, from small to large."),
    ]
    credit_left_usd: Annotated[
        str | None,
        Field(
            max_length=32,
            description="Told when less credit is left; null: by shares of what was last added.",
        ),
    ]
    mails_limits: bool
    mails_credit: bool


class AlertAnswered(Answered):
    """One threshold that was passed, with the figures of that moment."""

    id: str
    what: str
    period: str
    percent: int | None
    limit_nanos: int
    left_nanos: int
    left_usd: str
    created_at: datetime
    sentence: str


class AlertsAnswered(Answered):
    """What is shown until it is dismissed or its window turns over, and the account's terms."""

    percents: list[int]
    credit_left_usd: str | None
    mails_limits: bool
    mails_credit: bool
    data: list[AlertAnswered]


@router.get("", operation_id="getAlerts")
async def get_alerts(request: Request, identity: LoggedIn) -> AlertsAnswered:
    """What was passed and not dismissed, the newest of each limit."""
    return await _answer(request, identity)


@router.put("", operation_id="setAlerts")
async def set_alerts(
    request: Request, identity: LoggedIn, asked: AlertTermsAsked
) -> AlertsAnswered:
    """Choose thresholds and mails. Thresholds that change count from what is spent by now."""
    credit_left_nanos = None
    if asked.credit_left_usd is not None:
        credit_left_nanos = parse_usd(asked.credit_left_usd, param="credit_left_usd")
    terms = AlertTerms(
        tuple(asked.percents), credit_left_nanos, asked.mails_limits, asked.mails_credit
    )
    await services_of(request).alerts.set_terms(
        identity.account_id, terms, caller_of(request, identity)
    )
    return await _answer(request, identity)


@router.delete("", operation_id="dismissAlerts")
async def dismiss_alerts(request: Request, identity: LoggedIn) -> AlertsAnswered:
    """Show what there is no more."""
    await services_of(request).alerts.dismiss(identity.account_id)
    return await _answer(request, identity)


async def _answer(request: Request, identity: Identity) -> AlertsAnswered:
    alerts = services_of(request).alerts
    shown, terms = (
        await alerts.list_shown(identity.account_id),
        await alerts.terms(identity.account_id),
    )
    left_nanos = terms.credit_left_nanos
    return AlertsAnswered(
        percents=list(terms.percents),
        credit_left_usd=None if left_nanos is None else format_usd(left_nanos),
        mails_limits=terms.mails_limits,
        mails_credit=terms.mails_credit,
        data=[_alert(view) for view in shown],
    )


def _alert(view: AlertView) -> AlertAnswered:
    return AlertAnswered(
        id=view.id,
        what=view.kind.removesuffix("_limit"),
        period=view.period,
        percent=None if view.threshold == OWN_AMOUNT else view.threshold,
        limit_nanos=view.limit_nanos,
        left_nanos=view.left_nanos,
        left_usd=format_usd(view.left_nanos),
        created_at=at(view.created_us),
        sentence=view.sentence,
    )
