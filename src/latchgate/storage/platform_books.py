"""The platform's side of the books: what its ledger accounts and its customers' add up to."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, case, cast, func, select

from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import Int64, accounts, ledger_accounts, postings


def sum_by_kind(conn: Connection) -> Sequence[AnyRow]:
    """Each kind of ledger account with its sum, and what of it is above and below zero."""
    balance = ledger_accounts.c.balance_nanos
    return conn.execute(
        select(
            ledger_accounts.c.kind,
            _sum(balance).label("balance_nanos"),
            _sum(case((balance > 0, balance), else_=0)).label("above_nanos"),
            _sum(case((balance < 0, balance), else_=0)).label("below_nanos"),
            func.count().label("ledger_accounts"),
        ).group_by(ledger_accounts.c.kind)
    ).all()


def sum_postings(conn: Connection) -> Sequence[AnyRow]:
    """Each kind of posting: how many, and what they add up to for their accounts."""
    columns = postings.c
    return conn.execute(
        select(columns.kind, func.count().label("count"), _sum(columns.amount_nanos).label("nanos"))
        .group_by(columns.kind)
        .order_by(columns.kind)
    ).all()


def count_accounts(conn: Connection) -> int:
    """Accounts that are not closed."""
    query = select(func.count()).select_from(accounts).where(accounts.c.closed_us.is_(None))
    return conn.execute(query).scalar_one()


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(column), 0), Int64)
