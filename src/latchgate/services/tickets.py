"""Tickets: random tokens that let whoever holds one take one step, once, within minutes.

Between a password and its second factor, and between a passkey's challenge and its answer. Only
the hash is kept; a ticket that is used is gone, and one that was tried too often opens nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latchgate.clock import MINUTE_US
from latchgate.domain.secrets import mint_token
from latchgate.services.sessions import TOKEN_CHARS_MAX, token_hash
from latchgate.storage import tickets as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

TICKET_MINUTES = 10
TRIES_MAX = 5

#: The step that each opens.
LOGIN_CODE = "login_code"
PASSKEY_LOGIN = "passkey_login"
PASSKEY_NEW = "passkey_new"
PASSKEY_CONFIRM = "passkey_confirm"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says to the step that it opens."""

    user_id: str | None
    details: dict[str, Any]


def issue(
    conn: Connection,
    purpose: str,
    *,
    user_id: str | None,
    details: dict[str, Any] | None = None,
    now_us: int,
) -> str:
    """Make a ticket inside the caller's transaction; its token is in one answer alone."""
    rows.delete_expired(conn, now_us=now_us)
    token = mint_token()
    rows.insert_ticket(
        conn,
        token_hash=token_hash(token),
        purpose=purpose,
        user_id=user_id,
        details=json.dumps(details or {}),
        tries=0,
        expires_us=now_us + TICKET_MINUTES * MINUTE_US,
    )
    return token


def find(conn: Connection, token: str, purpose: str, *, now_us: int) -> Ticket | None:
    """What a ticket says, without using it; None when it opens nothing, or no longer."""
    if not 0 < len(token) <= TOKEN_CHARS_MAX:
        return None
    row = rows.find_ticket(conn, token_hash(token), purpose, now_us=now_us)
    if row is None or row.tries >= TRIES_MAX:
        return None
    return Ticket(row.user_id, json.loads(row.details))


def take(conn: Connection, token: str, purpose: str, *, now_us: int) -> Ticket | None:
    """Use a ticket up; None as ``find`` says it."""
    found = find(conn, token, purpose, now_us=now_us)
    taken = rows.take_ticket(conn, token_hash(token), purpose, now_us=now_us) if found else None
    return found if taken is not None else None


def count_try(conn: Connection, token: str) -> None:
    """A step was tried with a ticket and failed: five times, and it opens nothing any more."""
    rows.count_try(conn, token_hash(token))
