"""Versions of prices as rows: those of the past, the one in force, and those that wait.

A version has two rows, for calls of either service tier, and is never edited. In force is the one
whose moment came last; of two of one moment, the later version. One that waits can be withdrawn;
its rows stay, so that its number is not given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Subquery, func, insert, select, update

from latchgate.domain.ids import new_id
from latchgate.domain.prices import DEFAULT_TIER, PRIORITY_TIER
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import models, prices, upstreams

_rows = prices.c


def insert_version(
    conn: Connection,
    model_id: str,
    *,
    version: int,
    usual: Mapping[str, int],
    priority: Mapping[str, int],
    effective_from_us: int,
    now_us: int,
) -> None:
    """Write a price version: what a token of each class costs, for either service tier."""
    for service_tier, picos in ((DEFAULT_TIER, usual), (PRIORITY_TIER, priority)):
        conn.execute(
            insert(prices).values(
                id=new_id("prc", now_us),
                model_id=model_id,
                version=version,
                service_tier=service_tier,
                effective_from_us=effective_from_us,
                **picos,
            )
        )


def next_version(conn: Connection, model_id: str) -> int:
    """The number of a model's next version."""
    newest = select(func.coalesce(func.max(_rows.version), 0)).where(_rows.model_id == model_id)
    return int(conn.execute(newest).scalar_one()) + 1


def offers() -> Select[Any]:
    """Models with their upstream, which may be disabled, a row for each version of their price."""
    priority = prices.alias("priority")
    return (
        select(
            models,
            upstreams.c.name.label("upstream"),
            upstreams.c.disabled_us.is_(None).label("is_offered"),
            _rows.id.label("price_id"),
            _rows.version.label("price_version"),
            _rows.effective_from_us,
            _rows.input_picos,
            _rows.cached_picos,
            _rows.output_picos,
            priority.c.id.label("priority_price_id"),
            priority.c.input_picos.label("priority_input_picos"),
            priority.c.cached_picos.label("priority_cached_picos"),
            priority.c.output_picos.label("priority_output_picos"),
        )
        .join(upstreams, upstreams.c.id == models.c.upstream_id)
        .join(prices, (_rows.model_id == models.c.id) & (_rows.service_tier == DEFAULT_TIER))
        .join(
            priority,
            (priority.c.model_id == models.c.id)
            & (priority.c.version == _rows.version)
            & (priority.c.service_tier == PRIORITY_TIER),
        )
        .where(models.c.removed_us.is_(None), upstreams.c.removed_us.is_(None))
    )


def in_force(at_us: int) -> Subquery:
    """The ids of the prices in force at a moment, as ``price_id``."""
    by_moment = (_rows.effective_from_us.desc(), _rows.version.desc())
    rank = func.row_number().over(partition_by=_rows.model_id, order_by=by_moment).label("rank")
    ranked = (
        select(_rows.id, rank)
        .where(
            _rows.service_tier == DEFAULT_TIER,
            _rows.effective_from_us <= at_us,
            _rows.withdrawn_us.is_(None),
        )
        .subquery()
    )
    return select(ranked.c.id.label("price_id")).where(ranked.c.rank == 1).subquery()


def list_coming(conn: Connection, *, at_us: int, with_disabled: bool = False) -> Sequence[AnyRow]:
    """Models on offer with each version of their price that waits, in the order of its moment.

    ``with_disabled`` also those whose upstream is disabled.
    """
    query = offers().where(_rows.effective_from_us > at_us, _rows.withdrawn_us.is_(None))
    if not with_disabled:
        query = query.where(upstreams.c.disabled_us.is_(None))
    return conn.execute(query.order_by(_rows.effective_from_us, _rows.version)).all()


def withdraw(conn: Connection, model_id: str, version: int, *, now_us: int) -> None:
    """Let a version that waits never take effect."""
    conn.execute(
        update(prices)
        .where(_rows.model_id == model_id, _rows.version == version)
        .values(withdrawn_us=now_us)
    )
