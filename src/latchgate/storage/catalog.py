"""Upstreams and models as rows; versions of their prices are in ``prices.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from latchgate.storage.prices import in_force, offers
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import models, prices, upstreams


def insert_upstream(conn: Connection, **values: object) -> None:
    """Write a new upstream's row."""
    conn.execute(insert(upstreams).values(**values))


def insert_model(conn: Connection, **values: object) -> None:
    """Write a new model's row."""
    conn.execute(insert(models).values(**values))


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
    """Models with their upstream, which may be disabled, and the price version of ``at_us``."""
    found = in_force(at_us)
    return offers().join(found, found.c.price_id == prices.c.id)


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
