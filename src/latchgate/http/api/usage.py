"""What the account used: a page of calls, their sum, and each call's receipt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from latchgate.domain.people import Identity
from latchgate.domain.prices import format_price
from latchgate.domain.usage_spans import NAME_CHARS_MAX, Named, Per, UsageAsked
from latchgate.http.api.shapes import (
    ID_CHARS_MAX,
    PAGE_ROWS_USUAL,
    Before,
    Limit,
    PathID,
    at,
    session_cookie,
)
from latchgate.http.api.usage_shapes import (
    AppAnswered,
    CallAnswered,
    ExportAnswered,
    KeyAnswered,
    ModelAnswered,
    ReceiptAnswered,
    SummaryAnswered,
    TotalsAnswered,
    UsageAnswered,
    answer_bar,
    answer_call,
    answer_totals,
)
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.usage_export import Format
from latchgate.services.usage_summary import Split

_MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv", "json": "application/json"}
_FROM = "The first day, as 2026-11-23, or a quarter hour in UTC, as 2026-11-23T14:15Z."
_TO = "The last day, which is in it; or the quarter hour in UTC before which it ends."

router = APIRouter(prefix="/usage", tags=["usage"], dependencies=[session_cookie])


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
        totals=TotalsAnswered(**answer_totals(found.totals)),
        data=[CallAnswered(**answer_call(view)) for view in found.calls],
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
        totals=TotalsAnswered(**answer_totals(found.totals)),
        bars=[answer_bar(bar) for bar in found.bars],
        by_app=[
            AppAnswered(app=row.app, last_used_at=at(row.last_used_us), **answer_totals(row.totals))
            for row in found.by_app
        ],
        other_apps=TotalsAnswered(**answer_totals(found.by_other_apps)),
        by_model=[
            ModelAnswered(
                model=row.model,
                tier=row.tier,
                service_tier=row.service_tier,
                **answer_totals(row.totals),
            )
            for row in found.by_model
        ],
        by_key=[
            KeyAnswered(
                api_key_id=row.api_key_id,
                name=row.name,
                last_used_at=at(row.last_used_us),
                **answer_totals(row.totals),
            )
            for row in found.by_key
        ],
    )


# A refusal of it is JSON, so the file's type is said of the file alone.
@router.get(
    "/export.csv",
    operation_id="exportUsageAsCsv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def export_csv(request: Request, identity: LoggedIn, asked: Asked) -> Response:
    """The calls that are asked for as a CSV file, newest first."""
    return await _export(request, identity, asked, "csv")


@router.get(
    "/export.json",
    operation_id="exportUsageAsJson",
    response_class=Response,
    responses={200: {"model": ExportAnswered}},
)
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

    named = {"content-disposition": f'attachment; filename="latchgate-calls.{form}"'}
    return StreamingResponse(all_pieces(), headers=named, media_type=_MEDIA_TYPES[form])


@router.get("/{call_id}", operation_id="getCall")
async def get_call(request: Request, identity: LoggedIn, call_id: PathID) -> ReceiptAnswered:
    """One call's receipt, by the id that its answer had as `x-request-id`."""
    receipt = await services_of(request).usage.get(identity.account_id, call_id)
    return ReceiptAnswered(
        **answer_call(receipt.usage),
        price_version=receipt.price_version,
        input_price_usd=format_price(receipt.input_picos),
        cached_price_usd=format_price(receipt.cached_picos),
        output_price_usd=format_price(receipt.output_picos),
    )
