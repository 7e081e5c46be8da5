"""Monthly statements: closed months, each with its lines, and as PDF and CSV."""

from __future__ import annotations

from datetime import date, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.domain.money import format_usd
from latchgate.domain.monthly_statements import FullStatement, Statement
from latchgate.http.api.shapes import (
    PAGE_ROWS_USUAL,
    Answered,
    Before,
    Limit,
    PathID,
    at,
    session_cookie,
)
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.http.statement_files import csv_answer, pdf_answer

router = APIRouter(prefix="/billing/statements", tags=["billing"], dependencies=[session_cookie])


class StatementAnswered(Answered):
    """A closed month. It never changes."""

    id: str
    number: str
    holder: str
    time_zone: str
    starts_at: datetime
    ends_at: datetime
    closed_at: datetime
    opening_nanos: int
    opening_usd: str
    closing_nanos: int
    closing_usd: str


class StatementsAnswered(Answered):
    """A page of statements, newest first; `next` is the following page's `before`."""

    data: list[StatementAnswered]
    next: str | None


class CreditLineAnswered(Answered):
    """A posting that gave credit, or below zero took it."""

    posting: str
    kind: str
    day: date
    note: str
    amount_nanos: int
    amount_usd: str


class UsageLineAnswered(Answered):
    """What was charged on one day for one model, in one service tier."""

    day: date
    model: str
    service_tier: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int
    charge_usd: str


class FullStatementAnswered(StatementAnswered):
    """Opening balance, and credits, less usage, make the closing balance."""

    credit_nanos: int
    usage_nanos: int
    credits: list[CreditLineAnswered]
    usage: list[UsageLineAnswered]


@router.get("", operation_id="listStatements")
async def list_statements(
    request: Request,
    identity: LoggedIn,
    before: Before = None,
    limit: Limit = PAGE_ROWS_USUAL,
) -> StatementsAnswered:
    """The account's closed months."""
    found, cursor = await services_of(request).monthly_statements.list_statements(
        identity.account_id, before=before, limit=limit
    )
    return StatementsAnswered(data=[_head(statement) for statement in found], next=cursor)


@router.get("/{statement_id}", operation_id="getStatement")
async def get_statement(
    request: Request, statement_id: PathID, identity: LoggedIn
) -> FullStatementAnswered:
    """One closed month with its lines."""
    return _full(await _find(request, statement_id, identity))


@router.get(
    "/{statement_id}/csv",
    operation_id="getStatementCSV",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "The lines as CSV."}},
)
async def get_csv(request: Request, statement_id: PathID, identity: LoggedIn) -> Response:
    """The same lines as CSV, between the two balances."""
    return csv_answer(await _find(request, statement_id, identity))


@router.get(
    "/{statement_id}/pdf",
    operation_id="getStatementPDF",
    response_class=Response,
    responses={200: {"content": {"application/pdf": {}}, "description": "To print."}},
)
async def get_pdf(request: Request, statement_id: PathID, identity: LoggedIn) -> Response:
    """The same as PDF; the same bytes each time."""
    full = await _find(request, statement_id, identity)
    return pdf_answer(full, await services_of(request).monthly_statements.draw(full))


async def _find(request: Request, statement_id: str, identity: LoggedIn) -> FullStatement:
    return await services_of(request).monthly_statements.get(identity.account_id, statement_id)


def _head(statement: Statement) -> StatementAnswered:
    return StatementAnswered(
        id=statement.id,
        number=statement.label,
        holder=statement.holder,
        time_zone=statement.time_zone,
        starts_at=at(statement.starts_us),
        ends_at=at(statement.ends_us),
        closed_at=at(statement.closed_us),
        opening_nanos=statement.opening_nanos,
        opening_usd=format_usd(statement.opening_nanos),
        closing_nanos=statement.closing_nanos,
        closing_usd=format_usd(statement.closing_nanos),
    )


def _full(full: FullStatement) -> FullStatementAnswered:
    credit_lines = [
        CreditLineAnswered(
            posting=line.posting_id,
            kind=line.kind,
            day=line.day,
            note=line.note,
            amount_nanos=line.amount_nanos,
            amount_usd=format_usd(line.amount_nanos),
        )
        for line in full.credits
    ]
    usage = [
        UsageLineAnswered(
            day=line.day,
            model=line.model,
            service_tier=line.service_tier,
            calls=line.used.calls,
            input_tokens=line.used.input_tokens,
            cached_tokens=line.used.cached_tokens,
            output_tokens=line.used.output_tokens,
            charge_nanos=line.used.charge_nanos,
            charge_usd=format_usd(line.used.charge_nanos),
        )
        for line in full.usage
    ]
    return FullStatementAnswered(
        **_head(full.statement).model_dump(),
        credit_nanos=full.credit_nanos,
        usage_nanos=full.used.charge_nanos,
        credits=credit_lines,
        usage=usage,
    )
