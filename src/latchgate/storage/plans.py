"""Plans as rows, and what they make of an account's terms.

An account's own rates go before its plan's, and its plan's before the configuration's. Premium
needs both the owner's switch and the plan. A credit line is the account's own row: who has his
plan's line follows it when it changes, and who was given another keeps that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

from latchgate.storage.plan_tables import account_plans, plans
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import accounts

DEFAULT_PLAN = "pln_default"
RATES = ("requests_per_minute", "tokens_per_minute", "calls_at_once")


def with_plan(query: Select[Any]) -> Select[Any]:
    """A query over accounts, joined with each one's plan."""
    has = account_plans.c.account_id == accounts.c.id
    is_his = plans.c.id == func.coalesce(account_plans.c.plan_id, DEFAULT_PLAN)
    return query.outerjoin(account_plans, has).join(plans, is_his)


def bound_terms() -> list[ColumnElement[Any]]:
    """What binds an account, of its own terms and of its plan's, under the account's names."""
    rates = [func.coalesce(accounts.c[name], plans.c[name]).label(name) for name in RATES]
    premium = accounts.c.is_premium_on * plans.c.has_premium
    return [premium.label("is_premium_on"), *rates]


def insert_plan(conn: Connection, **values: object) -> None:
    """Write a new plan's row."""
    conn.execute(insert(plans).values(**values))


def set_plan(conn: Connection, plan_id: str, **values: object) -> None:
    """Change a plan's row."""
    conn.execute(update(plans).where(plans.c.id == plan_id).values(**values))


def find_plan(conn: Connection, name: str) -> AnyRow | None:
    """A plan by its name."""
    return conn.execute(select(plans).where(plans.c.name == name)).first()


def get_plan(conn: Connection, plan_id: str) -> AnyRow:
    """A plan by its id."""
    return conn.execute(select(plans).where(plans.c.id == plan_id)).one()


def get_plan_of(conn: Connection, account_id: str) -> AnyRow:
    """The plan that an account has."""
    query = with_plan(select(plans).select_from(accounts)).where(accounts.c.id == account_id)
    return conn.execute(query).one()


def list_plans(conn: Connection) -> Sequence[AnyRow]:
    """Every plan but the default one with how many accounts have it, after the default one."""
    given = (
        select(account_plans.c.plan_id, func.count().label("accounts"))
        .group_by(account_plans.c.plan_id)
        .subquery()
    )
    query = (
        select(plans, func.coalesce(given.c.accounts, 0).label("accounts"))
        .outerjoin(given, given.c.plan_id == plans.c.id)
        .order_by(plans.c.id != DEFAULT_PLAN, plans.c.name)
    )
    return conn.execute(query).all()


def count_plans(conn: Connection) -> int:
    """How many plans there are."""
    return int(conn.execute(select(func.count()).select_from(plans)).scalar_one())


def count_default(conn: Connection) -> int:
    """How many accounts that are not closed have the default plan."""
    query = with_plan(select(func.count()).select_from(accounts))
    query = query.where(plans.c.id == DEFAULT_PLAN, accounts.c.closed_us.is_(None))
    return int(conn.execute(query).scalar_one())


def list_accounts(conn: Connection, plan_id: str) -> Sequence[AnyRow]:
    """The accounts that have a plan, each with its credit line."""
    query = with_plan(select(accounts.c.id, accounts.c.credit_line_nanos))
    return conn.execute(query.where(plans.c.id == plan_id)).all()


def assign(conn: Connection, account_id: str, plan_id: str) -> None:
    """Let an account have a plan from now on."""
    changed = conn.execute(
        update(account_plans)
        .where(account_plans.c.account_id == account_id)
        .values(plan_id=plan_id)
    )
    if not changed.rowcount:
        conn.execute(insert(account_plans).values(account_id=account_id, plan_id=plan_id))
