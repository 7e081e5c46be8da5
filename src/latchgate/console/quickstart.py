"""What a key is, why to guard it, and how to use it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import api_base_url, model_to_try, page
from latchgate.http.sessions import LoggedIn, services_of

router = APIRouter()


@router.get("/quickstart")
async def show(request: Request, identity: LoggedIn) -> Response:
    """The page to read before the first call."""
    models = await services_of(request).catalog.list_models()
    return page(
        request,
        "quickstart.html",
        identity=identity,
        base_url=api_base_url(request),
        model=model_to_try(models),
    )
