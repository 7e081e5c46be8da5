"""Upstreams, models and their price versions as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from latchgate.domain.prices import DEFAULT_TIER, PRIORITY_TIER
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import models, prices, upstreams


def insert_upstream(conn: Connection, **values: object) -> None:
    """Write a new upstream's row."""
    conn.execute(insert(upstreams).values(**values))


def insert_model(conn: Connection, **values: object) -> None:
    """Write a new model's row."""
    conn.execute(insert(models).values(**values))


def insert_price(conn: Connection, **values: object) -> None:
    """Write a new price version; a version is never edited."""
    conn.execute(insert(prices).values(**values))


def list_upstreams(conn: Connection) -> Sequence[AnyRow]:
    """Every upstream in use, by name."""
    query = select(upstreams).where(upstreams.c.removed_us.is_(None))
    return conn.execute(query.order_by(upstreams.c.name)).all()


def find_upstream(conn: Connection, name: str) -> AnyRow | None:
    """An upstream in use, by its name."""
    query = select(upstreams).where(upstreams.c.name == name, upstreams.c.removed_us.is_(None))
    return conn.execute(query).first()


def set_upstream(conn: Connection, upstream_id: str, **values: object) -> None:
    """Change an upstream's row."""
    conn.execute(update(upstreams).where(upstreams.c.id == upstream_id).values(**values))


def _offers(at_us: int) -> Select[Any]:
    """Models with their upstream, which may be disabled, and the price version of ``at_us``.

    A version has two rows, for calls of either service tier.
    """
    priority = prices.alias("priority")
    newest = (
        select(prices.c.model_id, func.max(prices.c.version).label("version"))
        .where(prices.c.effective_from_us <= at_us)
        .group_by(prices.c.model_id)
        .subquery()
    )
    return (
        select(
            models,
            upstreams.c.name.label("upstream"),
            upstreams.c.disabled_us.is_(None).label("is_offered"),
            prices.c.id.label("price_id"),
            prices.c.version.label("price_version"),
            prices.c.input_picos,
            prices.c.cached_picos,
            prices.c.output_picos,
            priority.c.id.label("priority_price_id"),
            priority.c.input_picos.label("priority_input_picos"),
            priority.c.cached_picos.label("priority_cached_picos"),
            priority.c.output_picos.label("priority_output_picos"),
        )
        .join(upstreams, upstreams.c.id == models.c.upstream_id)
        .join(newest, newest.c.model_id == models.c.id)
        .join(
            prices,
            (prices.c.model_id == models.c.id)
            & (prices.c.version == newest.c.version)
            & (prices.c.service_tier == DEFAULT_TIER),
        )
        .join(
            priority,
            (priority.c.model_id == models.c.id)
            & (priority.c.version == newest.c.version)
            & (priority.c.service_tier == PRIORITY_TIER),
        )
        .where(models.c.removed_us.is_(None), upstreams.c.removed_us.is_(None))
    )


def list_models(conn: Connection, *, at_us: int, with_disabled: bool = False) -> Sequence[AnyRow]:
    """Every model on offer, by name; ``with_disabled`` also those whose upstream is disabled."""
    query = _offers(at_us)
    if not with_disabled:
        query = query.where(upstreams.c.disabled_us.is_(None))
    return conn.execute(query.order_by(models.c.name)).all()


def find_model(conn: Connection, name: str, *, at_us: int) -> AnyRow | None:
    """A model by the name that callers write, also of an upstream that is disabled."""
    return conn.execute(_offers(at_us).where(models.c.name == name)).first()


def count_models_of(conn: Connection, upstream_id: str) -> int:
    """How many models on offer an upstream serves."""
    query = select(func.count()).select_from(models)
    return conn.execute(
        query.where(models.c.upstream_id == upstream_id, models.c.removed_us.is_(None))
    ).scalar_one()


def remove_model(conn: Connection, model_id: str, *, now_us: int) -> None:
    """Take a model off the list; its past calls keep their prices."""
    conn.execute(update(models).where(models.c.id == model_id).values(removed_us=now_us))
