"""The application with a console of a few pages, over services that are not asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from latchgate.clock import SystemClock
from latchgate.config import Settings
from latchgate.config.settings import ServerSettings
from latchgate.domain.errors import LatchgateError, LoginFailed, RateLimited
from latchgate.http.application import build_application
from latchgate.http.sessions import (
    caller_of,
    clear_session_cookie,
    log_browser_in,
    session_token,
)
from latchgate.services.logins import LoggedIn

TOKEN = "t" * 43
DEVICE = "usr_x.signed"


@dataclass
class FewServices:
    """As much of the bundle as the edge asks for."""

    settings: Settings
    clock: SystemClock


def pages() -> APIRouter:
    """A console of three pages."""
    router = APIRouter()

    @router.api_route("/page", methods=["GET", "POST"])
    async def page(request: Request) -> Response:
        caller = caller_of(request, None)
        body = await request.body()
        seen = {"ip": caller.ip, "token": session_token(request), "body_bytes": len(body)}
        return Response(json.dumps(seen), headers={"cache-control": "public, max-age=60"})

    @router.get("/reset")
    async def reset() -> Response:
        return PlainTextResponse("reset")

    @router.get("/cookies")
    async def cookies(request: Request) -> Response:
        response = PlainTextResponse("cookies")
        settings = request.app.state.services.settings
        if request.query_params.get("clear"):
            clear_session_cookie(response, settings)
        else:
            log_browser_in(response, LoggedIn(TOKEN, "a@example.com", DEVICE), settings)
        return response

    @router.get("/private")
    async def private() -> Response:
        raise LoginFailed("Log in.", code="session_expired")

    @router.get("/busy")
    async def busy() -> Response:
        raise RateLimited("Too many.", retry_after_s=7, code="too_many_attempts")

    @router.get("/bug")
    async def bug() -> Response:
        raise ZeroDivisionError("hunter2 was typed")

    return router


def page_of(_request: Request, error: LatchgateError) -> Response:
    """Stands for the console's page of an error."""
    return PlainTextResponse(f"PAGE {error.code}: {error.public}", error.status)


def application(
    server: ServerSettings | None = None,
    *,
    static: Path | None = None,
    health: Callable[[], bool] = lambda: True,
) -> FastAPI:
    """The application over services that are not asked for."""
    settings = Settings(data_dir=Path("unused"), server=server or ServerSettings())
    few: Any = FewServices(settings, SystemClock())
    return build_application(
        few, routers=[pages()], render_error=page_of, static=static, health=health
    )


@asynccontextmanager
async def client_of(
    app: FastAPI, *, url: str = "http://localhost:8000", peer: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose connection comes from ``peer``."""
    transport = httpx.ASGITransport(app, client=(peer, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        yield client
