"""The front door."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.rendering import api_base_url, model_to_try, page
from latchgate.http.sessions import find_identity, services_of

router = APIRouter()


@router.get("/")
async def show(request: Request) -> Response:
    """What this is, and the way in; whoever is logged in goes straight home."""
    if await find_identity(request) is not None:
        return RedirectResponse("/home", 303)
    models = await services_of(request).catalog.list_models()
    gift_nanos = services_of(request).settings.signup.gift_nanos
    return page(
        request,
        "landing.html",
        base_url=api_base_url(request),
        model=model_to_try(models),
        gift_nanos=gift_nanos,
    )
