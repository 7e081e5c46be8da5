"""Accounts as an operator finds them: a page of them, with what each has and uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, Subquery, cast, func, or_, select

from latchgate.storage.budgets import CREDIT
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import (
    Int64,
    accounts,
    api_keys,
    budget_windows,
    budgets,
    memberships,
    usage_days,
    users,
)


def list_accounts(
    conn: Connection, *, asked: str, before: str | None, limit: int, since_us: int
) -> Sequence[AnyRow]:
    """Accounts with their users, the newest first, made before the account ``before``.

    ``asked`` is a part of an address in its look-up spelling, or the id of an account, a user or a
    key, or a key's public part; empty is everybody. ``since_us`` begins the day from which on
    ``spent_nanos`` counts.
    """
    query = (
        select(
            accounts.c.id.label("account_id"),
            accounts.c.state,
            accounts.c.created_us,
            accounts.c.closed_us,
            accounts.c.credit_line_nanos,
            users.c.email,
            users.c.is_operator,
        )
        .join(memberships, memberships.c.account_id == accounts.c.id)
        .join(users, users.c.id == memberships.c.user_id)
    )
    if asked:
        its_keys = select(api_keys.c.account_id).where(
            or_(api_keys.c.id == asked, api_keys.c.public_id == asked)
        )
        query = query.where(
            or_(
                accounts.c.id == asked,
                users.c.id == asked,
                accounts.c.id.in_(its_keys),
                # A closed account's user has his id where others have an address.
                accounts.c.closed_us.is_(None)
                & users.c.email_key.contains(asked.casefold(), autoescape=True),
            )
        )
    if before is not None:
        query = query.where(accounts.c.id < before)
    chosen = query.order_by(accounts.c.id.desc()).limit(limit).subquery("chosen")
    return conn.execute(_with_figures(chosen, since_us).order_by(chosen.c.account_id.desc())).all()


def _with_figures(chosen: Subquery, since_us: int) -> Select[Any]:
    """A few accounts with their credit, what they spent, and when they were last used."""
    window, used = budget_windows.c, usage_days.c
    spent = (
        select(cast(func.coalesce(func.sum(used.charge_nanos), 0), Int64))
        .where(used.account_id == chosen.c.account_id, used.starts_us >= since_us)
        .scalar_subquery()
    )
    newest = usage_days.alias("newest").c
    last_day = (
        select(func.max(newest.starts_us))
        .where(newest.account_id == chosen.c.account_id)
        .scalar_subquery()
    )
    last_used = (
        select(func.max(used.last_used_us))
        .where(used.account_id == chosen.c.account_id, used.starts_us == last_day)
        .scalar_subquery()
    )
    left = window.limit_nanos - chosen.c.credit_line_nanos - window.spent_nanos
    return (
        select(
            chosen,
            left.label("credit_left_nanos"),
            spent.label("spent_nanos"),
            last_used.label("last_used_us"),
        )
        .join(budgets, (budgets.c.account_id == chosen.c.account_id) & (budgets.c.kind == CREDIT))
        .join(budget_windows, window.budget_id == budgets.c.id)
    )
