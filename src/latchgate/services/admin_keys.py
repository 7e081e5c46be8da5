"""Operators' keys to the admin API: made, listed, revoked, and known again when they come.

A key acts for one operator and is worth what he is: once he is suspended, has closed his account or
is no operator any more, his keys are refused with the next request, since each asks the database.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import MINUTE_US
from latchgate.domain.admin_keys import Scope, parse_scopes
from latchgate.domain.errors import Conflict, InvalidKey, InvalidRequest, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.key_terms import parse_expiry
from latchgate.domain.people import ADMIN_KEY
from latchgate.domain.secrets import (
    ADMIN_PREFIX,
    digest,
    is_admin_key,
    mint_key,
    public_id_of,
)
from latchgate.services.accounts import get_by_email
from latchgate.services.api_keys import NONCE_CHARS_MAX, checked_name
from latchgate.services.audit_log import record
from latchgate.services.billing import check_page
from latchgate.services.throttles import Limit
from latchgate.storage import admin_keys as rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.services.notices import Notices
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

LIVE, STOPPED, EXPIRED, REVOKED = "live", "stopped", "expired", "revoked"
#: Keys that may be usable at a time, all operators' together.
USABLE_MAX = 100
REQUESTS_BY_KEY = Limit(600, MINUTE_US)
#: Of these, what asks upstreams or reads everything.
SLOW_BY_KEY = Limit(10, MINUTE_US)
#: Well-formed keys that are none of ours. Nobody guesses 190 bits; those who try cost nothing.
WRONG_BY_PLACE = Limit(100, 5 * MINUTE_US)


@dataclass(frozen=True, slots=True)
class AdminKeyView:
    """A key without its secret."""

    id: str
    name: str
    public_id: str
    last_four: str
    #: Whose it is; empty once he has closed his account.
    email: str
    user_id: str
    scopes: tuple[Scope, ...]
    #: ``live``, ``expired``, ``revoked``, or ``stopped`` while its operator is none.
    state: str
    created_us: int
    created_by: str
    expires_us: int | None
    revoked_us: int | None
    last_used_us: int | None
    last_used_ip: str

    @property
    def masked(self) -> str:
        """Public part and last four: ``lg-admin-4tQ9…x7Kd``."""
        return f"{ADMIN_PREFIX}{self.public_id[:4]}…{self.last_four}"


@dataclass(frozen=True, slots=True)
class NewAdminKey:
    """A key just made. ``secret`` exists here and in one answer, and nowhere else."""

    view: AdminKeyView
    secret: str

    def __repr__(self) -> str:
        return f"NewAdminKey({self.view.id})"


class AdminKeys:
    """Use cases over operators' keys, one transaction each."""

    def __init__(
        self, store: Store, clock: Clock, pepper: bytes, throttles: Throttles, notices: Notices
    ) -> None:
        self._store = store
        self._clock = clock
        self._pepper = pepper
        self._throttles = throttles
        self._notices = notices

    async def create(
        self,
        email: str,
        name: str,
        *,
        scopes: Iterable[str],
        caller: Caller,
        expires_at: str = "",
        nonce: str | None = None,
    ) -> NewAdminKey:
        """Make a key that acts for the operator with this address, who is told of it by mail.

        ``expires_at`` is a day, a moment, or empty for never. A form's ``nonce`` makes one key.
        Raises InvalidRequest, NotFound, or Conflict: ``already_created``, ``not_an_operator``,
        ``too_many_keys``.
        """
        name, granted = checked_name(name), parse_scopes(scopes)
        if nonce is not None and not 0 < len(nonce) <= NONCE_CHARS_MAX:
            raise InvalidRequest("The form is damaged. Reload the page.", param="nonce")
        now_us = self._clock.now_us()
        expires_us = parse_expiry(expires_at, now_us)
        minted, key_id = mint_key(ADMIN_PREFIX), new_id(ADMIN_KEY, now_us)

        def transaction(conn: Connection) -> AdminKeyView:
            operator = get_by_email(conn, email)
            _check(conn, operator, nonce, now_us)
            rows.insert_key(
                conn,
                id=key_id,
                user_id=operator.user_id,
                name=name,
                public_id=minted.public_id,
                last_four=minted.last_four,
                secret_hash=digest(minted.text, self._pepper),
                scopes=json.dumps(granted),
                created_us=now_us,
                created_by=caller.actor,
                expires_us=expires_us,
                last_used_ip="",
                form_nonce=nonce,
            )
            details: dict[str, object] = {"name": name, "scopes": granted, "expires_us": expires_us}
            self._record(conn, operator.account_id, caller, "admin_key.create", key_id, details)
            return _view(rows.find_key(conn, key_id), now_us)

        view = await self._store.write(transaction)
        self._notices.tell(view.email, "admin_key_made", caller, about=name)
        return NewAdminKey(view, minted.text)

    async def list_page(
        self, *, before: str | None = None, limit: int = 50
    ) -> tuple[list[AdminKeyView], str | None]:
        """A page of all operators' keys, newest first, and the cursor of the next, if any."""
        check_page(before, limit)
        found = await self._store.read(rows.list_keys, before=before, limit=limit + 1)
        now_us = self._clock.now_us()
        page = [_view(row, now_us) for row in found[:limit]]
        return page, page[-1].id if len(found) > limit else None

    async def get(self, key_id: str) -> AdminKeyView:
        """One key, an ended one too. Raises NotFound."""
        return _view(await self._store.read(rows.find_key, key_id), self._clock.now_us())

    async def revoke(self, key_id: str, caller: Caller) -> AdminKeyView:
        """End a key, any operator's: its next request is refused. Raises NotFound."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> AdminKeyView:
            row = rows.find_key(conn, key_id)
            name = _view(row, now_us).name
            if row is not None and rows.revoke(conn, key_id, now_us=now_us):
                details: dict[str, object] = {"name": name}
                self._record(conn, row.account_id, caller, "admin_key.revoke", key_id, details)
            return _view(rows.find_key(conn, key_id), now_us)

        return await self._store.write(transaction)

    async def identify(self, text: str, ip: str) -> AdminKeyView:
        """The key that a request came with, its use counted and noted.

        Raises InvalidKey ``invalid_admin_key``, the same for unknown, ended and stopped ones, or
        RateLimited.
        """
        if not is_admin_key(text):
            raise _no_key(is_api_key=public_id_of(text) is not None)
        row = await self._store.read(rows.find_by_hash, digest(text, self._pepper))
        now_us = self._clock.now_us()
        view = None if row is None else _view(row, now_us)
        if view is None or view.state != LIVE:
            self._throttles.count(WRONG_BY_PLACE, ip)
            raise _no_key()
        self._throttles.count(REQUESTS_BY_KEY, view.id)
        if now_us - (view.last_used_us or 0) > MINUTE_US or ip != view.last_used_ip:
            await self._store.write(rows.touch, view.id, now_us=now_us, ip=ip)
        return view

    def count_slow(self, key_id: str) -> None:
        """Count a request that takes long. Raises RateLimited."""
        self._throttles.count(SLOW_BY_KEY, key_id)

    def _record(
        self,
        conn: Connection,
        account_id: str,
        caller: Caller,
        action: str,
        target: str,
        details: dict[str, object],
    ) -> None:
        record(
            conn,
            at_us=self._clock.now_us(),
            account_id=account_id,
            caller=caller,
            action=action,
            target=target,
            details=details,
        )


def _check(conn: Connection, operator: AnyRow, nonce: str | None, now_us: int) -> None:
    if nonce is not None and rows.has_nonce(conn, nonce):
        raise Conflict(
            "This form has made its key already, and a key is shown only once. Lost it? Revoke "
            "it, and make another.",
            code="already_created",
        )
    if not operator.is_operator or operator.state != "active":
        raise Conflict(
            f"{operator.email} is no operator, or suspended: an admin key acts for an operator.",
            code="not_an_operator",
            param="email",
        )
    if rows.count_usable(conn, now_us=now_us) >= USABLE_MAX:
        raise Conflict(
            f"There are {USABLE_MAX} admin keys, the most that there may be. Revoke one first.",
            code="too_many_keys",
        )


def _view(row: AnyRow | None, now_us: int) -> AdminKeyView:
    if row is None:
        raise NotFound("There is no such admin key.")
    return AdminKeyView(
        id=row.id,
        name=row.name,
        public_id=row.public_id,
        last_four=row.last_four,
        email=row.email,
        user_id=row.user_id,
        scopes=tuple(json.loads(row.scopes)),
        state=_state(row, now_us),
        created_us=row.created_us,
        created_by=row.created_by,
        expires_us=row.expires_us,
        revoked_us=row.revoked_us,
        last_used_us=row.last_used_us,
        last_used_ip=row.last_used_ip,
    )


def _state(row: AnyRow, now_us: int) -> str:
    if row.revoked_us is not None:
        return REVOKED
    if row.expires_us is not None and row.expires_us <= now_us:
        return EXPIRED
    return LIVE if row.is_operator and row.account_state == "active" else STOPPED


def _no_key(*, is_api_key: bool = False) -> InvalidKey:
    """The same for a key that was never one, for one that has ended, and for none at all."""
    sentence = (
        "Send an admin key that works: Authorization: Bearer lg-admin-… An operator makes one in "
        "the console, under API, or with latchgate admin-key create."
    )
    if is_api_key:
        sentence = f"That is an account's API key, which opens nothing here. {sentence}"
    # RFC 6750, 3: what a client that was not let in is told.
    headers = {"www-authenticate": "Bearer"}
    return InvalidKey(sentence, code="invalid_admin_key", headers=headers)
