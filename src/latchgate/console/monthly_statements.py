"""Monthly statements: the list, and each as a page to read or print, as PDF and as CSV."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import page
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.http.statement_files import csv_answer, pdf_answer
from latchgate.services.statement_words import KINDS, model_words

router = APIRouter()

STATEMENTS_PER_PAGE = 24


@router.get("/statements")
async def show_all(request: Request, identity: LoggedIn) -> Response:
    """Every closed month, newest first."""
    services = services_of(request)
    before = request.query_params.get("before")
    statements, next_page = await services.monthly_statements.list_statements(
        identity.account_id, before=before, limit=STATEMENTS_PER_PAGE
    )
    standing = await services.limits.standing(identity.account_id)
    return page(
        request,
        "statements.html",
        identity=identity,
        statements=statements,
        closes_us=await services.monthly_statements.next_close_us(identity.account_id),
        time_zone=standing.time_zone,
        before=before,
        next_page=next_page,
    )


@router.get("/statements/{statement_id}")
async def show(request: Request, statement_id: str, identity: LoggedIn) -> Response:
    """One closed month."""
    full = await services_of(request).monthly_statements.get(identity.account_id, statement_id)
    return page(
        request,
        "statement.html",
        identity=identity,
        full=full,
        statement=full.statement,
        kinds=KINDS,
        model_words=model_words,
    )


@router.get("/statements/{statement_id}/csv")
async def download_csv(request: Request, statement_id: str, identity: LoggedIn) -> Response:
    """The same as CSV."""
    full = await services_of(request).monthly_statements.get(identity.account_id, statement_id)
    return csv_answer(full)


@router.get("/statements/{statement_id}/pdf")
async def download_pdf(request: Request, statement_id: str, identity: LoggedIn) -> Response:
    """The same as PDF."""
    statements = services_of(request).monthly_statements
    full = await statements.get(identity.account_id, statement_id)
    return pdf_answer(full, await statements.draw(full))
