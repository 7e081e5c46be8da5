"""What a key is, why to guard it, and how to use it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import api_base_url, page
from latchgate.http.sessions import LoggedIn, services_of

router = APIRouter()


@router.get("/quickstart")
async def show(request: Request, identity: LoggedIn) -> Response:
    """The page to read before the first call."""
    model = await services_of(request).catalog.find_chat_model()
    return page(
        request,
        "quickstart.html",
        identity=identity,
        base_url=api_base_url(request),
        model=model or "MODEL",
    )
