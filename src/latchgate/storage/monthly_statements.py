"""Monthly statements as rows: written once when a month closes, and only read after that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    exists,
    func,
    insert,
    literal,
    select,
)

from latchgate.storage.billing_tables import (
    monthly_statements,
    statement_postings,
    statement_usage,
)
from latchgate.storage.statements import AnyRow, insert_once
from latchgate.storage.tables import (
    accounts,
    memberships,
    postings,
    prices,
    usage_events,
    users,
)

_statements, _postings, _listed = monthly_statements.c, postings.c, statement_postings.c
_used, _usage = usage_events.c, statement_usage.c
_COUNTED = ("input_tokens", "cached_tokens", "output_tokens", "charge_nanos")


def find_last(conn: Connection, account_id: str) -> AnyRow | None:
    """An account's newest statement."""
    query = select(monthly_statements).where(_statements.account_id == account_id)
    return conn.execute(query.order_by(_statements.number.desc()).limit(1)).one_or_none()


def find_statement(conn: Connection, account_id: str, statement_id: str) -> AnyRow | None:
    """One statement of an account."""
    query = select(monthly_statements).where(
        _statements.id == statement_id, _statements.account_id == account_id
    )
    return conn.execute(query).one_or_none()


def list_statements(
    conn: Connection, account_id: str, *, before: str | None, limit: int
) -> Sequence[AnyRow]:
    """An account's statements, newest first, older than the statement ``before``."""
    query = select(monthly_statements).where(_statements.account_id == account_id)
    if before is not None:
        number = (
            select(_statements.number)
            .where(_statements.id == before, _statements.account_id == account_id)
            .scalar_subquery()
        )
        query = query.where(_statements.number < number)
    return conn.execute(query.order_by(_statements.number.desc()).limit(limit)).all()


def list_behind(conn: Connection, *, ended_before_us: int, after: str, limit: int) -> Sequence[str]:
    """Accounts, by id, whose newest statement ended before a moment, or that have none so old."""
    ended_us = func.coalesce(func.max(_statements.ends_us), accounts.c.created_us)
    query = (
        select(accounts.c.id)
        .outerjoin(monthly_statements, _statements.account_id == accounts.c.id)
        .where(accounts.c.id > after)
        .group_by(accounts.c.id, accounts.c.created_us)
        .having(ended_us < ended_before_us)
    )
    return conn.execute(query.order_by(accounts.c.id).limit(limit)).scalars().all()


def find_holder(conn: Connection, account_id: str) -> str:
    """The e-mail of an account's owner; empty where it has none."""
    query = (
        select(users.c.email)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(memberships.c.account_id == account_id, memberships.c.role == "owner")
        .order_by(users.c.created_us)
        .limit(1)
    )
    return str(conn.execute(query).scalar_one_or_none() or "")


def _unlisted(account_id: str, from_us: int, ends_us: int) -> ColumnElement[bool]:
    return and_(
        _postings.account_id == account_id,
        _postings.created_us >= from_us,
        _postings.created_us < ends_us,
        ~exists().where(_listed.posting_id == _postings.id),
    )


def sum_unlisted(
    conn: Connection, account_id: str, *, from_us: int, ends_us: int
) -> tuple[int, int]:
    """The postings of a time that are on no statement yet: their sum, and the first one's time."""
    query = select(
        func.coalesce(func.sum(_postings.amount_nanos), 0),
        func.coalesce(func.min(_postings.created_us), ends_us),
    ).where(_unlisted(account_id, from_us, ends_us))
    total, first_us = conn.execute(query).one()
    return int(total), int(first_us)


def insert_statement(conn: Connection, **values: object) -> bool:
    """Write a statement's row. False: its number is taken, and nothing changed."""
    return insert_once(conn, monthly_statements, **values)


def list_postings_on(
    conn: Connection, statement_id: str, account_id: str, *, from_us: int, ends_us: int
) -> None:
    """Put the postings of a time that are on no statement yet on this one."""
    found = select(literal(statement_id), _postings.id).where(
        _unlisted(account_id, from_us, ends_us)
    )
    conn.execute(insert(statement_postings).from_select(["statement_id", "posting_id"], found))


def add_usage(
    conn: Connection, statement_id: str, account_id: str, *, day: str, from_us: int, ends_us: int
) -> None:
    """Write what the usage that was posted on one day adds up to."""
    found = (
        select(
            literal(statement_id),
            literal(day),
            _used.model,
            prices.c.service_tier,
            func.count(),
            *(func.sum(_used[name]) for name in _COUNTED),
        )
        .select_from(postings)
        .join(statement_postings, _listed.posting_id == _postings.id)
        .join(usage_events, _used.posting_id == _postings.id)
        .join(prices, prices.c.id == _used.price_id)
        .where(
            _listed.statement_id == statement_id,
            _postings.account_id == account_id,
            _postings.created_us >= from_us,
            _postings.created_us < ends_us,
        )
        .group_by(_used.model, prices.c.service_tier)
    )
    conn.execute(insert(statement_usage).from_select(statement_usage.c.keys(), found))


def list_credits(conn: Connection, account_id: str, statement_id: str) -> Sequence[Any]:
    """The postings of a statement that are not usage, oldest first."""
    query = (
        select(postings)
        .join(statement_postings, _listed.posting_id == _postings.id)
        .where(
            _postings.account_id == account_id,
            _postings.kind != "usage",
            _listed.statement_id == statement_id,
        )
    )
    return conn.execute(query.order_by(_postings.created_us, _postings.id)).all()


def list_usage(conn: Connection, statement_id: str) -> Sequence[Any]:
    """What a statement says of usage, by day, model and service tier."""
    query = select(statement_usage).where(_usage.statement_id == statement_id)
    order = (_usage.day, _usage.model, _usage.service_tier)
    return conn.execute(query.order_by(*order)).all()
