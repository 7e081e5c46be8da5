"""``GET /metrics``, for whoever has its token; without one in the configuration it is not there."""

from __future__ import annotations

import hmac
from collections import Counter
from http import HTTPStatus
from typing import Protocol

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

METRICS_PATH = "/metrics"
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SCHEME = "bearer"


class Metrics(Protocol):
    """What is counted here, and all that there is to say."""

    @property
    def refusals(self) -> Counter[str]:
        """Refusals by code."""
        ...

    async def text(self) -> bytes:
        """All figures of this moment."""
        ...


def metrics_router(metrics: Metrics, token: str) -> APIRouter:
    """The one route."""
    router = APIRouter()

    @router.api_route(METRICS_PATH, methods=["GET", "HEAD"])
    async def answer(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        is_known = hmac.compare_digest(given.strip().encode(), token.encode())
        if scheme.lower() != _SCHEME or not is_known:
            return PlainTextResponse(
                "Send the token that is set as metrics.token, as a bearer token.\n",
                HTTPStatus.UNAUTHORIZED,
                headers={"www-authenticate": "Bearer"},
            )
        return Response(await metrics.text(), headers={"content-type": _CONTENT_TYPE})

    return router
