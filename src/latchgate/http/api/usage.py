"""What the account used: a page of calls, their sum, and each call's receipt."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
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
from latchgate.services.usage import UsageTotals, UsageView

router = APIRouter(prefix="/usage", tags=["usage"], dependencies=[session_cookie])


class CallAnswered(Answered):
    """One call."""

    request_id: str
    started_at: datetime
    first_byte_at: datetime | None
    ended_at: datetime
    model: str
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
    usage = services_of(request).usage
    page, cursor = await usage.list_events(identity.account_id, before=before, limit=limit)
    totals = await usage.totals(identity.account_id)
    return UsageAnswered(
        totals=_totals(totals), data=[CallAnswered(**_call(view)) for view in page], next=cursor
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


def _totals(totals: UsageTotals) -> TotalsAnswered:
    return TotalsAnswered(
        calls=totals.calls,
        input_tokens=totals.input_tokens,
        cached_tokens=totals.cached_tokens,
        output_tokens=totals.output_tokens,
        charge_nanos=totals.charge_nanos,
        charge_usd=format_usd(totals.charge_nanos),
    )


def _call(view: UsageView) -> dict[str, Any]:
    return {
        "request_id": view.request_id,
        "started_at": at(view.started_us),
        "first_byte_at": at_or_none(view.first_byte_us),
        "ended_at": at(view.ended_us),
        "model": view.model,
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
