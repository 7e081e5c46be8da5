"""Upstreams in the operator's hands: how they are, a test call, and keys that are only written."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.embedded import EMBEDDED_SCHEME
from latchgate.domain.endpoints import ENDPOINTS, SPEAKS_DEFAULT
from latchgate.domain.errors import InvalidRequest, LatchgateError, NotFound
from latchgate.domain.people import Identity
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.catalog import UpstreamView
from latchgate.services.upstreams import UpstreamNow

router = APIRouter()

PATH = "/operator/upstreams"
#: Never put into a page again.
_SECRET = "api_key"  # noqa: S105 - a field's name
_DIGITS_MAX = 6
_SEE_OTHER = 303


async def _upstreams_page(
    request: Request,
    identity: Identity,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
    tested: tuple[str, str] | None = None,
) -> Response:
    services = services_of(request)
    fields = {name: text for name, text in (typed or {}).items() if name != _SECRET}
    if typed is None:
        fields = {f"speaks.{endpoint}": "1" for endpoint in SPEAKS_DEFAULT}
    return page(
        request,
        "operator_upstreams.html",
        identity=identity,
        status=error.status if error else 200,
        upstreams=await services.catalog.list_upstreams(),
        states=services.upstreams.now(),
        unseen=UpstreamNow(),
        own_scheme=EMBEDDED_SCHEME,
        endpoints=ENDPOINTS,
        typed=fields,
        error=error,
        tested=tested,
        notice=request.query_params.get("notice", ""),
    )


@router.get(PATH)
async def show(request: Request, identity: Operator) -> Response:
    """The page."""
    return await _upstreams_page(request, identity)


@router.post(PATH)
async def add(request: Request, identity: ConfirmedOperator) -> Response:
    """Take a model server into use."""
    form = await read_form(request)
    try:
        await services_of(request).catalog.add_upstream(
            form.get("name", "").strip(),
            base_url=form.get("base_url", "").strip(),
            api_key=form.get(_SECRET, "").strip() or None,
            speaks=[name for name in ENDPOINTS if form.get(f"speaks.{name}")],
            calls_at_once=_count(form),
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _upstreams_page(request, identity, form, error)
    return RedirectResponse(f"{PATH}?notice=added", _SEE_OTHER)


@router.post(f"{PATH}/test")
async def test(request: Request, identity: Operator) -> Response:
    """Ask an upstream whether it is there and takes our key."""
    name = (await read_form(request)).get("name", "")
    problem = await services_of(request).upstreams.test(name)
    return await _upstreams_page(request, identity, tested=(name, problem))


@router.get(f"{PATH}/change")
async def show_change(request: Request, identity: Operator) -> Response:
    """One upstream: another key, or its end."""
    upstream = await _find(request, request.query_params.get("name", ""))
    return _change_page(request, identity, upstream)


def _change_page(
    request: Request,
    identity: Identity,
    upstream: UpstreamView,
    error: LatchgateError | None = None,
) -> Response:
    status = error.status if error else 200
    template = "operator_upstream.html"
    return page(request, template, identity=identity, status=status, upstream=upstream, error=error)


@router.post(f"{PATH}/key")
async def set_key(request: Request, identity: ConfirmedOperator) -> Response:
    """Call an upstream with another key."""
    form = await read_form(request)
    upstream = await _find(request, form.get("name", ""))
    try:
        await services_of(request).upstreams.set_credential(
            upstream.name, form.get(_SECRET, "").strip(), caller=caller_of(request, identity)
        )
    except LatchgateError as error:
        return _change_page(request, identity, upstream, error)
    return RedirectResponse(f"{PATH}?notice=key", _SEE_OTHER)


@router.post(f"{PATH}/switch")
async def switch(request: Request, identity: ConfirmedOperator) -> Response:
    """Take an upstream's models off the list for a while, or put them back on it."""
    form = await read_form(request)
    is_enabled = form.get("to") == "on"
    await services_of(request).upstreams.set_enabled(
        form.get("name", ""), is_enabled=is_enabled, caller=caller_of(request, identity)
    )
    notice = "enabled" if is_enabled else "disabled"
    return RedirectResponse(f"{PATH}?notice={notice}", _SEE_OTHER)


@router.post(f"{PATH}/remove")
async def remove(request: Request, identity: ConfirmedOperator) -> Response:
    """Stop using an upstream."""
    form = await read_form(request)
    upstream = await _find(request, form.get("name", ""))
    try:
        await services_of(request).catalog.remove_upstream(
            upstream.name, caller=caller_of(request, identity)
        )
    except LatchgateError as error:
        return _change_page(request, identity, upstream, error)
    return RedirectResponse(f"{PATH}?notice=removed", _SEE_OTHER)


async def _find(request: Request, name: str) -> UpstreamView:
    for view in await services_of(request).catalog.list_upstreams():
        if view.name == name and not view.base_url.startswith(EMBEDDED_SCHEME):
            return view
    raise NotFound("There is no such upstream that could be changed.")


def _count(form: Mapping[str, str]) -> int | None:
    written = form.get("calls_at_once", "").strip()
    if not written:
        return None
    if not (written.isascii() and written.isdecimal() and len(written) <= _DIGITS_MAX):
        raise InvalidRequest("A number of calls is written 8.", param="calls_at_once")
    return int(written)
