"""What models cost."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import page
from latchgate.http.sessions import LoggedIn, services_of

router = APIRouter()


@router.get("/prices")
async def show(request: Request, identity: LoggedIn) -> Response:
    """Every model on offer with its price of now, and what will change."""
    services = services_of(request)
    models = await services.catalog.list_models()
    standing = await services.limits.standing(identity.account_id)
    return page(
        request,
        "prices.html",
        identity=identity,
        models=models,
        coming=await services.prices.list_coming(),
        premium=standing.premium,
    )
