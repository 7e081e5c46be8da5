"""Payments as rows: what was asked for, what became of it, and what went back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from latchgate.storage.billing_tables import payment_events, payment_reversals, payments
from latchgate.storage.statements import AnyRow, insert_once

_payments, _reversals = payments.c, payment_reversals.c


def insert_payment(conn: Connection, **values: object) -> None:
    """Write a payment that is asked for."""
    conn.execute(insert(payments).values(**values))


def find_payment(conn: Connection, payment_id: str) -> AnyRow | None:
    """A payment, by our id."""
    return conn.execute(select(payments).where(_payments.id == payment_id)).one_or_none()


def find_by_intent(conn: Connection, payment_intent: str) -> AnyRow | None:
    """A payment, by the service's id of it."""
    query = select(payments).where(_payments.payment_intent == payment_intent)
    return conn.execute(query).one_or_none()


def list_payments(
    conn: Connection, account_id: str, *, before: str | None, limit: int
) -> Sequence[AnyRow]:
    """An account's payments, newest first, older than the payment ``before``."""
    query = select(payments).where(_payments.account_id == account_id)
    if before is not None:
        query = query.where(_payments.id < before)  # an id sorts by its age
    return conn.execute(query.order_by(_payments.id.desc()).limit(limit)).all()


def list_held(conn: Connection, *, limit: int) -> Sequence[AnyRow]:
    """Payments that are held for review, newest first."""
    query = select(payments).where(_payments.state == "review")
    return conn.execute(query.order_by(_payments.id.desc()).limit(limit)).all()


def keep_session(conn: Connection, payment_id: str, session_id: str) -> None:
    """Keep where a payment is to be made."""
    set_payment(conn, payment_id, session_id=session_id)


def set_payment(conn: Connection, payment_id: str, **values: object) -> None:
    """Change a payment's row."""
    conn.execute(update(payments).where(_payments.id == payment_id).values(**values))


def note_event(conn: Connection, event_id: str, type_: str, *, outcome: str, now_us: int) -> bool:
    """Keep that an event is done. False: it was done before, and nothing changed."""
    row = {"type": type_, "outcome": outcome, "received_us": now_us}
    return insert_once(conn, payment_events, id=event_id, **row)


def set_outcome(conn: Connection, event_id: str, outcome: str) -> None:
    """Keep what came of an event."""
    changed = update(payment_events).where(payment_events.c.id == event_id)
    conn.execute(changed.values(outcome=outcome))


def insert_reversal(conn: Connection, **values: object) -> bool:
    """Write a reversal. False: it is known already, and nothing changed."""
    return insert_once(conn, payment_reversals, **values)


def find_reversal(conn: Connection, reversal_id: str) -> AnyRow | None:
    """A reversal, by the service's id of it."""
    query = select(payment_reversals).where(_reversals.id == reversal_id)
    return conn.execute(query).one_or_none()


def list_reversals(conn: Connection, payment_intent: str) -> Sequence[AnyRow]:
    """A payment's reversals, told before it or after."""
    query = select(payment_reversals).where(_reversals.payment_intent == payment_intent)
    return conn.execute(query.order_by(_reversals.id)).all()


def set_reversal(conn: Connection, reversal_id: str, **values: object) -> None:
    """Change a reversal's row."""
    conn.execute(update(payment_reversals).where(_reversals.id == reversal_id).values(**values))
