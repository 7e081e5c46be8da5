"""The ASGI application: the edge around the management API, the console's pages and its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import JSONResponse, Response

from latchgate import __version__
from latchgate.http.api import management_api
from latchgate.http.edge import HEALTH_PATH, Edge, EdgeRules
from latchgate.http.hosts import allowed_names
from latchgate.http.metrics import Metrics, metrics_router
from latchgate.http.peer import TrustedProxies
from latchgate.http.refusals import API_PREFIX, RenderError, add_handlers, refuser
from latchgate.http.security_headers import STATIC_PREFIX
from latchgate.http.static_files import VersionedFiles
from latchgate.services.bundle import Services


def build_application(
    services: Services,
    *,
    routers: Sequence[APIRouter],
    render_error: RenderError,
    static: Path | None,
    health: Callable[[], bool],
    metrics: Metrics | None = None,
) -> FastAPI:
    """Build the application. Handlers find the use cases in ``request.app.state.services``.

    ``routers`` are the console's, ``render_error`` draws its page for a refusal, ``static`` is the
    folder behind ``/static/``, and ``health`` says whether calls can be answered just now.
    ``metrics`` counts refusals, and is there to be read.
    """
    application = FastAPI(
        title="Latchgate management API",
        version=__version__,
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    application.state.services = services
    refuse = refuser(render_error, Counter() if metrics is None else metrics.refusals)
    add_handlers(application, refuse)
    application.include_router(management_api(takes_payments=services.settings.stripe.is_on))
    application.include_router(_health(health), include_in_schema=False)
    if metrics is not None:
        token = services.settings.metrics.token
        application.include_router(metrics_router(metrics, token), include_in_schema=False)
    for router in routers:
        application.include_router(router, include_in_schema=False)
    if static is not None:
        application.mount(STATIC_PREFIX.rstrip("/"), VersionedFiles(directory=static))
    server = services.settings.server
    rules = EdgeRules(
        clock=services.clock,
        proxies=TrustedProxies(server.trusted_proxies),
        host_names=allowed_names(server),
        refuse=refuse,
    )
    application.add_middleware(Edge, rules=rules)
    return application


def _health(health: Callable[[], bool]) -> APIRouter:
    router = APIRouter()

    @router.api_route(HEALTH_PATH, methods=["GET", "HEAD"])
    async def answer() -> Response:
        if health():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable"}, HTTPStatus.SERVICE_UNAVAILABLE)

    return router
