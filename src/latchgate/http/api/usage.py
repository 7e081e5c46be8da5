"""What the account used: a page of calls, their sum, and each call's receipt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from latchgate.domain.money import format_usd
from latchgate.domain.people import Identity
from latchgate.domain.prices import format_price
from latchgate.domain.usage_spans import NAME_CHARS_MAX, Named, Per, UsageAsked
from latchgate.http.api.shapes import (
    ID_CHARS_MAX,
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
from latchgate.services.usage import UsageView
from latchgate.services.usage_export import Format
from latchgate.services.usage_summary import Split, UsageBar, UsageTotals

_FROM = "The first day, as 2026-11-23, or a quarter hour in UTC, as 2026-11-23T14:15Z."
_TO = "The last day, which is in it; or the quarter hour in UTC before which it ends."

router = APIRouter(prefix="/usage", tags=["usage"], dependencies=[session_cookie])


class CsvAnswer(StreamingResponse):
    """A CSV file, piece by piece."""

    media_type = "text/csv"


class JsonAnswer(StreamingResponse):
    """A JSON file, piece by piece."""

    media_type = "application/json"


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
    """What a set of calls adds up to."""

    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int
    charge_usd: str


class PartAnswered(TotalsAnswered):
    """What of a bar one app, model or key (by id) used; null for apps that are not named."""

    name: str | None


class BarAnswered(TotalsAnswered):
    """What a quarter hour, an hour, a day or a month of the account's time zone adds up to."""

    since: datetime
    until: datetime
    parts: list[PartAnswered]


class AppAnswered(TotalsAnswered):
    """What one app used. The name is what the app says of itself: text, and no proof."""

    app: str
    last_used_at: datetime


class ModelAnswered(TotalsAnswered):
    """What was used of one model, standard or premium, by calls of one service tier."""

    model: str
    tier: str
    service_tier: str


class KeyAnswered(TotalsAnswered):
    """What was used with one key."""

    api_key_id: str
    name: str
    last_used_at: datetime


class SummaryAnswered(Answered):
    """A period's sum, and the same sum by time, by app, by model and by key, the dearest first.

    At most 50 apps are named; what the others used is in `other_apps`.
    """

    since: datetime
    until: datetime
    time_zone: str
    per: str
    totals: TotalsAnswered
    bars: list[BarAnswered]
    by_app: list[AppAnswered]
    other_apps: TotalsAnswered
    by_model: list[ModelAnswered]
    by_key: list[KeyAnswered]


class UsageAnswered(Answered):
    """A page of calls, newest first; ``next`` is the following page's ``before``.

    ``totals`` is the sum of all calls that the filters leave, not of the page.
    """

    totals: TotalsAnswered
    data: list[CallAnswered]
    next: str | None


def _asked(
    period: Annotated[
        Named | None, Query(description="A period of the account's time zone, up to now.")
    ] = None,
    first: Annotated[str, Query(alias="from", max_length=32, description=_FROM)] = "",
    last: Annotated[str, Query(alias="to", max_length=32, description=_TO)] = "",
    model: Annotated[str, Query(max_length=NAME_CHARS_MAX)] = "",
    app: Annotated[str, Query(max_length=NAME_CHARS_MAX)] = "",
    key: Annotated[str, Query(max_length=ID_CHARS_MAX, description="A key's id.")] = "",
) -> UsageAsked:
    return UsageAsked(period or "", first, last, model, app, key)


Asked = Annotated[UsageAsked, Depends(_asked)]


@router.get("", operation_id="listUsage")
async def list_usage(
    request: Request,
    identity: LoggedIn,
    asked: Asked,
    before: Before = None,
    limit: Limit = PAGE_ROWS_USUAL,
) -> UsageAnswered:
    """The account's calls and their sum: all of them, or those of a period, model, app or key."""
    found = await services_of(request).usage.page(
        identity.account_id, before=before, limit=limit, asked=asked
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
    asked: Asked,
    split: Annotated[Split, Query(description="What each bar is parted by.")] = "app",
    per: Annotated[Per | None, Query(description="How long a bar is; else what suits.")] = None,
) -> SummaryAnswered:
    """What the account used in a period (this month unless said), and what used it."""
    found = await services_of(request).usage.summary(
        identity.account_id, asked=replace(asked, usual="month"), split=split, per=per
    )
    return SummaryAnswered(
        since=at(found.where.span.since_us),
        until=at(found.where.span.until_us),
        time_zone=found.time_zone,
        per=found.per,
        totals=TotalsAnswered(**_totals(found.totals)),
        bars=[_bar(bar) for bar in found.bars],
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
        by_key=[
            KeyAnswered(
                api_key_id=row.api_key_id,
                name=row.name,
                last_used_at=at(row.last_used_us),
                **_totals(row.totals),
            )
            for row in found.by_key
        ],
    )


def _bar(bar: UsageBar) -> BarAnswered:
    parts = [PartAnswered(name=name, **_totals(totals)) for name, totals in bar.parts.items()]
    return BarAnswered(
        since=at(bar.span.since_us),
        until=at(bar.span.until_us),
        parts=parts,
        **_totals(bar.totals),
    )


@router.get("/export.csv", operation_id="exportUsageAsCsv", response_class=CsvAnswer)
async def export_csv(request: Request, identity: LoggedIn, asked: Asked) -> Response:
    """The calls that are asked for as a CSV file, newest first."""
    return await _export(request, identity, asked, "csv")


@router.get("/export.json", operation_id="exportUsageAsJson", response_class=JsonAnswer)
async def export_json(request: Request, identity: LoggedIn, asked: Asked) -> Response:
    """The calls that are asked for as a JSON file, newest first."""
    return await _export(request, identity, asked, "json")


async def _export(
    request: Request, identity: Identity, asked: UsageAsked, form: Format
) -> Response:
    """A file that is sent as it is read; its first piece is awaited, for it may be refused."""
    pieces = services_of(request).usage.export(identity.account_id, asked=asked, form=form)
    first = await anext(pieces)

    async def all_pieces() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            yield first
            async for piece in pieces:
                yield piece

    kind = CsvAnswer if form == "csv" else JsonAnswer
    named = {"content-disposition": f'attachment; filename="latchgate-calls.{form}"'}
    return kind(all_pieces(), headers=named)


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
