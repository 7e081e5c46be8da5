"""Passkeys: made, named, removed; a way to log in without a password, and to confirm who one is.

Each ceremony begins with a ticket that holds its challenge, and the ticket is used up by whatever
comes back: an answer works once, and only for the step that it was asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latchgate.domain.errors import Conflict, InvalidRequest, LoginFailed, NotFound
from latchgate.domain.ids import new_id
from latchgate.services import ceremonies, tickets
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.storage import accounts as account_rows
from latchgate.storage import passkeys as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.ceremonies import Ceremonies
    from latchgate.services.confirmations import Confirmations, Confirmed
    from latchgate.services.logins import LoggedIn, Logins
    from latchgate.services.notices import Notices
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

PASSKEYS_MAX = 20
NAME_CHARS_MAX = 64
DEFAULT_NAME = "Passkey"
HOW = "passkey"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a browser is asked to do, and the ticket with which its answer comes back."""

    ticket: str
    options: dict[str, Any]

    def __repr__(self) -> str:
        return "Challenge()"


@dataclass(frozen=True, slots=True)
class PasskeyView:
    """A passkey as its user sees it."""

    id: str
    name: str
    created_us: int
    used_us: int | None
    #: Whether its maker keeps copies of it, so that it outlives its device.
    is_backed_up: bool


class Passkeys:
    """Use cases over passkeys."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ceremonies: Ceremonies,
        throttles: Throttles,
        logins: Logins,
        confirmations: Confirmations,
        notices: Notices,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ceremonies = ceremonies
        self._throttles = throttles
        self._logins = logins
        self._confirmations = confirmations
        self._notices = notices

    @property
    def are_possible(self) -> bool:
        """Whether browsers make passkeys for this server's address."""
        return self._ceremonies.are_possible

    # ── made, named, removed ────────────────────────────────────────────────────────────────────
    async def list_passkeys(self, user_id: str) -> list[PasskeyView]:
        """A user's passkeys, oldest first; at most 20."""
        return [_view(row) for row in await self._store.read(rows.list_passkeys, user_id)]

    async def begin_new(self, identity: Identity) -> Challenge:
        """Ask a browser to make one."""
        has_already = await self._store.read(rows.list_passkeys, identity.user_id)
        options, challenge = self._ceremonies.options_to_make(
            identity.user_id, identity.email, has_already
        )
        return await self._challenge(tickets.PASSKEY_NEW, identity.user_id, options, challenge)

    async def add(
        self,
        identity: Identity,
        ticket: str,
        credential: dict[str, Any],
        name: str,
        caller: Caller,
    ) -> PasskeyView:
        """Keep one that was made.

        Raises LoginFailed ``invalid_passkey``, InvalidRequest, Conflict ``too_many_passkeys``.
        """
        name = checked_name(name)
        challenge = await self._take(ticket, tickets.PASSKEY_NEW, identity.user_id)
        made = self._ceremonies.check_made(credential, challenge)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> PasskeyView:
            if rows.count_passkeys(conn, identity.user_id) >= PASSKEYS_MAX:
                raise Conflict(
                    f"You have {PASSKEYS_MAX} passkeys. Remove one first.", code="too_many_passkeys"
                )
            if rows.find_by_credential(conn, made.credential_id) is not None:
                raise ceremonies.refused(ValueError("a credential that is known already"))
            passkey_id = new_id("pk", now_us)
            rows.insert_passkey(
                conn,
                id=passkey_id,
                user_id=identity.user_id,
                credential_id=made.credential_id,
                public_key=made.public_key,
                sign_count=made.sign_count,
                name=name,
                transports=json.dumps(made.transports),
                is_backed_up=int(made.is_backed_up),
                created_us=now_us,
                used_us=None,
            )
            _record(conn, identity, caller, "passkey.add", passkey_id, name, now_us)
            return PasskeyView(passkey_id, name, now_us, None, made.is_backed_up)

        view = await self._store.write(transaction)
        self._notices.tell(identity.email, "passkey_added", caller, about=name)
        return view

    async def rename(self, identity: Identity, passkey_id: str, name: str, caller: Caller) -> None:
        """Give one another name. Raises InvalidRequest or NotFound."""
        name, now_us = checked_name(name), self._clock.now_us()

        def transaction(conn: Connection) -> None:
            _get(conn, identity.user_id, passkey_id)
            rows.rename_passkey(conn, passkey_id, name)
            _record(conn, identity, caller, "passkey.rename", passkey_id, name, now_us)

        await self._store.write(transaction)

    async def remove(self, identity: Identity, passkey_id: str, caller: Caller) -> None:
        """Forget one: it opens nothing any more. Raises NotFound."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> str:
            name: str = _get(conn, identity.user_id, passkey_id).name
            rows.delete_passkey(conn, passkey_id)
            _record(conn, identity, caller, "passkey.remove", passkey_id, name, now_us)
            return name

        name = await self._store.write(transaction)
        self._notices.tell(identity.email, "passkey_removed", caller, about=name)

    # ── used ────────────────────────────────────────────────────────────────────────────────────
    async def begin_login(self, caller: Caller) -> Challenge:
        """Ask a browser for any passkey of this server. Raises RateLimited."""
        self._throttles.count(limits.PASSKEY_BY_PLACE, caller.ip)
        options, challenge = self._ceremonies.options_to_show()
        return await self._challenge(tickets.PASSKEY_LOGIN, None, options, challenge)

    async def log_in(
        self, ticket: str, credential: dict[str, Any], caller: Caller, *, known_device: str = ""
    ) -> LoggedIn:
        """Open a session by a passkey, which is two factors by itself.

        Raises LoginFailed ``invalid_passkey`` or RateLimited.
        """
        self._throttles.count(limits.PASSKEY_BY_PLACE, caller.ip)
        challenge = await self._take(ticket, tickets.PASSKEY_LOGIN, None)
        passkey, sign_count = await self._check(credential, challenge, None)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> tuple[LoggedIn, AnyRow]:
            found = account_rows.find_person_by_id(conn, passkey.user_id)
            _use(conn, passkey, sign_count, now_us)
            if found is None:
                raise ceremonies.refused(ValueError("a passkey of nobody"))
            return self._logins.open_found(conn, found, caller, HOW, now_us), found

        logged_in, found = await self._store.write(transaction)
        self._logins.tell_of_new_device(found, caller, known_device)
        return logged_in

    async def begin_confirmation(self, identity: Identity) -> Challenge:
        """Ask the user's browser for one of his passkeys. Raises Conflict when he has none."""
        allowed = await self._store.read(rows.list_passkeys, identity.user_id)
        if not allowed:
            raise Conflict("You have no passkey. Use your password.", code="no_passkey")
        options, challenge = self._ceremonies.options_to_show(allowed)
        return await self._challenge(tickets.PASSKEY_CONFIRM, identity.user_id, options, challenge)

    async def confirm(
        self, identity: Identity, ticket: str, credential: dict[str, Any], caller: Caller
    ) -> Confirmed:
        """Note that it is still he. Raises LoginFailed ``invalid_passkey``."""
        challenge = await self._take(ticket, tickets.PASSKEY_CONFIRM, identity.user_id)
        passkey, sign_count = await self._check(credential, challenge, identity.user_id)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> Confirmed:
            _use(conn, passkey, sign_count, now_us)
            return self._confirmations.renew(conn, identity, caller, HOW, now_us)

        return await self._store.write(transaction)

    # ── between the two halves ──────────────────────────────────────────────────────────────────
    async def _challenge(
        self, purpose: str, user_id: str | None, options: dict[str, Any], challenge: str
    ) -> Challenge:
        now_us, details = self._clock.now_us(), {"challenge": challenge}

        def transaction(conn: Connection) -> str:
            return tickets.issue(conn, purpose, user_id=user_id, details=details, now_us=now_us)

        return Challenge(await self._store.write(transaction), options)

    async def _take(self, ticket: str, purpose: str, user_id: str | None) -> str:
        """Use the ticket up, whatever comes of it; its challenge."""
        now_us = self._clock.now_us()
        taken = await self._store.write(tickets.take, ticket, purpose, now_us=now_us)
        if taken is None or taken.user_id != user_id:
            raise LoginFailed(
                "That took too long, or was sent twice. Try again.", code="invalid_passkey"
            )
        challenge: str = taken.details["challenge"]
        return challenge

    async def _check(
        self, credential: dict[str, Any], challenge: str, user_id: str | None
    ) -> tuple[AnyRow, int]:
        """The passkey that signed, and its count; ``user_id`` where it must be a certain one's."""
        credential_id = ceremonies.credential_id_of(credential)
        passkey = await self._store.read(rows.find_by_credential, credential_id)
        if passkey is None or user_id not in (None, passkey.user_id):
            raise ceremonies.refused(ValueError("an unknown credential, or another user's"))
        handle = ceremonies.user_handle_of(credential)
        if handle not in (None, passkey.user_id) or (user_id is None and handle is None):
            raise ceremonies.refused(ValueError("the user handle is another's, or missing"))
        return passkey, self._ceremonies.check_shown(credential, challenge, passkey)


