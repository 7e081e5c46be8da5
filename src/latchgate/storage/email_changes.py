"""Changes of address as rows: both addresses confirm, each by a token of its own."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, or_, select, update

from latchgate.storage.factor_tables import email_changes
from latchgate.storage.statements import AnyRow

_columns = email_changes.c


def insert_change(conn: Connection, **values: object) -> None:
    """Write a new change's row."""
    conn.execute(insert(email_changes).values(**values))


def find_open(conn: Connection, user_id: str, *, now_us: int) -> AnyRow | None:
    """The change that a user is waiting for."""
    query = select(email_changes).where(
        _columns.user_id == user_id, _columns.ended_us.is_(None), _columns.expires_us > now_us
    )
    return conn.execute(query.order_by(_columns.created_us.desc())).first()


def find_by_token(conn: Connection, token_hash: bytes, *, now_us: int) -> AnyRow | None:
    """The open change that a token, not used so far, is of."""
    query = select(email_changes).where(
        or_(
            (_columns.old_token_hash == token_hash) & _columns.old_confirmed_us.is_(None),
            (_columns.new_token_hash == token_hash) & _columns.new_confirmed_us.is_(None),
        ),
        _columns.ended_us.is_(None),
        _columns.expires_us > now_us,
    )
    return conn.execute(query).first()


def list_changes(conn: Connection, user_id: str) -> Sequence[AnyRow]:
    """All of a user's changes, oldest first."""
    query = select(email_changes).where(_columns.user_id == user_id)
    return conn.execute(query.order_by(_columns.created_us)).all()


def confirm_change(conn: Connection, change_id: str, **values: object) -> AnyRow:
    """Note that one of the addresses has confirmed; the change as it is then."""
    statement = (
        update(email_changes).where(_columns.id == change_id).values(**values).returning(*_columns)
    )
    return conn.execute(statement).one()


def end_changes(conn: Connection, user_id: str, *, now_us: int) -> bool:
    """End every open change of a user: done, or called off. No when there is none."""
    ended = conn.execute(
        update(email_changes)
        .where(_columns.user_id == user_id, _columns.ended_us.is_(None))
        .values(ended_us=now_us)
    )
    return ended.rowcount > 0
