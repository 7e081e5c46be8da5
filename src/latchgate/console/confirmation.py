"""«Confirm it is you»: a page between what was asked for and its being done.

Whatever is refused with ``reauthentication_required`` becomes this page, which carries the fields
that were typed. When the confirmation is good the browser is sent on with all of them (307 keeps
method and body), so that nobody has to begin again; it works without JavaScript.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import local_path, read_form
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.cross_site import SAFE_METHODS
from latchgate.http.sessions import LoggedIn, confirm, require_confirmed

router = APIRouter()

#: The page's own fields; all others are carried.
OWN = "confirm_"


def confirm_page(
    request: Request,
    *,
    goes_to: str = "",
    method: str = "",
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    """The page, over what the request wanted to do."""
    if typed is None:
        typed = getattr(request.state, "form", {})
    query = request.url.query
    return page(
        request,
        "confirm.html",
        identity=request.state.identity,
        status=error.status if error else HTTPStatus.FORBIDDEN,
        goes_to=goes_to or request.url.path + (f"?{query}" if query else ""),
        method=method or ("get" if request.method in SAFE_METHODS else "post"),
        carried={name: text for name, text in typed.items() if not name.startswith(OWN)},
        comes_from=_comes_from(request),
        error=error,
    )


def _comes_from(request: Request) -> str:
    """The page of ours that he was on, for whoever thinks better of it."""
    path = urlsplit(request.headers.get("referer", "")).path
    return local_path(path, otherwise="/home")


@router.post("/confirm")
async def take(request: Request, identity: LoggedIn) -> Response:
    """Take what shows that it is he, and send him on with what he had typed."""
    form = await read_form(request)
    goes_to = local_path(form.get("confirm_to", ""), otherwise="/home")
    if goes_to.startswith("/confirm"):
        goes_to = "/home"
    method = "get" if form.get("confirm_method") == "get" else "post"
    status = HTTPStatus.SEE_OTHER if method == "get" else HTTPStatus.TEMPORARY_REDIRECT
    response = RedirectResponse(goes_to, status)
    try:
        password, code = form.get("confirm_password", ""), form.get("confirm_code", "")
        await confirm(request, response, identity, password, code)
    except LatchgateError as error:
        error.param = f"{OWN}{error.param}" if error.param else None
        return confirm_page(request, goes_to=goes_to, method=method, typed=form, error=error)
    return response


async def _require_confirmed(request: Request) -> Identity:
    """As ``require_confirmed``, after the form was read, so that it is not lost."""
    if request.method not in SAFE_METHODS and await request.body():
        await read_form(request)
    return await require_confirmed(request)


#: What pages write in their signatures for what a login alone does not open after some time.
Confirmed = Annotated[Identity, Depends(_require_confirmed)]
