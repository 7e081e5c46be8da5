"""Passkeys as rows."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from latchgate.storage.factor_tables import passkeys
from latchgate.storage.statements import AnyRow

_columns = passkeys.c


def insert_passkey(conn: Connection, **values: object) -> None:
    """Write a new passkey's row."""
    conn.execute(insert(passkeys).values(**values))


def find_by_credential(conn: Connection, credential_id: bytes) -> AnyRow | None:
    """A passkey by the id that its authenticator gave it."""
    return conn.execute(select(passkeys).where(_columns.credential_id == credential_id)).first()


def find_passkey(conn: Connection, user_id: str, passkey_id: str) -> AnyRow | None:
    """One of a user's passkeys."""
    query = select(passkeys).where(_columns.id == passkey_id, _columns.user_id == user_id)
    return conn.execute(query).first()


def list_passkeys(conn: Connection, user_id: str) -> Sequence[AnyRow]:
    """A user's passkeys, oldest first."""
    query = select(passkeys).where(_columns.user_id == user_id)
    return conn.execute(query.order_by(_columns.created_us, _columns.id)).all()


def count_passkeys(conn: Connection, user_id: str) -> int:
    """How many passkeys a user has."""
    query = select(func.count()).where(_columns.user_id == user_id)
    count: int = conn.execute(query).scalar_one()
    return count


def use_passkey(conn: Connection, passkey_id: str, *, sign_count: int, now_us: int) -> bool:
    """Note a use. No when the count has not risen: the answer was used before, or a copy gave it.

    Authenticators that do not count say 0, always.
    """
    used = conn.execute(
        update(passkeys)
        .where(
            _columns.id == passkey_id,
            or_(_columns.sign_count < sign_count, _columns.sign_count + sign_count == 0),
        )
        .values(sign_count=sign_count, used_us=now_us)
    )
    return used.rowcount == 1


def rename_passkey(conn: Connection, passkey_id: str, name: str) -> None:
    """Give a passkey another name."""
    conn.execute(update(passkeys).where(_columns.id == passkey_id).values(name=name))


def delete_passkey(conn: Connection, passkey_id: str) -> None:
    """Forget a passkey: it opens nothing any more."""
    conn.execute(delete(passkeys).where(_columns.id == passkey_id))


def delete_of_user(conn: Connection, user_id: str) -> None:
    """Forget all of a user's passkeys."""
    conn.execute(delete(passkeys).where(_columns.user_id == user_id))
