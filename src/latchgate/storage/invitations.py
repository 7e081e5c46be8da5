"""Invitations as rows."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from latchgate.storage.tables import invitations

_columns = invitations.c


def insert_invitation(conn: Connection, **values: object) -> None:
    """Write a new invitation's row."""
    conn.execute(insert(invitations).values(**values))


def is_invited(conn: Connection, token_hash: bytes, email_key: str, *, now_us: int) -> bool:
    """Whether an invitation may be used by this address."""
    found = conn.execute(select(_columns.id).where(*_usable(token_hash, email_key, now_us)))
    return found.first() is not None


def _usable(token_hash: bytes, email_key: str, now_us: int) -> tuple[ColumnElement[bool], ...]:
    return (
        _columns.token_hash == token_hash,
        _columns.used_us.is_(None),
        _columns.expires_us > now_us,
        or_(_columns.email_key.is_(None), _columns.email_key == email_key),
    )


def redeem_invitation(conn: Connection, token_hash: bytes, email_key: str, *, now_us: int) -> bool:
    """Use an invitation up. False: it is unknown, used, expired, or another address's."""
    redeemed = conn.execute(
        update(invitations).where(*_usable(token_hash, email_key, now_us)).values(used_us=now_us)
    )
    return redeemed.rowcount == 1
