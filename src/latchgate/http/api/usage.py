"""What the account used: a page of calls, their sum, and each call's receipt."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from latchgate.domain.money import format_usd
from latchgate.domain.prices import format_price
from latchgate.http.api.shapes import (
    PAGE_ROWS_USUAL,
    Answered,
    Before,
    Limit,
    PathID,
    at,
    at_or_none,
    session_cookie,
)
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.usage import PERIOD_DAYS_MAX, UsageTotals, UsageView

router = APIRouter(prefix="/usage", tags=["usage"], dependencies=[session_cookie])


class CallAnswered(Answered):
    """One call."""

    request_id: str
    started_at: datetime
    first_byte_at: datetime | None
    ended_at: datetime
    model: str
    tier: str
    service_tier: str
    app: str
    api_key_id: str
    key_name: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int
    charge_usd: str
    outcome: str
    counted_by: str
    is_stream: bool
    http_status: int
    ip: str


class ReceiptAnswered(CallAnswered):
    """One call with the prices it was charged at, in US dollars per million tokens."""

    price_version: int
    input_price_usd: str
    cached_price_usd: str
    output_price_usd: str


class TotalsAnswered(Answered):
    """The sum of all of the account's calls."""

    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int
    charge_usd: str


class DayAnswered(TotalsAnswered):
    """What one day (UTC) adds up to."""

    day: date


class AppAnswered(TotalsAnswered):
    """What one app used. The name is what the app says of itself: text, and no proof."""

    app: str
    last_used_at: datetime


class ModelAnswered(TotalsAnswered):
    """What was used of one model, standard or premium, by calls of one service tier."""

    model: str
    tier: str
    service_tier: str


class SummaryAnswered(Answered):
    """A period's sum, and the same sum by day, by app and by model, the dearest first.

    At most 50 apps are named; what the others used is in `other_apps`.
    """

    since: datetime
    totals: TotalsAnswered
    by_day: list[DayAnswered]
    by_app: list[AppAnswered]
    other_apps: TotalsAnswered
    by_model: list[ModelAnswered]


class UsageAnswered(Answered):
    """A page of calls, newest first; ``next`` is the following page's ``before``."""

    totals: TotalsAnswered
    data: list[CallAnswered]
    next: str | None


@router.get("", operation_id="listUsage")
async def list_usage(
    request: Request,
    identity: LoggedIn,
    before: Before = None,
    limit: Limit = PAGE_ROWS_USUAL,
) -> UsageAnswered:
    """The account's calls and their sum."""
    found = await services_of(request).usage.overview(
        identity.account_id, before=before, limit=limit, days=1
    )
    return UsageAnswered(
        totals=TotalsAnswered(**_totals(found.totals)),
        data=[CallAnswered(**_call(view)) for view in found.calls],
        next=found.following,
    )


@router.get("/summary", operation_id="getUsageSummary")
async def get_summary(
    request: Request,
    identity: LoggedIn,
    days: Annotated[
        int, Query(ge=1, le=PERIOD_DAYS_MAX, description="Days (UTC) up to now, with today.")
    ] = 30,
) -> SummaryAnswered:
    """What the account used in the last days, and which app and model used it."""
    found = await services_of(request).usage.summary(identity.account_id, days=days)
    return SummaryAnswered(
        since=at(found.since_us),
        totals=TotalsAnswered(**_totals(found.totals)),
        by_day=[
            DayAnswered(day=date.fromisoformat(day), **_totals(totals))
            for day, totals in found.by_day
        ],
        by_app=[
            AppAnswered(app=row.app, last_used_at=at(row.last_used_us), **_totals(row.totals))
            for row in found.by_app
        ],
        other_apps=TotalsAnswered(**_totals(found.by_other_apps)),
        by_model=[
            ModelAnswered(
                model=row.model,
                tier=row.tier,
                service_tier=row.service_tier,
                **_totals(row.totals),
            )
            for row in found.by_model
        ],
    )


@router.get("/{call_id}", operation_id="getCall")
async def get_call(request: Request, identity: LoggedIn, call_id: PathID) -> ReceiptAnswered:
    """One call's receipt, by the id that its answer had as `x-request-id`."""
    receipt = await services_of(request).usage.get(identity.account_id, call_id)
    return ReceiptAnswered(
        **_call(receipt.usage),
        price_version=receipt.price_version,
        input_price_usd=format_price(receipt.input_picos),
        cached_price_usd=format_price(receipt.cached_picos),
        output_price_usd=format_price(receipt.output_picos),
    )


def _totals(totals: UsageTotals) -> dict[str, Any]:
    return {**asdict(totals), "charge_usd": format_usd(totals.charge_nanos)}


def _call(view: UsageView) -> dict[str, Any]:
    return {
        "request_id": view.request_id,
        "started_at": at(view.started_us),
        "first_byte_at": at_or_none(view.first_byte_us),
        "ended_at": at(view.ended_us),
        "model": view.model,
        "tier": view.tier,
        "service_tier": view.service_tier,
        "app": view.app,
        "api_key_id": view.api_key_id,
        "key_name": view.key_name,
        "input_tokens": view.input_tokens,
        "cached_tokens": view.cached_tokens,
        "output_tokens": view.output_tokens,
        "charge_nanos": view.charge_nanos,
        "charge_usd": format_usd(view.charge_nanos),
        "outcome": view.outcome,
        "counted_by": view.counted_by,
        "is_stream": view.is_stream,
        "http_status": view.http_status,
        "ip": view.ip,
    }
