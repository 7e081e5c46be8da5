"""The credit page: four figures, and every posting that they come from."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import page
from latchgate.http.sessions import LoggedIn, services_of

router = APIRouter()

POSTINGS_PER_PAGE = 50


@router.get("/billing")
async def show(request: Request, identity: LoggedIn) -> Response:
    """Credit, spent, held, available; and the postings, newest first."""
    services = services_of(request)
    before = request.query_params.get("before")
    postings, next_page = await services.billing.list_postings(
        identity.account_id, before=before, limit=POSTINGS_PER_PAGE
    )
    return page(
        request,
        "billing.html",
        identity=identity,
        balances=await services.billing.balances(identity.account_id),
        standing=await services.limits.standing(identity.account_id),
        postings=postings,
        before=before,
        next_page=next_page,
    )
