"""Sessions as rows: who is logged in, on what, until when."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, exists, insert, select, update

from latchgate.storage.factor_tables import passkeys, totp_factors
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import accounts, memberships, sessions, users

_columns = sessions.c


def insert_session(conn: Connection, **values: object) -> None:
    """Write a new session's row."""
    conn.execute(insert(sessions).values(**values))


def find_session(
    conn: Connection, token_hash: bytes, *, now_us: int, seen_after_us: int
) -> AnyRow | None:
    """An open session with its user and account."""
    query = (
        select(
            _columns.id,
            _columns.seen_us,
            _columns.ip,
            _columns.confirmed_us,
            users.c.id.label("user_id"),
            users.c.email,
            users.c.is_operator,
            accounts.c.id.label("account_id"),
            accounts.c.state.label("account_state"),
            exists()
            .where(totp_factors.c.user_id == users.c.id, totp_factors.c.confirmed_us.is_not(None))
            .label("has_second_factor"),
            exists().where(passkeys.c.user_id == users.c.id).label("has_passkey"),
        )
        .join(users, users.c.id == _columns.user_id)
        .join(memberships, memberships.c.user_id == users.c.id)
        .join(accounts, accounts.c.id == memberships.c.account_id)
        .where(
            _columns.token_hash == token_hash,
            _columns.ended_us.is_(None),
            _columns.expires_us > now_us,
            _columns.seen_us > seen_after_us,
        )
    )
    return conn.execute(query).first()


def touch_session(conn: Connection, session_id: str, *, now_us: int, ip: str) -> None:
    """Note that a session was used, and from where."""
    conn.execute(update(sessions).where(_columns.id == session_id).values(seen_us=now_us, ip=ip))


def renew_session(conn: Connection, session_id: str, token_hash: bytes, *, now_us: int) -> None:
    """Its user has shown again that it is he: another token, and the old one opens nothing."""
    conn.execute(
        update(sessions)
        .where(_columns.id == session_id)
        .values(token_hash=token_hash, confirmed_us=now_us, seen_us=now_us)
    )


def list_open(
    conn: Connection, user_id: str, *, now_us: int, seen_after_us: int, limit: int
) -> Sequence[AnyRow]:
    """A user's open sessions, the latest used first."""
    query = select(sessions).where(
        _columns.user_id == user_id,
        _columns.ended_us.is_(None),
        _columns.expires_us > now_us,
        _columns.seen_us > seen_after_us,
    )
    return conn.execute(query.order_by(_columns.seen_us.desc()).limit(limit)).all()


def list_all(conn: Connection, user_id: str) -> Sequence[AnyRow]:
    """All of a user's sessions, ended ones too, oldest first."""
    query = select(sessions).where(_columns.user_id == user_id)
    return conn.execute(query.order_by(_columns.created_us)).all()


def end_session(conn: Connection, session_id: str, *, now_us: int) -> None:
    """End one session."""
    conn.execute(
        update(sessions)
        .where(_columns.id == session_id, _columns.ended_us.is_(None))
        .values(ended_us=now_us)
    )


def end_session_of(conn: Connection, user_id: str, session_id: str, *, now_us: int) -> bool:
    """End one session if it is this user's; no when there is none to end."""
    ended = conn.execute(
        update(sessions)
        .where(_columns.id == session_id, _columns.user_id == user_id, _columns.ended_us.is_(None))
        .values(ended_us=now_us)
    )
    return ended.rowcount == 1


def end_sessions(conn: Connection, user_id: str, *, now_us: int, but: str | None = None) -> None:
    """End all of a user's sessions, or all but one."""
    statement = update(sessions).where(_columns.user_id == user_id, _columns.ended_us.is_(None))
    if but is not None:
        statement = statement.where(_columns.id != but)
    conn.execute(statement.values(ended_us=now_us))
