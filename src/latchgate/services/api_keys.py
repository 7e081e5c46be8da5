"""API keys: create, replace, revoke, list. One live key for each account at a time.

    create ─► live ──────────────────────────► revoked
    create, while one is live ─► pending ─► live      and the one that was live ─► replaced
    live or pending, and its date of expiry has come ─► expired

A replacement is in two phases so that nobody locks himself out: the old key works until its owner
presses *Done* (``confirm``) or the new one is first used. A pending key that was forgotten is
discarded by the next one. Limits, statistics and what was spent belong to the account, so a new
key resets nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from latchgate.clock import HOUR_US
from latchgate.domain.errors import Conflict, InvalidRequest, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.key_terms import KeyTerms
from latchgate.domain.people import Caller
from latchgate.domain.secrets import MintedKey, digest, mint_key
from latchgate.services.audit_log import record
from latchgate.services.key_states import KeyView, end_expired, find_owned, view_of
from latchgate.services.key_terms import check_models, details_of
from latchgate.storage import api_keys as rows
from latchgate.storage.key_terms import columns_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.storage.store import Store

log = structlog.get_logger()

NAME_CHARS_MAX = 64
NONCE_CHARS_MAX = 64
KEYS_LISTED_MAX = 50
DEFAULT_NAME = "Secret key"
#: How often the use of an ended key is told: an app that goes on trying fills no log.
ENDED_USE_TOLD_US = HOUR_US
ENDED_USES_KEPT_MAX = 10_000

#: Keys whose state has changed, and whether each may be used now.
Changes = list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. ``secret`` exists here and in one answer, and nowhere else."""

    view: KeyView
    secret: str
    replaces: KeyView | None

    def __repr__(self) -> str:
        return f"NewKey({self.view.id})"


async def _nobody(_account_id: str, _key_id: str, _caller: Caller) -> None:
    """Nobody is told of a replacement."""


