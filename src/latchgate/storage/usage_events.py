"""Usage events: one row for each call that was let in, which is also its invoice line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, or_, select, text

from latchgate.domain.usage_spans import Span, UsageFilter
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import api_keys, models, prices, usage_events
from latchgate.storage.usage_figures import find_newest_spans, inside, matching, spans_table

_ALL = UsageFilter()

_used = usage_events.c
_COLUMNS = usage_events.c.keys()
_INSERT = f"INSERT INTO usage_events ({', '.join(_COLUMNS)}) "
_INSERT_RECORDS = text(
    f"{_INSERT} SELECT {', '.join(_COLUMNS)} "  # noqa: S608 - names of ours
    "FROM json_populate_recordset(CAST(NULL AS usage_events), CAST(:rows AS json))"
)
#: How many rows one statement writes: few sizes, so that each is prepared once.
_ROWS_AT_ONCE = (512, 64, 8, 1)


@cache
def _insert_rows(count: int) -> str:
    row = f"({', '.join('?' * len(_COLUMNS))})"
    return f"{_INSERT} VALUES {', '.join([row] * count)}"


def insert_events(conn: Connection, rows: Sequence[Sequence[object]]) -> None:
    """Write a batch of events, columns in the table's order.

    A request id that is there already fails the whole batch. Many rows go in with one statement, so
    that the engine works through them without asking for Python's lock row by row, which calls in
    flight would have to wait for.
    """
    if conn.dialect.name == "postgresql":
        records = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        conn.execute(_INSERT_RECORDS, {"rows": msgspec.json.encode(records).decode()})
        return
    start = 0
    for count in _ROWS_AT_ONCE:
        while len(rows) - start >= count:
            values = tuple(chain.from_iterable(rows[start : start + count]))
            conn.exec_driver_sql(_insert_rows(count), values)
            start += count


def find_event_ids(conn: Connection, request_ids: Sequence[str]) -> set[str]:
    """Which of these calls have their event already."""
    query = select(_used.request_id).where(_used.request_id.in_(request_ids))
    return set(conn.execute(query).scalars())


def _with_terms() -> Select[Any]:
    return (
        select(
            usage_events,
            api_keys.c.name.label("key_name"),
            models.c.tier,
            prices.c.version.label("price_version"),
            prices.c.service_tier,
            prices.c.input_picos,
            prices.c.cached_picos,
            prices.c.output_picos,
        )
        .join(api_keys, api_keys.c.id == _used.api_key_id)
        .join(prices, prices.c.id == _used.price_id)
        .join(models, models.c.id == prices.c.model_id)
    )


def list_events(
    conn: Connection,
    account_id: str,
    *,
    before: str | None,
    limit: int,
    where: UsageFilter = _ALL,
) -> Sequence[AnyRow]:
    """The events of an account that a filter means, newest first, older than ``before``."""
    span = where.span
    query = _with_terms().where(_used.account_id == account_id, *matching(usage_events, where))
    if before is not None:
        at_us = conn.execute(
            select(_used.started_us).where(
                _used.request_id == before, _used.account_id == account_id
            )
        ).scalar_one_or_none()
        if at_us is None:
            return []
        span = Span(span.since_us, min(span.until_us, at_us + 1))
        query = query.where(or_(_used.started_us < at_us, _used.request_id < before))
    values = {}
    if where.is_narrow:
        found = find_newest_spans(conn, account_id, replace(where, span=span), calls=limit)
        spans, values["pieces"] = spans_table(conn, account_id, found)
        query = query.join(spans, inside(spans, usage_events, "started_us"))
    else:
        query = query.where(_used.started_us >= span.since_us, _used.started_us < span.until_us)
    order = (_used.started_us.desc(), _used.request_id.desc())
    return conn.execute(query.order_by(*order).limit(limit), values).all()


def find_ip(conn: Connection, account_id: str, api_key_id: str, *, at_us: int) -> str | None:
    """Where a key's call came from that was let in at this very moment."""
    query = select(_used.ip).where(
        _used.account_id == account_id,
        _used.started_us == at_us,
        _used.api_key_id == api_key_id,
    )
    return conn.execute(query.limit(1)).scalar_one_or_none()


def find_event(conn: Connection, account_id: str, request_id: str) -> AnyRow | None:
    """One event of an account, with the price that it was charged at."""
    query = _with_terms().where(_used.account_id == account_id, _used.request_id == request_id)
    return conn.execute(query).first()
