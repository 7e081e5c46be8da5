"""The desk's few routes, and what protects them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from letter_desk.drafting import (
    ABOUT_CHARS_MAX,
    CHANGE_CHARS_MAX,
    DRAFT_CHARS_MAX,
    LENGTHS,
    TONES,
    Secretary,
    Wish,
    open_sdk,
)
from letter_desk.sealing import KEPT_FOR_S, Sealer
from letter_desk.troubles import Trouble

HERE = Path(__file__).parent
COOKIE = "letter_desk_key"
BODY_BYTES_MAX = 64 * 1024
_KEY_SHAPE = re.compile(r"[!-~]{20,200}")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Guard:
    """Sets the security headers, and refuses what another site's page sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        # Browsers say where a request comes from; a page's script can't change what they say.
        site = Headers(scope=scope).get("sec-fetch-site", "same-origin")
        if scope["method"] not in {"GET", "HEAD"} and site != "same-origin":
            refused = Trouble("cross_site", "Use the desk's own page.", status=403)
            await JSONResponse(refused.as_json(), 403)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


async def _json_of(request: Request) -> Any:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Trouble("too_long", "That is too much text at once.", status=413)
    try:
        return json.loads(body)
    except ValueError as error:
        raise Trouble("invalid", "That is not JSON.", status=400) from error


class Desk:
    """The handlers, with what they share."""

    def __init__(self, api: str, model: str, sealer: Sealer) -> None:
        self._api = api
        self._model = model
        self._sealer = sealer
        self._sdk = open_sdk(api)
        self._templates = Jinja2Templates(HERE / "templates")

    def _key(self, request: Request) -> str | None:
        return self._sealer.open(request.cookies.get(COOKIE, ""))

    def _secretary(self, request: Request) -> Secretary:
        key = self._key(request)
        if key is None:
            raise Trouble("no_key", "Paste your Latchgate key first.", field="key", status=401)
        return Secretary(self._sdk, self._api, self._model, key)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Close the SDK's connections when the desk stops."""
        async with self._sdk:
            yield

    async def show(self, request: Request) -> Response:
        """The desk."""
        key = self._key(request)
        return self._templates.TemplateResponse(
            request,
            "desk.html",
            {
                "masked": f"{key[:10]}…{key[-4:]}" if key else "",
                "console": self._api.removesuffix("/v1"),
                "tones": list(TONES),
                "lengths": list(LENGTHS),
                "about_chars_max": ABOUT_CHARS_MAX,
                "draft_chars_max": DRAFT_CHARS_MAX,
                "change_chars_max": CHANGE_CHARS_MAX,
            },
        )

    async def keep_key(self, request: Request) -> Response:
        """Try a pasted key; if Latchgate takes it, seal it into this browser's cookie."""
        data = await _json_of(request)
        typed = data.get("key") if isinstance(data, dict) else None
        key = typed.strip().strip("\"'") if isinstance(typed, str) else ""
        if not _KEY_SHAPE.fullmatch(key):
            raise Trouble(
                "not_a_key", "A key looks like sk-lg-… and has no spaces.", field="key", status=400
            )
        balance = await Secretary(self._sdk, self._api, self._model, key).balance()
        response = JSONResponse({"masked": f"{key[:10]}…{key[-4:]}", **balance})
        response.set_cookie(
            COOKIE,
            self._sealer.seal(key),
            max_age=KEPT_FOR_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def forget_key(self, _: Request) -> Response:
        """Take the key out of this browser; it was nowhere else."""
        response = JSONResponse({})
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def show_balance(self, request: Request) -> Response:
        """What the key may still spend."""
        return JSONResponse(await self._secretary(request).balance())

    async def draft(self, request: Request) -> Response:
        """A letter, as lines of JSON while it is being written."""
        secretary = self._secretary(request)
        events = await secretary.begin(Wish.from_json(await _json_of(request)))

        async def lines() -> AsyncIterator[str]:
            async for event in events:
                yield json.dumps(event) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")


async def _send_trouble(_: Request, error: Exception) -> Response:
    assert isinstance(error, Trouble)  # noqa: S101 — what it is registered for
    return JSONResponse(error.as_json(), error.status)


def make_app(api: str, model: str, sealer: Sealer) -> Starlette:
    """The application, for Latchgate at ``api``."""
    desk = Desk(api, model, sealer)
    return Starlette(
        routes=[
            Route("/", desk.show),
            Route("/key", desk.show_balance, methods=["GET"]),
            Route("/key", desk.keep_key, methods=["POST"]),
            Route("/key", desk.forget_key, methods=["DELETE"]),
            Route("/draft", desk.draft, methods=["POST"]),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        lifespan=desk.lifespan,
        middleware=[Middleware(Guard)],
        exception_handlers={Trouble: _send_trouble},
    )
