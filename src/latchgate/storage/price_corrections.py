"""Wrong prices put right, as rows: whose calls, what they have cost so far, what was posted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, func, insert, select

from latchgate.clock import DAY_US
from latchgate.storage.price_tables import (
    corrected_calls,
    price_correction_lines,
    price_corrections,
)
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import models, prices, usage_days, usage_events


def list_accounts(
    conn: Connection, model: str, *, since_us: int, until_us: int, limit: int
) -> Sequence[str]:
    """The accounts that called a model of this name on the days of a span, at most ``limit``."""
    query = (
        select(usage_days.c.account_id)
        .join(prices, prices.c.id == usage_days.c.price_id)
        .join(models, models.c.id == prices.c.model_id)
        .where(
            models.c.name == model,
            usage_days.c.starts_us > since_us - DAY_US,
            usage_days.c.starts_us < until_us,
        )
        .distinct()
        .order_by(usage_days.c.account_id)
        .limit(limit)
    )
    return conn.execute(query).scalars().all()


def list_calls(
    conn: Connection, account_id: str, model: str, *, since_us: int, until_us: int, limit: int
) -> Sequence[AnyRow]:
    """An account's calls of a model in a span, each with what corrections made of its charge."""
    called = usage_events.c
    corrected = (
        select(func.coalesce(func.sum(corrected_calls.c.difference_nanos), 0))
        .where(corrected_calls.c.request_id == called.request_id)
        .scalar_subquery()
    )
    query = (
        select(
            called.request_id,
            called.input_tokens,
            called.cached_tokens,
            called.output_tokens,
            called.charge_nanos,
            called.overrun_nanos,
            prices.c.service_tier,
            corrected.label("corrected_nanos"),
        )
        .join(prices, prices.c.id == called.price_id)
        .where(
            called.account_id == account_id,
            called.model == model,
            called.started_us >= since_us,
            called.started_us < until_us,
        )
        .limit(limit)
    )
    return conn.execute(query).all()


def insert_correction(conn: Connection, **values: object) -> None:
    """Write what should have been."""
    conn.execute(insert(price_corrections).values(**values))


def insert_line(conn: Connection, differences: Iterable[tuple[str, int]], **values: object) -> None:
    """Write what it made of an account's charges, and of each call's."""
    conn.execute(insert(price_correction_lines).values(**values))
    correction_id = values["correction_id"]
    conn.execute(
        insert(corrected_calls),
        [
            {"request_id": name, "correction_id": correction_id, "difference_nanos": nanos}
            for name, nanos in differences
        ],
    )


def list_corrections(conn: Connection, *, limit: int) -> Sequence[AnyRow]:
    """The newest corrections, with how many accounts they were about and what they moved."""
    lines = price_correction_lines.c
    query = (
        select(
            price_corrections,
            func.count(lines.account_id).label("accounts"),
            func.coalesce(func.sum(lines.calls), 0).label("calls"),
            func.coalesce(func.sum(lines.charged_nanos - lines.right_nanos), 0).label("nanos"),
        )
        .outerjoin(price_correction_lines, lines.correction_id == price_corrections.c.id)
        .group_by(price_corrections.c.id)
        .order_by(price_corrections.c.id.desc())
        .limit(limit)
    )
    return conn.execute(query).all()


def list_lines(conn: Connection, account_id: str) -> Sequence[AnyRow]:
    """What corrections made of an account's charges, oldest first."""
    lines = price_correction_lines.c
    query = (
        select(
            price_corrections.c.model,
            price_corrections.c.since_us,
            price_corrections.c.until_us,
            price_corrections.c.reason,
            lines.posting_id,
            lines.calls,
            lines.charged_nanos,
            lines.right_nanos,
        )
        .join(price_corrections, price_corrections.c.id == lines.correction_id)
        .where(lines.account_id == account_id)
        .order_by(lines.correction_id)
    )
    return conn.execute(query).all()
