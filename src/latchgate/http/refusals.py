"""From an exception to an answer: one envelope under ``/api``, the console's page elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Match

from latchgate.domain.errors import InvalidRequest, LatchgateError, MethodNotAllowed, NotFound
from latchgate.http.cross_site import SAFE_METHODS
from latchgate.http.security_headers import STATIC_PREFIX

RenderError = Callable[[Request, LatchgateError], Response]

API_PREFIX = "/api"
PARAM_CHARS_MAX = 64
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

log = structlog.get_logger(__name__)


def is_for_api(path: str) -> bool:
    """Whether a path's clients read JSON."""
    return path == API_PREFIX or path.startswith(f"{API_PREFIX}/")


def refuser(render_error: RenderError, refusals: Counter[str]) -> RenderError:
    """Make the function that draws any refusal for the path that it is about, and counts it."""

    def refuse(request: Request, error: LatchgateError) -> Response:
        refusals[error.code] += 1
        if error.internal:
            log.info("request.refused", code=error.code, reason=error.internal)
        if is_for_api(request.scope["path"]):
            return JSONResponse(error.envelope(), error.status, headers=error.headers)
        if error.code == "session_expired":
            return RedirectResponse(_login_url(request), HTTPStatus.SEE_OTHER)
        response = render_error(request, error)
        for name, value in error.headers.items():
            response.headers.setdefault(name, value)
        return response

    return refuse


def _login_url(request: Request) -> str:
    """The login page, which leads back to the page that was asked for, if it is one of ours."""
    path = request.scope["path"]
    is_local = path.startswith("/") and not path.startswith(("//", "/\\"))
    if request.method not in SAFE_METHODS or not is_local:
        return "/login"
    query = request.scope.get("query_string", b"").decode("latin-1")
    return "/login?next=" + quote(f"{path}?{query}" if query else path, safe="/")


def add_handlers(application: FastAPI, refuse: RenderError) -> None:
    """Let the application answer every exception of its routes by ``refuse``."""

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, LatchgateError)  # noqa: S101 - narrows what Starlette declares
        return refuse(request, error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        return refuse(request, invalid_request(error.errors()))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        return refuse(request, _from_http(request, error))

    application.add_exception_handler(LatchgateError, on_refusal)
    application.add_exception_handler(RequestValidationError, on_invalid)
    application.add_exception_handler(HTTPException, on_http)


def invalid_request(errors: Sequence[Any]) -> InvalidRequest:
    """The first of pydantic's findings in our words; ``param`` is the field's name."""
    first: Mapping[str, Any] = errors[0]
    kind = str(first["type"])
    param = _param(first["loc"])
    if kind == "json_invalid":
        return InvalidRequest("The body is not valid JSON.", code="invalid_json")
    if kind == "missing" and param is None:
        return InvalidRequest(
            "This call takes a JSON object as its body.", code="missing_required_parameter"
        )
    if kind == "missing":
        return InvalidRequest(
            f"The field {param} is missing.", code="missing_required_parameter", param=param
        )
    if kind == "extra_forbidden":
        return InvalidRequest(
            f"There is no field {param} here.", code="unknown_parameter", param=param
        )
    if kind == "string_too_long":
        limit = first["ctx"]["max_length"]
        return InvalidRequest(
            f"{param} has at most {limit} characters.",
            code="string_above_max_length",
            param=param,
        )
    if kind.endswith(("_type", "_parsing")):
        return InvalidRequest(
            f"{param or 'The body'} has the wrong type: {first['msg']}.",
            code="invalid_type",
            param=param,
        )
    return InvalidRequest(f"{param or 'The body'}: {first['msg']}.", param=param)


def nothing_here() -> NotFound:
    """What an address that nobody has answers; and one that is not for whoever asks."""
    return NotFound("There is nothing at this address.")


def _param(loc: Sequence[object]) -> str | None:
    """``("body", "name")`` is ``name``; a name that the client made up is bounded."""
    names = [part for part in loc[1:] if isinstance(part, str)]
    text = ".".join(names)[:PARAM_CHARS_MAX]
    return "".join(char if char.isprintable() else "?" for char in text) or None


def _from_http(request: Request, error: HTTPException) -> LatchgateError:
    """Starlette's own refusals: no route, no such method, a form that cannot be read."""
    match error.status_code:
        case 404:
            return nothing_here()
        case 405:
            allowed = _allowed_methods(request)
            return MethodNotAllowed(
                f"This address takes {allowed}.", headers={"allow": allowed} if allowed else None
            )
        case 400 if is_for_api(request.scope["path"]):
            return InvalidRequest("The body is not valid JSON.", code="invalid_json")
        case 413 | 400:
            return InvalidRequest("The body cannot be read. Check how it was encoded.")
    unexpected = LatchgateError("Something went wrong here. Try again.", internal=str(error))
    unexpected.status = error.status_code
    return unexpected


def _allowed_methods(request: Request) -> str:
    """Every method that some route at this path takes (RFC 9110, 15.5.6)."""
    if request.scope["path"].startswith(STATIC_PREFIX):  # a mount says that it takes everything
        return "GET, HEAD"
    taken = [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.router.routes
        )
    ]
    return ", ".join(taken)
