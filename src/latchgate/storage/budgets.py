"""Budgets as rows: which bind an account, their limits, and their windows.

What a window has spent is, by definition, the sum of the charges of its account's calls that were
let in while it ran and are posted; a key's limit counts those of keys alone, not the console's own
(the playground's). Posting keeps it so; ``activate`` derives it, for a budget that
is switched on in the middle of a window.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, case, func, insert, select, update

from latchgate.domain.windows import Window
from latchgate.storage.api_keys import playground_ids
from latchgate.storage.statements import AnyRow, insert_once
from latchgate.storage.tables import budget_windows, budgets, usage_events

CREDIT, ACCOUNT_LIMIT, KEY_LIMIT = "credit", "account_limit", "key_limit"

_windows = budget_windows.c


def list_budgets(conn: Connection, account_id: str) -> Sequence[AnyRow]:
    """The budgets that bind an account: (id, kind, period, target, limit_nanos, …)."""
    query = select(budgets).where(
        budgets.c.account_id == account_id, budgets.c.active_since_us.is_not(None)
    )
    return conn.execute(query.order_by(budgets.c.kind, budgets.c.period)).all()


def find_budget(conn: Connection, account_id: str, kind: str, period: str) -> AnyRow | None:
    """A budget, on or off."""
    query = select(budgets).filter_by(account_id=account_id, kind=kind, period=period, target="")
    return conn.execute(query).one_or_none()


def get_credit_budget(conn: Connection, account_id: str) -> str:
    """The id of an account's credit budget."""
    query = select(budgets.c.id).filter_by(account_id=account_id, kind=CREDIT)
    budget_id: str = conn.execute(query).scalar_one()
    return budget_id


def insert_budget(
    conn: Connection, budget_id: str, account_id: str, kind: str, period: str
) -> None:
    """Write a budget that is off until it has a limit."""
    values = {"account_id": account_id, "kind": kind, "period": period, "target": ""}
    conn.execute(insert(budgets).values(id=budget_id, limit_nanos=0, **values))


def find_window(conn: Connection, window: Window) -> AnyRow | None:
    """A window's figures; None while nothing has happened in it."""
    query = select(budget_windows).where(
        _windows.budget_id == window.budget_id, _windows.starts_us == window.starts_us
    )
    return conn.execute(query).one_or_none()


def open_window(conn: Connection, window: Window) -> None:
    """Make a window's row, if its budget is on; doing it again changes nothing."""
    query = select(budgets.c.limit_nanos, budgets.c.account_id, budgets.c.kind).where(
        budgets.c.id == window.budget_id, budgets.c.active_since_us.is_not(None)
    )
    budget = conn.execute(query).one_or_none()
    if budget is None:
        return
    spent_nanos = _charged_in(conn, budget.account_id, budget.kind, window)
    insert_once(
        conn,
        budget_windows,
        budget_id=window.budget_id,
        starts_us=window.starts_us,
        ends_us=window.ends_us,
        limit_nanos=budget.limit_nanos,
        ceiling_nanos=max(budget.limit_nanos, spent_nanos),
        spent_nanos=spent_nanos,
        leased_nanos=0,
    )


def set_limit(
    conn: Connection, *, budget_id: str, window: Window, limit_nanos: int, now_us: int
) -> None:
    """Give a budget a limit from now on, in running windows too, switching it on if need be.

    A limit below what is spent and leased already binds new holds; the ceiling stays.
    """
    was_on, account_id, kind = conn.execute(
        select(budgets.c.active_since_us, budgets.c.account_id, budgets.c.kind).where(
            budgets.c.id == budget_id
        )
    ).one()
    since_us = was_on if was_on is not None else now_us
    conn.execute(
        update(budgets)
        .where(budgets.c.id == budget_id)
        .values(limit_nanos=limit_nanos, active_since_us=since_us)
    )
    open_window(conn, window)
    if find_window(conn, window) is None:
        raise LookupError(f"no window {window}")
    # Every window that runs: a change of time zone may have left two.
    running = select(budget_windows).where(
        _windows.budget_id == budget_id, _windows.ends_us > now_us
    )
    for row in conn.execute(running).all():
        spent_nanos = row.spent_nanos
        if was_on is None:  # what went by while the budget was off counts too
            spent_nanos = _charged_in(
                conn, account_id, kind, Window(budget_id, row.starts_us, row.ends_us)
            )
        conn.execute(
            update(budget_windows)
            .where(_windows.budget_id == budget_id, _windows.starts_us == row.starts_us)
            .values(
                limit_nanos=limit_nanos,
                spent_nanos=spent_nanos,
                ceiling_nanos=max(row.ceiling_nanos, limit_nanos, spent_nanos + row.leased_nanos),
            )
        )


def switch_off(conn: Connection, budget_id: str) -> None:
    """Let a budget bind nothing any more."""
    conn.execute(update(budgets).where(budgets.c.id == budget_id).values(active_since_us=None))


def raise_limit(conn: Connection, *, account_id: str, amount_nanos: int) -> None:
    """Add to an account's credit budget; a negative amount takes away, and binds new leases."""
    ceiling, raised = _windows.ceiling_nanos, _windows.limit_nanos + amount_nanos
    budget = select(budgets.c.id).filter_by(account_id=account_id, kind=CREDIT)
    conn.execute(
        update(budgets)
        .filter_by(account_id=account_id, kind=CREDIT)
        .values(limit_nanos=budgets.c.limit_nanos + amount_nanos)
    )
    conn.execute(
        update(budget_windows)
        .where(_windows.budget_id == budget.scalar_subquery())
        .values(limit_nanos=raised, ceiling_nanos=case((raised > ceiling, raised), else_=ceiling))
    )


def _charged_in(conn: Connection, account_id: str, kind: str, window: Window) -> int:
    query = select(func.coalesce(func.sum(usage_events.c.charge_nanos), 0)).where(
        usage_events.c.account_id == account_id,
        usage_events.c.started_us >= window.starts_us,
        usage_events.c.started_us < window.ends_us,
    )
    if kind == KEY_LIMIT:
        query = query.where(usage_events.c.api_key_id.not_in(playground_ids(conn, [account_id])))
    return int(conn.execute(query).scalar_one())
