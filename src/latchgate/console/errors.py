"""Any refusal as a page, in the console's own look."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.confirmation import confirm_page
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.http.sessions import request_id
from latchgate.services.confirmations import REQUIRED

_TITLES = {
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.FORBIDDEN: "This is not allowed",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many tries",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong on our side",
}


def render_error(request: Request, error: LatchgateError) -> Response:
    """The page for a refusal, with the refusal's status."""
    if error.code == REQUIRED:
        return confirm_page(request)
    return page(
        request,
        "error.html",
        status=error.status,
        title=_TITLES.get(HTTPStatus(error.status), "This did not work"),
        message=error.public,
        request_id=request_id(request),
    )
