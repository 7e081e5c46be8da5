"""What state a key is in, and how its owner sees it.

A row says what was done with the key; a date of expiry that has come ends it without any row being
written. So its state is what the row and the clock say together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.errors import NotFound
from latchgate.domain.key_terms import KeyTerms
from latchgate.domain.secrets import KEY_PREFIX
from latchgate.storage import api_keys as rows
from latchgate.storage.key_terms import terms_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.storage.statements import AnyRow

#: What a key is that ended by itself.
EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as its owner may see it: everything but the secret."""

    id: str
    name: str
    public_id: str
    last_four: str
    state: str
    created_us: int
    ended_us: int | None
    last_used_us: int | None
    last_app: str
    spent_nanos: int
    calls: int
    terms: KeyTerms

    @property
    def masked(self) -> str:
        """Public part and last four: ``sk-lg-4tQ9…x7Kd``."""
        return f"{KEY_PREFIX}{self.public_id[:4]}…{self.last_four}"

    @property
    def is_usable(self) -> bool:
        """Whether a call with this key is answered."""
        return self.state in rows.USABLE


def state_of(row: AnyRow, now_us: int) -> str:
    """What a key is now: one whose date of expiry came before any other end has expired."""
    ended_us = now_us if row.ended_us is None else row.ended_us
    has_expired = row.expires_us is not None and row.expires_us <= ended_us
    return EXPIRED if has_expired else str(row.state)


def view_of(row: AnyRow, now_us: int) -> KeyView:
    """A key as its owner may see it now, of its row with what it has cost."""
    state = state_of(row, now_us)
    return KeyView(
        id=row.id,
        name=row.name,
        public_id=row.public_id,
        last_four=row.last_four,
        state=state,
        created_us=row.created_us,
        ended_us=row.expires_us if state == EXPIRED else row.ended_us,
        last_used_us=row.last_used_us,
        last_app=row.last_app,
        spent_nanos=row.spent_nanos,
        calls=row.calls,
        terms=terms_of(row),
    )


def find_owned(conn: Connection, account_id: str | None, key_id: str, now_us: int) -> AnyRow:
    """A usable key's row, if the account has it; None is the operator's. Raises NotFound."""
    key = rows.find_key(conn, key_id)
    is_owned = key is not None and account_id in (None, key.account_id)
    if key is None or not is_owned or state_of(key, now_us) not in rows.USABLE:
        raise NotFound("There is no such key.")
    return key


def end_expired(conn: Connection, account_id: str, now_us: int) -> None:
    """Let go of the places of keys that have expired: there is one live and one pending one."""
    for state in rows.USABLE:
        key = rows.find_usable(conn, account_id, state)
        if key is not None and state_of(key, now_us) == EXPIRED:
            rows.set_state(conn, key.id, rows.REVOKED, ended_us=key.expires_us)