class APIKeys:
    """Use cases over API keys, one transaction each.

    ``on_changed`` is called with a key's id, and whether it is usable now, after every commit that
    changes what the key may do and before whoever asked for it hears that it is done: that is what
    makes revocation an event and not a cache time. ``on_replaced`` is called when a key has taken
    the place of the one before.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        pepper: bytes,
        on_changed: Callable[[str, bool], None],
        on_replaced: Callable[[str, str, Caller], Awaitable[None]] = _nobody,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pepper = pepper
        self._on_changed = on_changed
        self._on_replaced = on_replaced
        self._ended_used_us: OrderedDict[str, int] = OrderedDict()

    async def create(
        self,
        account_id: str,
        name: str,
        *,
        caller: Caller,
        replace: bool = False,
        at_once: bool = False,
        nonce: str | None = None,
        terms: KeyTerms | None = None,
    ) -> NewKey:
        """Make a key. While one is live, ``replace`` must be true; ``at_once`` ends that one now.

        ``nonce`` names the form that asks: a form sent twice makes one key. Without ``terms`` a
        replacement has those of the key that it replaces, but for its date of expiry. Raises
        InvalidRequest for the name or the terms, Conflict ``live_key_exists`` or
        ``already_created``.
        """
        name = checked_name(name)
        if nonce is not None and not 0 < len(nonce) <= NONCE_CHARS_MAX:
            raise InvalidRequest("The form is damaged. Reload the page.", param="nonce")
        minted = mint_key()
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> tuple[NewKey, Changes]:
            if nonce is not None and rows.find_by_nonce(conn, nonce) is not None:
                raise Conflict(
                    "This form has made its key already, and a key is shown only once. "
                    "Lost it? Create a fresh one.",
                    code="already_created",
                )
            end_expired(conn, account_id, now_us)
            live = rows.find_usable(conn, account_id, rows.LIVE)
            if live is not None and not replace:
                raise Conflict(
                    "This account has a live key, and one key is live at a time. Ask for a "
                    "replacement, or revoke the live one first.",
                    code="live_key_exists",
                )
            changed = self._discard_pending(conn, account_id, now_us)
            replaces = None if live is None else view_of(rows.get_key(conn, live.id), now_us)
            granted = _first_terms(terms, replaces)
            check_models(conn, granted.models, at_us=now_us)
            key_id = self._insert(conn, account_id, name, minted, nonce, now_us, granted, replaces)
            record(
                conn,
                at_us=now_us,
                account_id=account_id,
                caller=caller,
                action="key.create",
                target=key_id,
                details={
                    "name": name,
                    "replaces": live.id if live else None,
                    **details_of(granted),
                },
            )
            if live is not None and at_once:
                changed += self._activate(conn, key_id, account_id, caller, now_us)
            view = view_of(rows.get_key(conn, key_id), now_us)
            return NewKey(view=view, secret=minted.text, replaces=replaces), changed

        new_key, changed = await self._store.write(transaction)
        self._announce(changed)
        if new_key.replaces is not None and new_key.view.state == rows.LIVE:
            await self._on_replaced(account_id, new_key.view.id, caller)
        return new_key

    def _insert(
        self,
        conn: Connection,
        account_id: str,
        name: str,
        minted: MintedKey,
        nonce: str | None,
        now_us: int,
        terms: KeyTerms,
        replaces: KeyView | None,
    ) -> str:
        key_id = new_id("key", now_us)
        rows.insert_key(
            conn,
            id=key_id,
            account_id=account_id,
            name=name,
            public_id=minted.public_id,
            last_four=minted.last_four,
            secret_hash=digest(minted.text, self._pepper),
            state=rows.LIVE if replaces is None else rows.PENDING,
            created_us=now_us,
            ended_us=None,
            form_nonce=nonce,
            **columns_of(terms),
        )
        return key_id

    def _discard_pending(self, conn: Connection, account_id: str, now_us: int) -> Changes:
        pending = rows.find_usable(conn, account_id, rows.PENDING)
        if pending is None:
            return []
        rows.set_state(conn, pending.id, rows.REVOKED, ended_us=now_us)
        return [(pending.id, False)]

    def _activate(
        self, conn: Connection, key_id: str, account_id: str, caller: Caller, now_us: int
    ) -> Changes:
        """Make a pending key live; returns the keys whose state has changed."""
        live = rows.find_usable(conn, account_id, rows.LIVE)
        if live is not None:
            rows.set_state(conn, live.id, rows.REPLACED, ended_us=now_us)
        rows.set_state(conn, key_id, rows.LIVE, ended_us=None)
        record(
            conn,
            at_us=now_us,
            account_id=account_id,
            caller=caller,
            action="key.replace",
            target=key_id,
            details={"replaced": live.id if live else None},
        )
        return [(key_id, True)] if live is None else [(live.id, False), (key_id, True)]

    async def confirm(self, account_id: str, key_id: str, caller: Caller) -> None:
        """Finish a replacement, as *Done* does; on a key that is live already, change nothing.

        Raises NotFound for a key that is missing, another account's, or ended.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> Changes:
            key = find_owned(conn, account_id, key_id, now_us)
            if key.state == rows.PENDING:
                return self._activate(conn, key_id, account_id, caller, now_us)
            return []

        changed = await self._store.write(transaction)
        self._announce(changed)
        if changed:
            await self._on_replaced(account_id, key_id, caller)

    async def revoke(self, account_id: str | None, key_id: str, caller: Caller) -> None:
        """End a key: when this returns, its next call is 401 and its running streams are cut.

        ``account_id`` None is the operator's. Raises NotFound as ``confirm`` does.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            key = find_owned(conn, account_id, key_id, now_us)
            rows.set_state(conn, key_id, rows.REVOKED, ended_us=now_us)
            record(
                conn,
                at_us=now_us,
                account_id=key.account_id,
                caller=caller,
                action="key.revoke",
                target=key_id,
                details={"name": key.name},
            )

        await self._store.write(transaction)
        self._announce([(key_id, False)])

    async def note_use_after_end(self, key_id: str) -> None:
        """Tell the owner in the audit log that somebody still uses a key which has ended.

        At most once an hour for each key. What goes wrong is logged: the call is refused anyway.
        """
        now_us = self._clock.now_us()
        told_us = self._ended_used_us.get(key_id)
        if told_us is not None and now_us - told_us < ENDED_USE_TOLD_US:
            return
        self._ended_used_us[key_id] = now_us
        self._ended_used_us.move_to_end(key_id)
        if len(self._ended_used_us) > ENDED_USES_KEPT_MAX:
            self._ended_used_us.popitem(last=False)

        def transaction(conn: Connection) -> None:
            key = rows.find_key(conn, key_id)
            if key is not None:
                record(
                    conn,
                    at_us=now_us,
                    account_id=key.account_id,
                    caller=Caller(actor=key_id),
                    action="key.used_after_revoke",
                    target=key_id,
                    details={"name": key.name},
                )

        try:
            await self._store.write(transaction)
        except SQLAlchemyError as error:
            log.warning("api_keys.ended_use_not_told", key=key_id, error=str(error))

    async def list_keys(self, account_id: str) -> list[KeyView]:
        """The account's keys: usable ones first, then ended ones, newest first; at most 50."""
        found = await self._store.read(rows.list_keys, account_id, limit=KEYS_LISTED_MAX)
        now_us = self._clock.now_us()
        views = [view_of(row, now_us) for row in found]
        return sorted(views, key=lambda view: not view.is_usable)

    async def get(self, account_id: str, key_id: str) -> KeyView:
        """One of the account's keys, ended ones too. Raises NotFound."""

        def transaction(conn: Connection) -> KeyView:
            found = rows.find_key(conn, key_id)
            is_owned = found is not None and found.account_id == account_id
            if found is None or not is_owned or found.kind == rows.PLAYGROUND:
                raise NotFound("There is no such key.")
            return view_of(rows.get_key(conn, key_id), self._clock.now_us())

        return await self._store.read(transaction)

    def _announce(self, changes: Changes) -> None:
        for key_id, is_usable in changes:
            self._on_changed(key_id, is_usable)


def checked_name(name: str) -> str:
    """A key's name as it is kept: stripped, at most 64 printable characters, never empty."""
    name = name.strip()
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise InvalidRequest(
            f"A key's name has at most {NAME_CHARS_MAX} printable characters.", param="name"
        )
    return name or DEFAULT_NAME


def _first_terms(asked: KeyTerms | None, replaces: KeyView | None) -> KeyTerms:
    """The terms that a new key begins with."""
    if asked is not None:
        return asked
    return KeyTerms() if replaces is None else replace(replaces.terms, expires_us=None)
