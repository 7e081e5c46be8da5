"""Second factors and recovery codes as rows."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select, update

from latchgate.storage.factor_tables import recovery_codes, totp_factors
from latchgate.storage.statements import AnyRow

_totp, _codes = totp_factors.c, recovery_codes.c


def find_totp(conn: Connection, user_id: str) -> AnyRow | None:
    """A user's app, whether it counts already or not."""
    return conn.execute(select(totp_factors).where(_totp.user_id == user_id)).first()


def replace_totp(conn: Connection, user_id: str, **values: object) -> None:
    """Write a user's app in place of whatever was there."""
    delete_totp(conn, user_id)
    conn.execute(insert(totp_factors).values(user_id=user_id, **values))


def confirm_totp(conn: Connection, user_id: str, *, now_us: int) -> None:
    """The app has shown that it has the secret: from now on it counts."""
    conn.execute(update(totp_factors).where(_totp.user_id == user_id).values(confirmed_us=now_us))


def use_step(conn: Connection, user_id: str, step: int) -> bool:
    """Use a time step up. No when it, or a later one, was used before: a code works once."""
    used = conn.execute(
        update(totp_factors)
        .where(_totp.user_id == user_id, _totp.used_step < step)
        .values(used_step=step)
    )
    return used.rowcount == 1


def delete_totp(conn: Connection, user_id: str) -> None:
    """Forget a user's app."""
    conn.execute(delete(totp_factors).where(_totp.user_id == user_id))


def insert_codes(conn: Connection, user_id: str, hashes: list[bytes], *, now_us: int) -> None:
    """Write a user's recovery codes in place of those that he had."""
    delete_codes(conn, user_id)
    conn.execute(
        insert(recovery_codes),
        [{"code_hash": code, "user_id": user_id, "created_us": now_us} for code in hashes],
    )


def use_code(conn: Connection, user_id: str, code_hash: bytes, *, now_us: int) -> bool:
    """Use a recovery code up. No when it is unknown or was used before."""
    used = conn.execute(
        update(recovery_codes)
        .where(_codes.code_hash == code_hash, _codes.user_id == user_id, _codes.used_us.is_(None))
        .values(used_us=now_us)
    )
    return used.rowcount == 1


def count_codes(conn: Connection, user_id: str) -> int:
    """How many recovery codes can still be used."""
    query = select(func.count()).where(_codes.user_id == user_id, _codes.used_us.is_(None))
    left: int = conn.execute(query).scalar_one()
    return left


def delete_codes(conn: Connection, user_id: str) -> None:
    """Forget a user's recovery codes."""
    conn.execute(delete(recovery_codes).where(_codes.user_id == user_id))
