"""The ways in and out: sign up, log in, log out, and a new password for a forgotten one.

A form that is refused comes back with what was typed (never a password) and the reason beside its
field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import local_path, read_form
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.sessions import (
    caller_of,
    clear_session_cookie,
    drop_login_ticket,
    find_identity,
    keep_login_ticket,
    known_device,
    log_browser_in,
    login_ticket,
    services_of,
)
from latchgate.services.logins import CodeAsked

router = APIRouter()

_SEE_OTHER = 303


def _form_page(
    request: Request,
    template: str,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
    **context: Any,
) -> Response:
    status = error.status if error else 200
    kept = {name: text for name, text in (typed or {}).items() if name != "password"}
    return page(request, template, status=status, typed=kept, error=error, **context)


# ── sign up ─────────────────────────────────────────────────────────────────────────────────────
@router.get("/signup")
async def show_sign_up(request: Request) -> Response:
    """The form for a new account."""
    if await find_identity(request) is not None:
        return RedirectResponse("/home", _SEE_OTHER)
    invitation = request.query_params.get("invitation", "")[:200]
    return _sign_up_page(request, {"invitation": invitation})


def _sign_up_page(
    request: Request, typed: Mapping[str, str], error: LatchgateError | None = None
) -> Response:
    signup = services_of(request).settings.signup
    return _form_page(
        request, "signup.html", typed, error, mode=signup.mode, gift_nanos=signup.gift_nanos
    )


@router.post("/signup")
async def sign_up(request: Request) -> Response:
    """Make the account and welcome its owner; the page is the same for an address that has one."""
    form = await read_form(request)
    services = services_of(request)
    try:
        logged_in = await services.accounts.sign_up(
            form.get("email", ""),
            form.get("password", ""),
            invitation=form.get("invitation") or None,
            caller=caller_of(request, None),
        )
    except LatchgateError as error:
        return _sign_up_page(request, form, error)
    # The page is drawn for the address that was typed, whether or not its session opens anything.
    stranger = Identity("", logged_in.email, False, "", "active", "")
    response = page(
        request,
        "welcome.html",
        identity=stranger,
        gift_nanos=services.settings.signup.gift_nanos,
    )
    log_browser_in(response, logged_in, services.settings)
    return response


# ── log in and out ──────────────────────────────────────────────────────────────────────────────
@router.get("/login")
async def show_log_in(request: Request) -> Response:
    """The form for whoever has an account."""
    goes_to = local_path(request.query_params.get("next", ""), otherwise="/home")
    if await find_identity(request) is not None:
        return RedirectResponse(goes_to, _SEE_OTHER)
    notice = request.query_params.get("notice", "")
    return _login_page(request, {"next": goes_to}, notice=notice)


def _login_page(
    request: Request,
    typed: Mapping[str, str],
    error: LatchgateError | None = None,
    notice: str = "",
) -> Response:
    has_passkeys = services_of(request).passkeys.are_possible
    return _form_page(request, "login.html", typed, error, notice=notice, has_passkeys=has_passkeys)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Open a session and go on to where he wanted to go."""
    form = await read_form(request)
    services = services_of(request)
    try:
        logged_in = await services.logins.log_in(
            form.get("email", ""),
            form.get("password", ""),
            caller_of(request, None),
            known_device=known_device(request),
        )
    except LatchgateError as error:
        return _login_page(request, form, error)
    goes_to = local_path(form.get("next", ""), otherwise="/home")
    if isinstance(logged_in, CodeAsked):
        response = RedirectResponse(f"/login/code?next={quote(goes_to)}", _SEE_OTHER)
        keep_login_ticket(response, logged_in.ticket)
        return response
    response = RedirectResponse(goes_to, _SEE_OTHER)
    log_browser_in(response, logged_in, services.settings)
    return response


@router.get("/login/code")
async def show_code(request: Request) -> Response:
    """The second page of a login that has a second factor."""
    goes_to = local_path(request.query_params.get("next", ""), otherwise="/home")
    if not login_ticket(request):
        return RedirectResponse("/login", _SEE_OTHER)
    return _form_page(request, "login_code.html", {"next": goes_to})


@router.post("/login/code")
async def give_code(request: Request) -> Response:
    """Open the session, now that the code is right too."""
    form = await read_form(request)
    services = services_of(request)
    try:
        logged_in = await services.logins.give_code(
            login_ticket(request),
            form.get("code", ""),
            caller_of(request, None),
            known_device=known_device(request),
        )
    except LatchgateError as error:
        if error.code == "session_expired":
            response: Response = RedirectResponse("/login?notice=again", _SEE_OTHER)
            drop_login_ticket(response)
            return response
        kept = {"next": form.get("next", "")}
        return _form_page(request, "login_code.html", kept, error)
    goes_to = local_path(form.get("next", ""), otherwise="/home")
    response = RedirectResponse(goes_to, _SEE_OTHER)
    drop_login_ticket(response)
    log_browser_in(response, logged_in, services.settings)
    return response


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """End this session."""
    services = services_of(request)
    identity = await find_identity(request)
    if identity is not None:
        await services.sessions.close(identity, caller_of(request, identity))
    response = RedirectResponse("/login?notice=out", _SEE_OTHER)
    clear_session_cookie(response, services.settings)
    return response


# ── a forgotten password ────────────────────────────────────────────────────────────────────────
@router.get("/forgot")
async def show_forgot(request: Request) -> Response:
    """The form for a forgotten password."""
    return _form_page(request, "forgot.html", is_sent=False)


@router.post("/forgot")
async def forgot(request: Request) -> Response:
    """Mail a link, if there is such an account; the page never says whether there is."""
    form = await read_form(request)
    try:
        await services_of(request).password_changes.request_reset(
            form.get("email", ""), caller_of(request, None)
        )
    except LatchgateError as error:
        return _form_page(request, "forgot.html", form, error, is_sent=False)
    return _form_page(request, "forgot.html", form, is_sent=True)


@router.get("/reset")
async def show_reset(request: Request) -> Response:
    """The form behind the mail's link."""
    return _form_page(request, "reset.html", {"token": request.query_params.get("token", "")[:200]})


@router.post("/reset")
async def reset(request: Request) -> Response:
    """Set the new password, and ask him to log in with it."""
    form = await read_form(request)
    try:
        await services_of(request).password_changes.reset(
            form.get("token", ""), form.get("password", ""), caller_of(request, None)
        )
    except LatchgateError as error:
        return _form_page(request, "reset.html", form, error)
    return RedirectResponse("/login?notice=reset", _SEE_OTHER)
