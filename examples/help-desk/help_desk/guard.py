"""What protects the desk: headers, whose pages may send and embed, and the business's password."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from help_desk.troubles import Refusal
from help_desk.visitors import Counter

BODY_BYTES_MAX = 16 * 1024
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors {}"
)


class Guard:
    """Sets the security headers, and refuses what another site's page sends.

    The chat is the one page that other sites may show in a frame, and only those in the settings.
    """

    def __init__(self, app: ASGIApp, sites: tuple[str, ...]) -> None:
        self._app = app
        self._ancestors = " ".join(["'self'", *sites])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ancestors = self._ancestors if scope["path"] == "/chat" else "'none'"

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = _POLICY.format(ancestors)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cache-control"] = "no-cache"
            await send(message)

        site = Headers(scope=scope).get("sec-fetch-site", "same-origin")
        if scope["method"] not in {"GET", "HEAD"} and site != "same-origin":
            refused = {"code": "cross_site", "message": "Use the chat itself."}
            await JSONResponse(refused, 403)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


class Door:
    """The business's own pages, behind HTTP's Basic password; wrong tries are counted."""

    def __init__(self, password: str, wrong_tries: Counter) -> None:
        self._password = password.encode()
        self._wrong_tries = wrong_tries

    def refuse(self, request: Request) -> Response | None:
        """None for whoever knows the password (the name doesn't matter), else what he gets."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        headers = {"www-authenticate": 'Basic realm="Help desk", charset="UTF-8"'}
        if scheme.lower() != "basic":
            return PlainTextResponse("This page is for the business.\n", 401, headers)
        try:
            password = base64.b64decode(given).partition(b":")[2]
        except binascii.Error:
            password = b""
        if hmac.compare_digest(password, self._password):
            return None
        wait_s = self._wrong_tries.count(address_of(request))
        if wait_s:
            return PlainTextResponse(
                f"Too many wrong tries. Wait {wait_s} s.\n", 429, {"retry-after": str(wait_s)}
            )
        return PlainTextResponse("That is not the password.\n", 401, headers)


def address_of(request: Request) -> str:
    """Where the request comes from."""
    return request.client.host if request.client else ""


async def fields_of(request: Request) -> dict[str, Any]:
    """The body's JSON object; raises a `Refusal` for anything else."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Refusal("too_long", "That is too much text at once.", 413)
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise Refusal("invalid", "That is not JSON.", 400) from error
    if not isinstance(fields, dict):
        raise Refusal("invalid", "That is not an object.", 400)
    return fields


def text_of(fields: dict[str, Any], name: str, chars_max: int) -> str:
    """A field's text without the white space around it; raises a `Refusal` that names it."""
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise Refusal("invalid", "That is not text.", 400, name)
    if len(value) > chars_max:
        raise Refusal("too_long", f"At most {chars_max} characters, please.", 400, name)
    return value.strip()
