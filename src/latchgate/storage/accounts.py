"""Users, accounts and the memberships between them, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from latchgate.storage.plan_tables import plans
from latchgate.storage.plans import bound_terms, with_plan
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import accounts, memberships, password_resets, users


def insert_user(conn: Connection, **values: object) -> None:
    """Write a new user's row."""
    conn.execute(insert(users).values(**values))


def insert_account(conn: Connection, **values: object) -> None:
    """Write a new account's row."""
    conn.execute(insert(accounts).values(**values))


def insert_membership(conn: Connection, **values: object) -> None:
    """Join a user and an account."""
    conn.execute(insert(memberships).values(**values))


def _people() -> Select[Any]:
    return (
        select(
            users.c.id.label("user_id"),
            users.c.email,
            users.c.password_hash,
            users.c.is_operator,
            accounts.c.id.label("account_id"),
            accounts.c.state,
            accounts.c.is_premium_on,
            accounts.c.time_zone,
            accounts.c.credit_line_nanos,
            accounts.c.requests_per_minute,
            accounts.c.tokens_per_minute,
            accounts.c.calls_at_once,
            accounts.c.created_us,
            accounts.c.closed_us,
        )
        .join(memberships, memberships.c.user_id == users.c.id)
        .join(accounts, accounts.c.id == memberships.c.account_id)
    )


def find_person(conn: Connection, email_key: str) -> AnyRow | None:
    """A user with his account, by the look-up spelling of his e-mail."""
    return conn.execute(_people().where(users.c.email_key == email_key)).first()


def find_person_by_id(conn: Connection, user_id: str) -> AnyRow | None:
    """A user with his account, by the user's id."""
    return conn.execute(_people().where(users.c.id == user_id)).first()


def find_owner(conn: Connection, account_id: str) -> AnyRow | None:
    """The user whose account it is."""
    is_owner = memberships.c.role == "owner"
    return conn.execute(_people().where(accounts.c.id == account_id, is_owner)).first()


def list_people(conn: Connection, *, limit: int) -> Sequence[AnyRow]:
    """Every user with his account, oldest first."""
    return conn.execute(_people().order_by(accounts.c.created_us).limit(limit)).all()


def set_password(conn: Connection, user_id: str, password_hash: str, *, now_us: int) -> None:
    """Change a user's password hash."""
    changed = {"password_hash": password_hash, "password_changed_us": now_us}
    conn.execute(update(users).where(users.c.id == user_id).values(**changed))


def set_email(conn: Connection, user_id: str, email: str, email_key: str) -> None:
    """Change a user's address."""
    changed = {"email": email, "email_key": email_key}
    conn.execute(update(users).where(users.c.id == user_id).values(**changed))


def close_account(conn: Connection, account_id: str, user_id: str, *, now_us: int) -> None:
    """Close an account for good, and forget who its user was."""
    # No look-up spelling of an address is an id, and no password has an empty hash.
    forgotten = {"email": "", "email_key": user_id, "password_hash": ""}
    conn.execute(update(users).where(users.c.id == user_id).values(**forgotten))
    set_account(conn, account_id, name="", state="suspended", closed_us=now_us)


def get_user(conn: Connection, user_id: str) -> AnyRow:
    """A user's row."""
    return conn.execute(select(users).where(users.c.id == user_id)).one()


def get_account(conn: Connection, account_id: str) -> AnyRow:
    """An account's row; its rates and premium are what binds it, with what its plan says."""
    bound = bound_terms()
    own = [column for column in accounts.c if column.name not in {term.name for term in bound}]
    query = with_plan(select(*own, *bound, plans.c.name.label("plan"), plans.c.has_premium))
    return conn.execute(query.where(accounts.c.id == account_id)).one()


def get_time_zone(conn: Connection, account_id: str) -> str:
    """The time zone at whose midnight an account's budgets turn over."""
    time_zone: str = conn.execute(
        select(accounts.c.time_zone).where(accounts.c.id == account_id)
    ).scalar_one()
    return time_zone


def get_credit_line(conn: Connection, account_id: str) -> int:
    """How far below zero an account may go, in nano-USD."""
    line_nanos: int = conn.execute(
        select(accounts.c.credit_line_nanos).where(accounts.c.id == account_id)
    ).scalar_one()
    return line_nanos


def set_account(conn: Connection, account_id: str, **values: object) -> None:
    """Change an account's row."""
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(**values))


def insert_reset(conn: Connection, **values: object) -> None:
    """Write a password reset that may be redeemed once."""
    conn.execute(insert(password_resets).values(**values))


def redeem_reset(conn: Connection, token_hash: bytes, *, now_us: int) -> str | None:
    """Use a password reset up; the user's id, or None when it is unknown, used or expired."""
    columns = password_resets.c
    redeemed = conn.execute(
        update(password_resets)
        .where(
            columns.token_hash == token_hash,
            columns.used_us.is_(None),
            columns.expires_us > now_us,
        )
        .values(used_us=now_us)
        .returning(columns.user_id)
    ).scalar_one_or_none()
    user_id: str | None = redeemed
    return user_id


def void_resets(conn: Connection, user_id: str, *, now_us: int) -> None:
    """Make every open password reset of a user useless."""
    columns = password_resets.c
    conn.execute(
        update(password_resets)
        .where(columns.user_id == user_id, columns.used_us.is_(None))
        .values(used_us=now_us)
    )
