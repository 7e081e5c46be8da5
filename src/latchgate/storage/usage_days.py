"""What the events of a quarter hour, an hour and a day add up to, for each key, app and price.

Pages sum these rows and not the events, so that what a page costs grows with days and apps and not
with calls. They are written in the transaction that writes the events, and the audit derives them
again. Days are UTC; in any time zone a day and an hour begin with a quarter hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, cast, func, select, text

from latchgate.clock import DAY_US, HOUR_US, QUARTER_US
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import (
    COUNTED,
    Int64,
    models,
    prices,
    usage_days,
    usage_events,
    usage_hours,
)

_COLUMNS = usage_days.c.keys()
_KEY = [column.name for column in usage_days.primary_key]
#: What counts of an event, whose columns stand in their table's order.
_PARTS = itemgetter(
    *map(
        usage_events.c.keys().index,
        ("account_id", "api_key_id", "app", "price_id", "started_us", *COUNTED[1:]),
    )
)


def _add_up(table: str, source: str) -> str:
    """The statement that adds a batch's sums to those that are there."""
    added = [f"{name} = {table}.{name} + excluded.{name}" for name in COUNTED]
    newest = (
        f"last_used_us = CASE WHEN excluded.last_used_us > {table}.last_used_us"
        f" THEN excluded.last_used_us ELSE {table}.last_used_us END"
    )
    # "WHERE true" tells SQLite that ON CONFLICT is no join's condition.
    return (
        f"INSERT INTO {table} ({', '.join(_COLUMNS)}) SELECT {source} WHERE true"
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join([*added, newest])}"
    )


_VALUES = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(_COLUMNS)))
_FROM_JSON = f"{_VALUES} FROM json_each(?)"
_FROM_RECORDS = (
    f"{', '.join(_COLUMNS)}"
    " FROM json_populate_recordset(CAST(NULL AS usage_days), CAST(:rows AS json))"
)
_ADD_JSON = {
    name: _add_up(name, _FROM_JSON) for name in ("usage_quarters", "usage_hours", "usage_days")
}
_ADD_RECORDS = {name: text(_add_up(name, _FROM_RECORDS)) for name in _ADD_JSON}

_Sums = dict[tuple[Any, ...], list[int]]


def add_events(conn: Connection, events: Sequence[Sequence[Any]]) -> None:
    """Add a batch of new events, columns in their table's order, to the sums of their times."""
    quarters: _Sums = {}
    # Calls in flight wait for Python's lock meanwhile, so this loop is written out.
    for account_id, key_id, app, price_id, started_us, *counted in map(_PARTS, events):
        key = (account_id, started_us // QUARTER_US, key_id, app, price_id)
        found = quarters.get(key)
        if found is None:
            quarters[key] = [1, *counted, started_us]
            continue
        found[0] += 1
        found[1] += counted[0]
        found[2] += counted[1]
        found[3] += counted[2]
        found[4] += counted[3]
        found[5] = max(found[5], started_us)
    hours = _together(quarters, HOUR_US // QUARTER_US)
    _add(conn, "usage_quarters", quarters, QUARTER_US)
    _add(conn, "usage_hours", hours, HOUR_US)
    _add(conn, "usage_days", _together(hours, DAY_US // HOUR_US), DAY_US)


def _together(parts: _Sums, count: int) -> _Sums:
    """The same sums for ``count`` times as long; a batch seldom has more than one of them."""
    wholes: _Sums = {}
    for (account_id, number, *key), sums in parts.items():
        whole = (account_id, number // count, *key)
        found = wholes.get(whole)
        if found is None:
            wholes[whole] = sums
        else:
            added = [ours + theirs for ours, theirs in zip(found[:5], sums[:5], strict=True)]
            wholes[whole] = [*added, max(found[5], sums[5])]
    return wholes


def _add(conn: Connection, table: str, sums: _Sums, width_us: int) -> None:
    # In one order, so that two processes that post at once never wait for each other in a ring.
    rows = [(key[0], key[1] * width_us, *key[2:], *sums[key]) for key in sorted(sums)]
    if conn.dialect.name == "postgresql":
        records = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        conn.execute(_ADD_RECORDS[table], {"rows": msgspec.json.encode(records).decode()})
    else:
        conn.exec_driver_sql(_ADD_JSON[table], (msgspec.json.encode(rows).decode(),))


def _counted(table: Table) -> list[ColumnElement[int]]:
    return [cast(func.coalesce(func.sum(table.c[name]), 0), Int64).label(name) for name in COUNTED]


def sum_all(
    conn: Connection, account_id: str, *, since_us: int, api_key_id: str | None = None
) -> AnyRow:
    """What an account used from the day on that begins at ``since_us``, or one of its keys."""
    used = usage_days.c
    query = select(*_counted(usage_days)).where(
        used.account_id == account_id, used.starts_us >= since_us
    )
    if api_key_id is not None:
        query = query.where(used.api_key_id == api_key_id)
    return conn.execute(query).one()


@dataclass(frozen=True, slots=True)
class Report:
    """Which UTC days, or hours, and which calls of them, and what their sums are parted by."""

    since_us: int
    until_us: int
    is_by_hour: bool = False
    kind: str | None = None
    #: ``model``, ``api_key_id``, or both.
    by: Sequence[str] = ()
    #: Only these; all where there is none.
    models: Sequence[str] = ()
    api_key_ids: Sequence[str] = ()


def sum_report(conn: Connection, account_id: str, report: Report) -> Sequence[AnyRow]:
    """What an account used on each day, or in each hour, oldest first."""
    table = usage_hours if report.is_by_hour else usage_days
    used = table.c
    columns = {"model": models.c.name, "api_key_id": used.api_key_id}
    order = [used.starts_us, *(columns[name] for name in report.by)]
    parts = [columns[name].label(name) for name in report.by]
    query = (
        select(used.starts_us, *parts, *_counted(table))
        .join(prices, prices.c.id == used.price_id)
        .join(models, models.c.id == prices.c.model_id)
        .where(
            used.account_id == account_id,
            used.starts_us >= report.since_us,
            used.starts_us < report.until_us,
        )
    )
    if report.kind is not None:
        query = query.where(models.c.kind == report.kind)
    if report.models:
        query = query.where(models.c.name.in_(report.models))
    if report.api_key_ids:
        query = query.where(used.api_key_id.in_(report.api_key_ids))
    return conn.execute(query.group_by(*order).order_by(*order)).all()
