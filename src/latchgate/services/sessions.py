"""Sessions: a random token in the browser's cookie, and only its hash in the database."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US, MINUTE_US
from latchgate.domain.errors import NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.people import Identity
from latchgate.domain.secrets import mint_token
from latchgate.services.audit_log import USER_AGENT_CHARS_MAX, record
from latchgate.storage import sessions as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import SessionSettings
    from latchgate.domain.people import Caller
    from latchgate.storage.store import Store

TOKEN_CHARS_MAX = 128
SESSIONS_LISTED_MAX = 100


@dataclass(frozen=True, slots=True)
class SessionView:
    """An open session, as its user sees it."""

    id: str
    created_us: int
    seen_us: int
    ip: str
    user_agent: str
    is_current: bool


def token_hash(token: str) -> bytes:
    """What is kept of a random token: it has 256 bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def open_session(
    conn: Connection, *, user_id: str, caller: Caller, now_us: int, settings: SessionSettings
) -> str:
    """Log a user in, inside the caller's transaction; returns the token for the cookie."""
    token = mint_token()
    rows.insert_session(
        conn,
        id=new_id("ses", now_us),
        token_hash=token_hash(token),
        user_id=user_id,
        created_us=now_us,
        seen_us=now_us,
        expires_us=now_us + settings.absolute_days * DAY_US,
        ended_us=None,
        ip=caller.ip,
        user_agent=caller.user_agent[:USER_AGENT_CHARS_MAX],
        confirmed_us=now_us,
    )
    return token


class Sessions:
    """Use cases over sessions."""

    def __init__(self, store: Store, clock: Clock, settings: SessionSettings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings

    def _seen_after_us(self, now_us: int) -> int:
        return now_us - self._settings.idle_days * DAY_US

    async def find_identity(self, token: str, ip: str = "") -> Identity | None:
        """Who a cookie belongs to; None when its session is unknown, ended, idle or too old.

        ``ip`` is where it came from: its user sees when and from where each was last used.
        """
        if not token or len(token) > TOKEN_CHARS_MAX:
            return None
        now_us = self._clock.now_us()
        row = await self._store.read(
            rows.find_session,
            token_hash(token),
            now_us=now_us,
            seen_after_us=self._seen_after_us(now_us),
        )
        if row is None:
            return None
        ip = ip or row.ip
        if now_us - row.seen_us > MINUTE_US or ip != row.ip:
            await self._store.write(rows.touch_session, row.id, now_us=now_us, ip=ip)
        return Identity(
            user_id=row.user_id,
            email=row.email,
            is_operator=bool(row.is_operator),
            account_id=row.account_id,
            account_state=row.account_state,
            session_id=row.id,
            confirmed_us=row.confirmed_us,
            has_second_factor=bool(row.has_second_factor),
            has_passkey=bool(row.has_passkey),
        )

    async def close(self, identity: Identity, caller: Caller) -> None:
        """Log out here."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            rows.end_session(conn, identity.session_id, now_us=now_us)
            self._record(conn, identity, caller, "session.close", now_us)

        await self._store.write(transaction)

    async def close_other(self, identity: Identity, session_id: str, caller: Caller) -> None:
        """Log out one of the user's other devices. Raises NotFound."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            if not rows.end_session_of(conn, identity.user_id, session_id, now_us=now_us):
                raise NotFound("There is no such session, or it has ended.")
            self._record(conn, identity, caller, "session.close_other", now_us, session_id)

        await self._store.write(transaction)

    async def close_all(
        self, identity: Identity, caller: Caller, *, except_current: bool = False
    ) -> None:
        """Log out everywhere, or everywhere else."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            but = identity.session_id if except_current else None
            rows.end_sessions(conn, identity.user_id, now_us=now_us, but=but)
            self._record(conn, identity, caller, "session.close_all", now_us)

        await self._store.write(transaction)

    async def list_open(self, identity: Identity) -> list[SessionView]:
        """The user's open sessions, the latest used first; at most 100."""
        now_us = self._clock.now_us()
        found = await self._store.read(
            rows.list_open,
            identity.user_id,
            now_us=now_us,
            seen_after_us=self._seen_after_us(now_us),
            limit=SESSIONS_LISTED_MAX,
        )
        return [
            SessionView(
                id=row.id,
                created_us=row.created_us,
                seen_us=row.seen_us,
                ip=row.ip,
                user_agent=row.user_agent,
                is_current=row.id == identity.session_id,
            )
            for row in found
        ]

    def _record(
        self,
        conn: Connection,
        identity: Identity,
        caller: Caller,
        action: str,
        now_us: int,
        session_id: str | None = None,
    ) -> None:
        record(
            conn,
            at_us=now_us,
            account_id=identity.account_id,
            caller=caller,
            action=action,
            target=session_id or identity.session_id,
        )
