"""Auto-top-ups as rows: their terms, the card that is kept, and who is due."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, update

from latchgate.storage.billing_tables import auto_top_ups, payments
from latchgate.storage.budgets import CREDIT
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import accounts, budget_windows, budgets

_tops, _payments, _windows = auto_top_ups.c, payments.c, budget_windows.c
#: States of a payment that count towards what a month has paid.
_COUNTED = ("open", "pending", "paid")


def find_top_up(conn: Connection, account_id: str) -> AnyRow | None:
    """An account's terms; None where it never had any."""
    return conn.execute(select(auto_top_ups).filter_by(account_id=account_id)).one_or_none()


def find_by_setup(conn: Connection, setup_id: str) -> AnyRow | None:
    """The terms that an owner confirms at Stripe."""
    return conn.execute(select(auto_top_ups).filter_by(setup_id=setup_id)).one_or_none()


def set_top_up(conn: Connection, account_id: str, **values: object) -> None:
    """Change an account's terms."""
    conn.execute(update(auto_top_ups).where(_tops.account_id == account_id).values(**values))


def replace_top_up(conn: Connection, account_id: str, **values: object) -> None:
    """Write an account's terms, in place of those that it had."""
    if find_top_up(conn, account_id) is None:
        conn.execute(insert(auto_top_ups).values(account_id=account_id, **values))
    else:
        set_top_up(conn, account_id, **values)


def list_due(conn: Connection, *, limit: int) -> Sequence[str]:
    """Accounts whose credit has fallen below their threshold, and for whom nothing is paid yet."""
    running = select(_payments.account_id).where(
        _payments.kind == "auto", _payments.state.in_(("open", "pending"))
    )
    query = (
        select(_tops.account_id)
        .join(accounts, accounts.c.id == _tops.account_id)
        .join(budgets, budgets.c.account_id == _tops.account_id)
        .join(budget_windows, _windows.budget_id == budgets.c.id)
        .where(
            _tops.state == "on",
            accounts.c.state == "active",
            accounts.c.closed_us.is_(None),
            budgets.c.kind == CREDIT,
            _windows.limit_nanos - _windows.spent_nanos < _tops.threshold_nanos,
            _tops.account_id.not_in(running),
        )
    )
    return conn.execute(query.order_by(_tops.account_id).limit(limit)).scalars().all()


def sum_paid(conn: Connection, account_id: str, *, since_us: int) -> int:
    """What was paid by itself since a moment, or is being paid."""
    query = select(func.coalesce(func.sum(_payments.amount_nanos), 0)).where(
        _payments.account_id == account_id,
        _payments.kind == "auto",
        _payments.state.in_(_COUNTED),
        _payments.created_us >= since_us,
    )
    return int(conn.execute(query).scalar_one())


def list_open(conn: Connection, *, tried_before_us: int, limit: int) -> Sequence[AnyRow]:
    """Auto payments whose end nobody knows and that were not asked for lately, with their card."""
    query = (
        select(payments, _tops.customer, _tops.payment_method)
        .join(auto_top_ups, _tops.account_id == _payments.account_id)
        .where(
            _payments.kind == "auto",
            _payments.state == "open",
            func.coalesce(_payments.tried_us, 0) < tried_before_us,
        )
    )
    return conn.execute(query.order_by(_payments.id).limit(limit)).all()
