"""Codes from an app: set up with a QR code, recovery codes shown once, switched off."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.confirmation import Confirmed
from latchgate.console.forms import read_form
from latchgate.console.qr_code import qr_svg
from latchgate.console.rendering import page
from latchgate.domain.errors import Conflict, LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.sessions import caller_of, services_of

router = APIRouter()

_SEE_OTHER = 303


@router.get("/security/second-factor")
async def show_set_up(request: Request, identity: Confirmed) -> Response:
    """The QR code, and a field for the first code of the app."""
    return await _set_up_page(request, identity)


async def _set_up_page(
    request: Request, identity: Identity, error: LatchgateError | None = None
) -> Response:
    try:
        setup = await services_of(request).second_factors.begin(identity)
    except Conflict:
        return RedirectResponse("/security", _SEE_OTHER)
    return page(
        request,
        "second_factor.html",
        identity=identity,
        status=error.status if error else 200,
        qr=qr_svg(setup.uri, label="QR code for your app; its secret stands below"),
        secret_text=setup.secret_text,
        error=error,
    )


@router.post("/security/second-factor")
async def switch_on(request: Request, identity: Confirmed) -> Response:
    """Take the first code, and show the recovery codes: the one answer in which they are."""
    form = await read_form(request)
    try:
        codes = await services_of(request).second_factors.switch_on(
            identity, form.get("code", ""), caller_of(request, identity)
        )
    except Conflict:
        return RedirectResponse("/security", _SEE_OTHER)
    except LatchgateError as error:
        return await _set_up_page(request, identity, error)
    return _codes_page(request, identity, codes, is_new=True)


def _codes_page(
    request: Request, identity: Identity, codes: tuple[str, ...], *, is_new: bool
) -> Response:
    return page(request, "recovery_codes.html", identity=identity, codes=codes, is_new=is_new)


@router.get("/security/second-factor/off")
async def show_switch_off(request: Request, identity: Confirmed) -> Response:
    """Ask before it is switched off, and say what that means."""
    return page(request, "second_factor_off.html", identity=identity)


@router.post("/security/second-factor/off")
async def switch_off(request: Request, identity: Confirmed) -> Response:
    """The password alone logs in again."""
    await services_of(request).second_factors.switch_off(identity, caller_of(request, identity))
    return RedirectResponse("/security?notice=totp_off", _SEE_OTHER)


@router.post("/security/recovery-codes")
async def renew_codes(request: Request, identity: Confirmed) -> Response:
    """Ten new recovery codes; the old ones work no more."""
    codes = await services_of(request).second_factors.renew_codes(
        identity, caller_of(request, identity)
    )
    return _codes_page(request, identity, codes, is_new=False)
