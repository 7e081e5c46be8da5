"""Passkeys: a page to make one, one to name it or to remove it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.confirmation import Confirmed
from latchgate.console.forms import read_form
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError, NotFound
from latchgate.domain.people import Identity
from latchgate.http.sessions import LoggedIn, caller_of, services_of
from latchgate.services.passkeys import PasskeyView

router = APIRouter()

_SEE_OTHER = 303


@router.get("/security/passkeys/new")
async def show_new(request: Request, identity: Confirmed) -> Response:
    """Where a browser makes one: by our script, as no form can."""
    return page(
        request,
        "passkey_new.html",
        identity=identity,
        are_possible=services_of(request).passkeys.are_possible,
    )


@router.get("/security/passkeys/{passkey_id}")
async def show(request: Request, passkey_id: str, identity: LoggedIn) -> Response:
    """One passkey: its name, and the way to remove it."""
    return _passkey_page(request, identity, await _get(request, identity, passkey_id))


async def _get(request: Request, identity: Identity, passkey_id: str) -> PasskeyView:
    found = await services_of(request).passkeys.list_passkeys(identity.user_id)
    passkey = next((view for view in found if view.id == passkey_id), None)
    if passkey is None:
        raise NotFound("There is no such passkey.")
    return passkey


def _passkey_page(
    request: Request,
    identity: Identity,
    passkey: PasskeyView,
    typed_name: str | None = None,
    error: LatchgateError | None = None,
) -> Response:
    return page(
        request,
        "passkey.html",
        identity=identity,
        status=error.status if error else 200,
        passkey=passkey,
        typed_name=passkey.name if typed_name is None else typed_name,
        error=error,
    )


@router.post("/security/passkeys/{passkey_id}")
async def rename(request: Request, passkey_id: str, identity: LoggedIn) -> Response:
    """Give it another name."""
    form = await read_form(request)
    passkey, name = await _get(request, identity, passkey_id), form.get("name", "")
    try:
        await services_of(request).passkeys.rename(
            identity, passkey_id, name, caller_of(request, identity)
        )
    except LatchgateError as error:
        return _passkey_page(request, identity, passkey, name, error)
    return RedirectResponse("/security?notice=renamed", _SEE_OTHER)


@router.post("/security/passkeys/{passkey_id}/remove")
async def remove(request: Request, passkey_id: str, identity: Confirmed) -> Response:
    """Forget it: it opens nothing any more."""
    await services_of(request).passkeys.remove(identity, passkey_id, caller_of(request, identity))
    return RedirectResponse("/security?notice=removed", _SEE_OTHER)
