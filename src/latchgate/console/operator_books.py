"""The platform's books and its health: revenue, credit outstanding, audit, condition, settings."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.config.document import shown
from latchgate.config.reading import Reading
from latchgate.console.operators import Operator
from latchgate.console.rendering import page
from latchgate.domain.people import Identity
from latchgate.http.sessions import services_of
from latchgate.services.audit import AuditReport
from latchgate.services.health_checks import kept, live
from latchgate.services.statement_words import KINDS

router = APIRouter()

BOOKS, HEALTH = "/operator/books", "/operator/health"


async def _books_page(
    request: Request, identity: Identity, report: AuditReport | None = None
) -> Response:
    services = services_of(request)
    return page(
        request,
        "operator_books.html",
        identity=identity,
        books=await services.operations.books(),
        kinds=KINDS,
        report=report,
    )


@router.get(BOOKS)
async def show_books(request: Request, identity: Operator) -> Response:
    """The platform's side of the books."""
    return await _books_page(request, identity)


@router.post(f"{BOOKS}/audit")
async def audit(request: Request, identity: Operator) -> Response:
    """Derive every figure again from its rows, in the store's thread, and show what disagrees."""
    return await _books_page(request, identity, await services_of(request).operations.audit())


@router.get(HEALTH)
async def show_health(request: Request, identity: Operator) -> Response:
    """What ``latchgate doctor`` finds of a running server, and how it is set up."""
    services = services_of(request)
    condition = await services.operations.condition()
    checks = [*(live(condition) if "journal_failure" in condition else ()), *kept(condition)]
    settings = shown(Reading(services.settings, {}))
    return page(
        request,
        "operator_health.html",
        identity=identity,
        checks=checks,
        signup=services.settings.signup,
        settings=settings,
    )