def checked_name(name: str) -> str:
    """A passkey's name as it is kept: stripped, at most 64 printable characters, never empty."""
    name = name.strip()
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise InvalidRequest(
            f"A passkey's name has at most {NAME_CHARS_MAX} printable characters.", param="name"
        )
    return name or DEFAULT_NAME


def _use(conn: Connection, passkey: AnyRow, sign_count: int, now_us: int) -> None:
    if not rows.use_passkey(conn, passkey.id, sign_count=sign_count, now_us=now_us):
        raise ceremonies.refused(ValueError("its count has not risen, or it was removed"))


def _get(conn: Connection, user_id: str, passkey_id: str) -> AnyRow:
    found = rows.find_passkey(conn, user_id, passkey_id)
    if found is None:
        raise NotFound("There is no such passkey.")
    return found


def _record(
    conn: Connection,
    identity: Identity,
    caller: Caller,
    action: str,
    passkey_id: str,
    name: str,
    now_us: int,
) -> None:
    record(
        conn,
        at_us=now_us,
        account_id=identity.account_id,
        caller=caller,
        action=action,
        target=passkey_id,
        details={"name": name},
    )


def _view(row: AnyRow) -> PasskeyView:
    return PasskeyView(row.id, row.name, row.created_us, row.used_us, bool(row.is_backed_up))
