"""The key page: create one, see it once, replace it, revoke it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.api_key import TERMS, asked_terms, breaking
from latchgate.console.forms import read_form
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError, NotFound
from latchgate.domain.key_terms import OPEN
from latchgate.domain.people import Identity
from latchgate.http.sessions import LoggedIn, caller_of, client_ip, services_of
from latchgate.services.api_keys import NewKey
from latchgate.services.key_states import KeyView
from latchgate.services.key_terms import written

router = APIRouter()

#: What the create form asks for; what is wrong with one of them is said beside it.
FORM_FIELDS = ("name", *TERMS)
_SEE_OTHER = 303


async def _keys_page(
    request: Request,
    identity: Identity,
    *,
    new_key: NewKey | None = None,
    error: LatchgateError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    services = services_of(request)
    keys = await services.api_keys.list_keys(identity.account_id)
    usable = [key for key in keys if key.is_usable]
    standing = await services.limits.standing(identity.account_id)
    return page(
        request,
        "api_keys.html",
        identity=identity,
        status=error.status if error else 200,
        usable=usable,
        breaking={key.id: await breaking(request, key, identity.account_id) for key in usable},
        ended=[key for key in keys if not key.is_usable],
        pending=_find(keys, "pending"),
        standing=standing,
        nonce=secrets.token_urlsafe(16),
        new_key=new_key,
        error=error,
        **await _form(request, keys, typed),
    )


async def _form(
    request: Request, keys: list[KeyView], typed: Mapping[str, str] | None
) -> dict[str, object]:
    """What the create form is drawn with: the terms of the key that the new one replaces."""
    live = _find(keys, "live")
    terms = replace(live.terms, expires_us=None) if live else OPEN
    return {
        "live": live,
        "typed": typed or {"name": "", **written(terms)},
        "offered": [model.name for model in await services_of(request).catalog.list_models()],
        "here": client_ip(request),
    }


def _find(keys: list[KeyView], state: str) -> KeyView | None:
    return next((key for key in keys if key.state == state), None)


@router.get("/api-keys")
async def show(request: Request, identity: LoggedIn) -> Response:
    """The account's keys."""
    return await _keys_page(request, identity)


@router.get("/api-keys/new")
async def show_new(request: Request, identity: LoggedIn) -> Response:
    """The create form as a page of its own, for browsers without JavaScript."""
    return await _create_page(request, identity)


async def _create_page(
    request: Request,
    identity: Identity,
    *,
    error: LatchgateError | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    keys = await services_of(request).api_keys.list_keys(identity.account_id)
    live = _find(keys, "live")
    return page(
        request,
        "api_key_new.html",
        identity=identity,
        status=error.status if error else 200,
        nonce=secrets.token_urlsafe(16),
        breaking=[] if live is None else await breaking(request, live, identity.account_id),
        error=error,
        **await _form(request, keys, typed),
    )


@router.post("/api-keys")
async def create(request: Request, identity: LoggedIn) -> Response:
    """Make a key and show it: the one answer in which it exists."""
    form = await read_form(request)
    typed = {name: form.get(name, "") for name in FORM_FIELDS}
    services = services_of(request)
    services.confirmations.require(identity, "key")
    try:
        new_key = await services.api_keys.create(
            identity.account_id,
            typed["name"],
            caller=caller_of(request, identity),
            replace=form.get("replace") == "1",
            nonce=form.get("nonce", ""),
            terms=services.key_terms.first(asked_terms(form)),
        )
    except LatchgateError as error:
        if error.param in FORM_FIELDS:
            return await _create_page(request, identity, error=error, typed=typed)
        return await _keys_page(request, identity, error=error, typed=typed)
    return await _keys_page(request, identity, new_key=new_key)


@router.post("/api-keys/{key_id}/done")
async def done(request: Request, key_id: str, identity: LoggedIn) -> Response:
    """He has copied it: the one that it replaces ends now."""
    await services_of(request).api_keys.confirm(
        identity.account_id, key_id, caller_of(request, identity)
    )
    return RedirectResponse("/api-keys", _SEE_OTHER)


@router.get("/api-keys/{key_id}/revoke")
async def show_revoke(request: Request, key_id: str, identity: LoggedIn) -> Response:
    """Ask before revoking, for browsers without JavaScript."""
    key = await services_of(request).api_keys.get(identity.account_id, key_id)
    if not key.is_usable:
        raise NotFound("There is no such key.")
    apps = await breaking(request, key, identity.account_id)
    return page(request, "api_key_revoke.html", identity=identity, key=key, breaking=apps)


@router.post("/api-keys/{key_id}/revoke")
async def revoke(request: Request, key_id: str, identity: LoggedIn) -> Response:
    """End a key: its next call is refused."""
    await services_of(request).api_keys.revoke(
        identity.account_id, key_id, caller_of(request, identity)
    )
    return RedirectResponse("/api-keys", _SEE_OTHER)
