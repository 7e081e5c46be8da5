"""Usage by day: what the events of a day add up to, for each key, app and price version.

Pages sum these rows and not the events, so that what a page costs grows with days and apps and not
with calls. They are written in the transaction that writes the events, and the audit derives them
again. Days are UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, cast, func, select, text

from latchgate.clock import DAY_US
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import Int64, models, prices, usage_days, usage_events

_days = usage_days.c
_COLUMNS = usage_days.c.keys()
_KEY = [column.name for column in usage_days.primary_key]
_COUNTED = ("input_tokens", "cached_tokens", "output_tokens", "charge_nanos")
#: What counts of an event, whose columns stand in their table's order.
_PARTS = itemgetter(
    *map(
        usage_events.c.keys().index,
        ("account_id", "api_key_id", "app", "price_id", "started_us", *_COUNTED),
    )
)


def _add_up(source: str) -> str:
    """The statement that adds a batch's sums to those that are there."""
    added = [f"{name} = usage_days.{name} + excluded.{name}" for name in ("calls", *_COUNTED)]
    newest = (
        "last_used_us = CASE WHEN excluded.last_used_us > usage_days.last_used_us"
        " THEN excluded.last_used_us ELSE usage_days.last_used_us END"
    )
    # "WHERE true" tells SQLite that ON CONFLICT is no join's condition.
    return (
        f"INSERT INTO usage_days ({', '.join(_COLUMNS)}) SELECT {source} WHERE true"
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join([*added, newest])}"
    )


_VALUES = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_COLUMNS)))
_ADD_JSON = text(_add_up(f"{_VALUES} FROM json_each(:rows)"))
_ADD_RECORDS = text(
    _add_up(
        f"{', '.join(_COLUMNS)}"
        " FROM json_populate_recordset(CAST(NULL AS usage_days), CAST(:rows AS json))"
    )
)


def add_events(conn: Connection, events: Sequence[Sequence[Any]]) -> None:
    """Add a batch of new events, columns in their table's order, to the sums of their days."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    # Calls in flight wait for Python's lock meanwhile, so this loop is written out.
    for account_id, key_id, app, price_id, started_us, *counted in map(_PARTS, events):
        key = (account_id, started_us // DAY_US, key_id, app, price_id)
        found = sums.get(key)
        if found is None:
            sums[key] = [1, *counted, started_us]
            continue
        found[0] += 1
        found[1] += counted[0]
        found[2] += counted[1]
        found[3] += counted[2]
        found[4] += counted[3]
        found[5] = max(found[5], started_us)
    # In one order, so that two processes that post at once never wait for each other in a ring.
    rows = [(key[0], key[1] * DAY_US, *key[2:], *sums[key]) for key in sorted(sums)]
    if conn.dialect.name == "postgresql":
        records = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        conn.execute(_ADD_RECORDS, {"rows": msgspec.json.encode(records).decode()})
    else:
        conn.execute(_ADD_JSON, {"rows": msgspec.json.encode(rows).decode()})


def _sums(account_id: str, since_us: int, *by: Any) -> Select[Any]:
    """What an account used from the day on that begins at ``since_us``, for each ``by``."""
    counted = [
        cast(func.coalesce(func.sum(_days[name]), 0), Int64).label(name)
        for name in ("calls", *_COUNTED)
    ]
    columns: list[Any] = [*by, *counted]
    return select(*columns).where(_days.account_id == account_id, _days.starts_us >= since_us)


def _dearest_first(query: Select[Any], name: Any) -> Select[Any]:
    return query.order_by(func.sum(_days.charge_nanos).desc(), func.sum(_days.calls).desc(), name)


def sum_all(
    conn: Connection, account_id: str, *, since_us: int, api_key_id: str | None = None
) -> AnyRow:
    """What an account used from the day on that begins at ``since_us``, or one of its keys."""
    query = _sums(account_id, since_us)
    if api_key_id is not None:
        query = query.where(_days.api_key_id == api_key_id)
    return conn.execute(query).one()


def sum_by_day(conn: Connection, account_id: str, *, since_us: int) -> Sequence[AnyRow]:
    """The same for each day that has calls, oldest first."""
    query = _sums(account_id, since_us, _days.starts_us)
    return conn.execute(query.group_by(_days.starts_us).order_by(_days.starts_us)).all()


def sum_by_app(conn: Connection, account_id: str, *, since_us: int, limit: int) -> Sequence[AnyRow]:
    """The same for each app, the dearest first."""
    last_used = func.max(_days.last_used_us).label("last_used_us")
    query = _sums(account_id, since_us, _days.app, last_used).group_by(_days.app)
    return conn.execute(_dearest_first(query, _days.app).limit(limit)).all()


def sum_by_model(
    conn: Connection, account_id: str, *, since_us: int, limit: int
) -> Sequence[AnyRow]:
    """The same for each model with its tier and its calls' service tier, the dearest first."""
    name, service_tier = models.c.name, prices.c.service_tier
    query = (
        _sums(account_id, since_us, name.label("model"), models.c.tier, service_tier)
        .join(prices, prices.c.id == _days.price_id)
        .join(models, models.c.id == prices.c.model_id)
        .group_by(name, models.c.tier, service_tier)
    )
    return conn.execute(_dearest_first(query, name).order_by(service_tier).limit(limit)).all()


def sum_in_days(
    conn: Connection,
    account_id: str,
    *,
    since_us: int,
    until_us: int,
    kind: str | None,
    by: Sequence[str],
) -> Sequence[AnyRow]:
    """What an account used on each day before ``until_us``, of models of a kind, oldest first.

    ``by`` parts each day's sum further: by ``model``, by ``api_key_id``, or by both.
    """
    columns = {"model": models.c.name.label("model"), "api_key_id": _days.api_key_id}
    parts = [columns[name] for name in by]
    query = (
        _sums(account_id, since_us, _days.starts_us, *parts)
        .where(_days.starts_us < until_us)
        .join(prices, prices.c.id == _days.price_id)
        .join(models, models.c.id == prices.c.model_id)
    )
    if kind is not None:
        query = query.where(models.c.kind == kind)
    order = [_days.starts_us, *(models.c.name if name == "model" else columns[name] for name in by)]
    return conn.execute(query.group_by(*order).order_by(*order)).all()
