"""Passkeys: made, named, removed, and used to log in or to confirm who one is.

Each is two calls: one for a challenge, and one with what ``navigator.credentials`` made of it, as
its ``toJSON`` writes it.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from latchgate.http.api.session import SessionAnswered, session_answer
from latchgate.http.api.shapes import (
    Answered,
    Asked,
    PathID,
    Token,
    at,
    at_or_none,
    session_cookie,
)
from latchgate.http.sessions import (
    LoggedIn,
    RecentlyConfirmed,
    caller_of,
    known_device,
    renew_cookie,
    services_of,
)
from latchgate.services.passkeys import NAME_CHARS_MAX, Challenge, PasskeyView

router = APIRouter(tags=["passkeys"])

Name = Annotated[str, Field(max_length=NAME_CHARS_MAX)]


class ChallengeAnswered(Answered):
    """What to ask the browser for, and the ticket that its answer comes back with."""

    ticket: str
    options: dict[str, Any]


class CredentialAsked(Asked):
    """What the browser has made of a challenge."""

    ticket: Token
    credential: dict[str, Any]


class PasskeyAsked(CredentialAsked):
    """A passkey that the browser has just made."""

    name: Name = ""


class NameAsked(Asked):
    """Another name."""

    name: Name


class PasskeyAnswered(Answered):
    """A passkey: its public half."""

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None
    is_backed_up: bool


class PasskeysAnswered(Answered):
    """Oldest first; at most 20."""

    data: list[PasskeyAnswered]


# ── log in, and confirm ─────────────────────────────────────────────────────────────────────────
@router.post("/session/passkey/challenge", operation_id="beginPasskeyLogin")
async def begin_login(request: Request) -> ChallengeAnswered:
    """Ask for a challenge to log in with."""
    return _challenge(await services_of(request).passkeys.begin_login(caller_of(request, None)))


@router.post("/session/passkey", operation_id="logInWithPasskey")
async def log_in(asked: CredentialAsked, request: Request, response: Response) -> SessionAnswered:
    """Log in with a passkey: the answer sets the session's cookie. No code is asked for."""
    logged_in = await services_of(request).passkeys.log_in(
        asked.ticket,
        asked.credential,
        caller_of(request, None),
        known_device=known_device(request),
    )
    return await session_answer(request, response, logged_in)


@router.post(
    "/session/confirmation/challenge",
    operation_id="beginPasskeyConfirmation",
    dependencies=[session_cookie],
)
async def begin_confirmation(request: Request, identity: LoggedIn) -> ChallengeAnswered:
    """Ask for a challenge to confirm with."""
    return _challenge(await services_of(request).passkeys.begin_confirmation(identity))


@router.put(
    "/session/confirmation/passkey",
    operation_id="confirmWithPasskey",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def confirm(
    asked: CredentialAsked, request: Request, response: Response, identity: LoggedIn
) -> None:
    """Show by a passkey that it is still you; the session's cookie is set anew."""
    services = services_of(request)
    confirmed = await services.passkeys.confirm(
        identity, asked.ticket, asked.credential, caller_of(request, identity)
    )
    renew_cookie(response, confirmed, services.settings)


# ── make, name, remove ──────────────────────────────────────────────────────────────────────────
@router.get("/passkeys", operation_id="listPasskeys", dependencies=[session_cookie])
async def list_passkeys(request: Request, identity: LoggedIn) -> PasskeysAnswered:
    """The user's passkeys."""
    found = await services_of(request).passkeys.list_passkeys(identity.user_id)
    return PasskeysAnswered(data=[_answered(view) for view in found])


@router.post("/passkeys/challenge", operation_id="beginPasskey", dependencies=[session_cookie])
async def begin(request: Request, identity: RecentlyConfirmed) -> ChallengeAnswered:
    """Ask for a challenge to make a passkey with."""
    return _challenge(await services_of(request).passkeys.begin_new(identity))


@router.post(
    "/passkeys",
    operation_id="addPasskey",
    status_code=HTTPStatus.CREATED,
    dependencies=[session_cookie],
)
async def add(
    asked: PasskeyAsked, request: Request, identity: RecentlyConfirmed
) -> PasskeyAnswered:
    """Keep a passkey that the browser has made."""
    view = await services_of(request).passkeys.add(
        identity, asked.ticket, asked.credential, asked.name, caller_of(request, identity)
    )
    return _answered(view)


@router.put(
    "/passkeys/{passkey_id}",
    operation_id="renamePasskey",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def rename(
    asked: NameAsked, request: Request, identity: LoggedIn, passkey_id: PathID
) -> None:
    """Give a passkey another name."""
    await services_of(request).passkeys.rename(
        identity, passkey_id, asked.name, caller_of(request, identity)
    )


@router.delete(
    "/passkeys/{passkey_id}",
    operation_id="removePasskey",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[session_cookie],
)
async def remove(request: Request, identity: RecentlyConfirmed, passkey_id: PathID) -> None:
    """Forget a passkey: it opens nothing any more."""
    await services_of(request).passkeys.remove(identity, passkey_id, caller_of(request, identity))


def _challenge(challenge: Challenge) -> ChallengeAnswered:
    return ChallengeAnswered(ticket=challenge.ticket, options=challenge.options)


def _answered(view: PasskeyView) -> PasskeyAnswered:
    return PasskeyAnswered(
        id=view.id,
        name=view.name,
        created_at=at(view.created_us),
        last_used_at=at_or_none(view.used_us),
        is_backed_up=view.is_backed_up,
    )
