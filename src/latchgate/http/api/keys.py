"""API keys: list, create, revoke. A secret is in the answer that makes it alone."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from latchgate.domain.key_terms import (
    ADDRESS_CHARS_MAX,
    ADDRESSES_MAX,
    MODEL_CHARS_MAX,
    MODELS_MAX,
    Scope,
)
from latchgate.domain.money import format_usd
from latchgate.http.api.shapes import (
    Answered,
    Asked,
    Code,
    Password,
    PathID,
    at,
    at_or_none,
    session_cookie,
)
from latchgate.http.sessions import LoggedIn, caller_of, confirm, services_of
from latchgate.services.api_keys import NAME_CHARS_MAX
from latchgate.services.key_states import KeyView
from latchgate.services.key_terms import TermsAsked

router = APIRouter(prefix="/keys", tags=["keys"], dependencies=[session_cookie])


Expiry = Annotated[
    str,
    Field(
        max_length=64,
        description="A day, whose end in UTC it is, or an RFC 3339 moment; empty: never.",
        examples=["2027-01-31", "2027-01-31T18:00:00Z"],
    ),
]
Models = Annotated[
    list[Annotated[str, Field(max_length=MODEL_CHARS_MAX)]],
    Field(max_length=MODELS_MAX, description="The models that it may call; empty: all."),
]
Addresses = Annotated[
    list[Annotated[str, Field(max_length=ADDRESS_CHARS_MAX)]],
    Field(
        max_length=ADDRESSES_MAX,
        description="IPv4 and IPv6 addresses and networks that calls may come from; empty: any.",
        examples=[["192.0.2.7", "2001:db8::/32"]],
    ),
]
ScopeAsked = Annotated[
    Scope,
    Field(description="`all`, `inference` (calls, no reports) or `read_only` (reports, no calls)."),
]


class TermsChanged(Asked):
    """Terms of a key. What is left out, or null, stays as it is."""

    expires_at: Expiry | None = None
    models: Models | None = None
    scope: ScopeAsked | None = None
    addresses: Addresses | None = None

    @property
    def asked(self) -> TermsAsked:
        """The same, as the services take it."""
        return TermsAsked(self.expires_at, self.models, self.scope, self.addresses)


class KeyAsked(TermsChanged):
    """A key to be made. Without terms, a replacement has those of the key that it replaces."""

    name: Annotated[str, Field(max_length=NAME_CHARS_MAX)] = ""
    replace: Annotated[
        bool, Field(description="While a key is live: make its successor, which waits for its use.")
    ] = False
    password: Annotated[
        Password,
        Field(description="Asked for when the login is older than `sessions.fresh_hours`."),
    ] = ""
    code: Annotated[
        Code, Field(description="With the password, where the login asks for a code.")
    ] = ""
    at_once: Annotated[
        bool, Field(description="With `replace`: end the live key now, not at the successor's use.")
    ] = False


class KeyAnswered(Answered):
    """A key without its secret."""

    id: str
    name: str
    masked: str
    state: str
    created_at: datetime
    ended_at: datetime | None
    last_used_at: datetime | None
    last_app: str
    calls: int
    spent_nanos: int
    spent_usd: str
    expires_at: datetime | None
    models: Annotated[list[str], Field(description="The models that it may call; empty: all.")]
    scope: Scope
    addresses: Annotated[list[str], Field(description="Where calls may come from; empty: any.")]


class NewKeyAnswered(KeyAnswered):
    """A key just made: the only answer that ever has its secret."""

    secret: str
    replaces: Annotated[str | None, Field(description="The id of the key that this one succeeds.")]


class KeysAnswered(Answered):
    """Usable keys first, then ended ones, newest first."""

    data: list[KeyAnswered]


class RevokedAnswered(Answered):
    """The key that has ended: its next call is refused, its running streams are cut."""

    id: str
    state: str


@router.get("", operation_id="listKeys")
async def list_keys(request: Request, identity: LoggedIn) -> KeysAnswered:
    """The account's keys, at most 50."""
    found = await services_of(request).api_keys.list_keys(identity.account_id)
    return KeysAnswered(data=[_answered(view) for view in found])


@router.post("", operation_id="createKey", status_code=HTTPStatus.CREATED)
async def create_key(
    request: Request, response: Response, identity: LoggedIn, asked: KeyAsked | None = None
) -> NewKeyAnswered:
    """Create a key. While one is live this is 409 `live_key_exists`, unless `replace` is true.

    With an older login it is 403 `reauthentication_required`, unless `password` is given.
    """
    asked = asked or KeyAsked()
    services = services_of(request)
    if not services.confirmations.is_fresh(identity, "key") and asked.password:
        await confirm(request, response, identity, asked.password, asked.code)
    else:
        services.confirmations.require(identity, "key")
    made = await services.api_keys.create(
        identity.account_id,
        asked.name,
        caller=caller_of(request, identity),
        replace=asked.replace,
        at_once=asked.at_once,
        terms=services.key_terms.first(asked.asked),
    )
    return NewKeyAnswered(
        **_answered(made.view).model_dump(),
        secret=made.secret,
        replaces=made.replaces.id if made.replaces else None,
    )


@router.post("/{key_id}/confirm", operation_id="confirmKey", status_code=HTTPStatus.NO_CONTENT)
async def confirm_key(request: Request, identity: LoggedIn, key_id: PathID) -> None:
    """Finish a replacement now: the successor is live and the old key ends."""
    await services_of(request).api_keys.confirm(
        identity.account_id, key_id, caller_of(request, identity)
    )


@router.patch("/{key_id}", operation_id="changeKeyTerms")
async def change_terms(
    request: Request, identity: LoggedIn, key_id: PathID, asked: TermsChanged
) -> KeyAnswered:
    """Change a key's terms; they bind its next call.

    Where it may then do more than before, a login that was confirmed some time ago is answered 403
    `reauthentication_required`.
    """
    services = services_of(request)
    view = await services.key_terms.change(
        identity.account_id,
        key_id,
        asked.asked,
        caller_of(request, identity),
        check_loosening=lambda: services.confirmations.require(identity, "sensitive"),
    )
    return _answered(view)


@router.delete("/{key_id}", operation_id="revokeKey")
async def revoke_key(request: Request, identity: LoggedIn, key_id: PathID) -> RevokedAnswered:
    """Revoke a key. It works no more when this answers."""
    await services_of(request).api_keys.revoke(
        identity.account_id, key_id, caller_of(request, identity)
    )
    return RevokedAnswered(id=key_id, state="revoked")


def _answered(view: KeyView) -> KeyAnswered:
    return KeyAnswered(
        id=view.id,
        name=view.name,
        masked=view.masked,
        state=view.state,
        created_at=at(view.created_us),
        ended_at=at_or_none(view.ended_us),
        last_used_at=at_or_none(view.last_used_us),
        last_app=view.last_app,
        calls=view.calls,
        spent_nanos=view.spent_nanos,
        spent_usd=format_usd(view.spent_nanos),
        expires_at=at_or_none(view.terms.expires_us),
        models=sorted(view.terms.models),
        scope=view.terms.scope,
        addresses=view.terms.address_texts,
    )
