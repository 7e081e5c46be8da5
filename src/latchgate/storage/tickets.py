"""One-time tickets as rows; one that is used is gone."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from latchgate.storage.factor_tables import tickets
from latchgate.storage.statements import AnyRow

_columns = tickets.c


def insert_ticket(conn: Connection, **values: object) -> None:
    """Write a new ticket's row."""
    conn.execute(insert(tickets).values(**values))


def find_ticket(conn: Connection, token_hash: bytes, purpose: str, *, now_us: int) -> AnyRow | None:
    """A ticket that can still be used."""
    query = select(tickets).where(
        _columns.token_hash == token_hash,
        _columns.purpose == purpose,
        _columns.expires_us > now_us,
    )
    return conn.execute(query).first()


def take_ticket(conn: Connection, token_hash: bytes, purpose: str, *, now_us: int) -> AnyRow | None:
    """Use a ticket up; None when it is unknown, used, or too old."""
    statement = (
        delete(tickets)
        .where(
            _columns.token_hash == token_hash,
            _columns.purpose == purpose,
            _columns.expires_us > now_us,
        )
        .returning(*_columns)
    )
    return conn.execute(statement).first()


def count_try(conn: Connection, token_hash: bytes) -> None:
    """Count a step that was tried with a ticket and failed."""
    conn.execute(
        update(tickets).where(_columns.token_hash == token_hash).values(tries=_columns.tries + 1)
    )


def delete_of_user(conn: Connection, user_id: str) -> None:
    """Make every ticket of a user useless."""
    conn.execute(delete(tickets).where(_columns.user_id == user_id))


def delete_expired(conn: Connection, *, now_us: int) -> None:
    """Sweep up what nobody can use any more."""
    conn.execute(delete(tickets).where(_columns.expires_us <= now_us))
