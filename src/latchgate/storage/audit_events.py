"""The audit log as rows: written with what they tell of, in one transaction, and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, insert, or_, select

from latchgate.domain.people import ADMIN_KEY
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import audit_events, memberships

#: Where somebody was, which an account's owner sees of what he did himself, or a stranger tried.
_PLACE = ("ip", "user_agent")


def insert_event(conn: Connection, **values: object) -> None:
    """Write one event."""
    conn.execute(insert(audit_events).values(**values))


def count_events(conn: Connection, account_id: str, action: str, *, since_us: int) -> int:
    """How often something was done with an account since then."""
    query = select(func.count()).where(
        audit_events.c.account_id == account_id,
        audit_events.c.at_us >= since_us,
        audit_events.c.action == action,
    )
    return conn.execute(query).scalar_one()


def list_events(
    conn: Connection,
    account_id: str | None,
    *,
    before: str | None = None,
    limit: int,
    is_for_operator: bool = False,
) -> Sequence[AnyRow]:
    """An account's events, newest first, older than the event ``before``; None: of no account.

    Where an operator sat when he did something is for operators alone.
    """
    columns = audit_events.c
    shown: list[ColumnElement[Any]] = list(columns)
    if not is_for_operator:
        shown = [_his_own(account_id, col) if col.name in _PLACE else col for col in columns]
    query = select(*shown).where(columns.account_id == account_id)
    if before is not None:
        at_us = (
            select(columns.at_us)
            .where(columns.id == before, columns.account_id == account_id)
            .scalar_subquery()
        )
        query = query.where(
            or_(columns.at_us < at_us, and_(columns.at_us == at_us, columns.id < before))
        )
    return conn.execute(query.order_by(columns.at_us.desc(), columns.id.desc()).limit(limit)).all()


def _his_own(account_id: str | None, column: ColumnElement[str]) -> ColumnElement[str]:
    """A column, empty where somebody did it who is no member of the account."""
    members = select(memberships.c.user_id).where(memberships.c.account_id == account_id)
    actor = audit_events.c.actor
    is_operators = or_(
        and_(actor.startswith("usr_", autoescape=True), actor.not_in(members)),
        actor.startswith(f"{ADMIN_KEY}_", autoescape=True),
    )
    return case((is_operators, ""), else_=column).label(column.name)
