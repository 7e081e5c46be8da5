"""The audit log as rows: written with what they tell of, in one transaction, and never changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import audit_events


def insert_event(conn: Connection, **values: object) -> None:
    """Write one event."""
    conn.execute(insert(audit_events).values(**values))


def list_events(conn: Connection, account_id: str, *, limit: int) -> Sequence[AnyRow]:
    """An account's newest events."""
    columns = audit_events.c
    query = select(audit_events).where(columns.account_id == account_id)
    return conn.execute(query.order_by(columns.at_us.desc(), columns.id.desc()).limit(limit)).all()
