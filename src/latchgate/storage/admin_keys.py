"""Operators' keys as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from latchgate.storage.operator_tables import admin_keys
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import accounts, memberships, users

_columns = admin_keys.c


def insert_key(conn: Connection, **values: object) -> None:
    """Write a new key's row."""
    conn.execute(insert(admin_keys).values(**values))


def _keys() -> Select[Any]:
    """Keys with what their operators are now."""
    return (
        select(
            admin_keys,
            users.c.email,
            users.c.is_operator,
            accounts.c.id.label("account_id"),
            accounts.c.state.label("account_state"),
        )
        .join(users, users.c.id == _columns.user_id)
        .join(memberships, memberships.c.user_id == users.c.id)
        .join(accounts, accounts.c.id == memberships.c.account_id)
    )


def find_by_hash(conn: Connection, secret_hash: bytes) -> AnyRow | None:
    """The key that has this secret."""
    return conn.execute(_keys().where(_columns.secret_hash == secret_hash)).first()


def find_key(conn: Connection, key_id: str) -> AnyRow | None:
    """A key by its id."""
    return conn.execute(_keys().where(_columns.id == key_id)).first()


def has_nonce(conn: Connection, nonce: str) -> bool:
    """Whether this form has made its key."""
    found = conn.execute(select(_columns.id).where(_columns.form_nonce == nonce))
    return found.first() is not None


def count_usable(conn: Connection, *, now_us: int) -> int:
    """How many keys have neither ended nor expired."""
    query = select(func.count()).where(
        _columns.revoked_us.is_(None), func.coalesce(_columns.expires_us, now_us + 1) > now_us
    )
    count: int = conn.execute(query).scalar_one()
    return count


def list_keys(conn: Connection, *, before: str | None, limit: int) -> Sequence[AnyRow]:
    """Every key, the newest first, made before the key ``before``."""
    query = _keys()
    if before is not None:
        query = query.where(_columns.id < before)
    return conn.execute(query.order_by(_columns.id.desc()).limit(limit)).all()


def list_keys_of(conn: Connection, user_id: str) -> Sequence[AnyRow]:
    """The keys that act for a user, oldest first."""
    query = select(admin_keys).where(_columns.user_id == user_id)
    return conn.execute(query.order_by(_columns.id)).all()


def revoke(conn: Connection, key_id: str, *, now_us: int) -> bool:
    """End a key. False: it had ended before."""
    ended = conn.execute(
        update(admin_keys)
        .where(_columns.id == key_id, _columns.revoked_us.is_(None))
        .values(revoked_us=now_us)
    )
    return ended.rowcount == 1


def touch(conn: Connection, key_id: str, *, now_us: int, ip: str) -> None:
    """Note that a key was used, and from where."""
    used = {"last_used_us": now_us, "last_used_ip": ip}
    conn.execute(update(admin_keys).where(_columns.id == key_id).values(**used))
