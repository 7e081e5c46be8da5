"""The audit log as rows: written with what they tell of, in one transaction, and never changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, func, insert, or_, select

from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import audit_events


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
    conn: Connection, account_id: str, *, before: str | None = None, limit: int
) -> Sequence[AnyRow]:
    """An account's events, newest first, older than the event ``before``."""
    columns = audit_events.c
    query = select(audit_events).where(columns.account_id == account_id)
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
