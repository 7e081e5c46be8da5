"""Admin keys, for operators' programs: made and seen once, listed with their last use, revoked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.activity import CURSOR_CHARS_MAX
from latchgate.console.forms import read_form
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.admin_keys import WORDS
from latchgate.domain.errors import LatchgateError, NotFound
from latchgate.domain.people import Identity
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.admin_keys import REVOKED, NewAdminKey

router = APIRouter()

PATH = "/operator/api"
KEYS_PER_PAGE = 50
_SEE_OTHER = 303


async def _keys_page(
    request: Request,
    identity: Identity,
    *,
    made: NewAdminKey | None = None,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    services = services_of(request)
    before = request.query_params.get("before", "")[:CURSOR_CHARS_MAX] or None
    keys, next_page = await services.admin_keys.list_page(before=before, limit=KEYS_PER_PAGE)
    base_url = services.settings.server.public_url or str(request.base_url)
    return page(
        request,
        "admin_keys.html",
        identity=identity,
        status=error.status if error else 200,
        keys=keys,
        scopes=WORDS,
        made=made,
        api_url=base_url.rstrip("/") + "/api/admin",
        typed=typed or {"scope.read": "1"},
        nonce=secrets.token_urlsafe(16),
        error=error,
        before=before,
        next_page=next_page,
        notice=request.query_params.get("notice", ""),
    )


@router.get(PATH)
async def show(request: Request, identity: Operator) -> Response:
    """All operators' keys, and the form for another."""
    return await _keys_page(request, identity)


@router.post(PATH)
async def create(request: Request, identity: ConfirmedOperator) -> Response:
    """Make a key that acts for this operator, and show it: the one answer in which it exists."""
    form = await read_form(request)
    try:
        made = await services_of(request).admin_keys.create(
            identity.email,
            form.get("name", ""),
            scopes=[scope for scope in WORDS if form.get(f"scope.{scope}")],
            expires_at=form.get("expires_at", ""),
            nonce=form.get("nonce", ""),
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _keys_page(request, identity, typed=form, error=error)
    return await _keys_page(request, identity, made=made)


@router.get(PATH + "/{key_id}/revoke")
async def show_revoke(request: Request, key_id: str, identity: Operator) -> Response:
    """Ask before a key is revoked."""
    key = await services_of(request).admin_keys.get(key_id)
    if key.state == REVOKED:
        raise NotFound("There is no such admin key.")
    return page(request, "admin_key_revoke.html", identity=identity, key=key)


@router.post(PATH + "/{key_id}/revoke")
async def revoke(request: Request, key_id: str, identity: Operator) -> Response:
    """End a key. It lowers a risk, so a login is enough."""
    await services_of(request).admin_keys.revoke(key_id, caller_of(request, identity))
    return RedirectResponse(f"{PATH}?notice=revoked", _SEE_OTHER)
