"""Sums of usage for any spans: of whole days, of hours where a day is not whole, of quarter hours.

What is read grows with the spans' days, apps, keys and prices, and not with calls or with history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    select,
)

from latchgate.clock import DAY_US, HOUR_US, QUARTER_US
from latchgate.domain.usage_spans import Span, UsageFilter
from latchgate.storage.statements import AnyRow
from latchgate.storage.tables import (
    COUNTED,
    Int64,
    api_keys,
    models,
    prices,
    usage_days,
    usage_hours,
    usage_quarters,
)

#: A piece of a span: the span's number, from where on, before where.
Piece = tuple[int, int, int]
_PIECE: dict[str, Any] = {"account_id": Text, "number": Int64, "since": Int64, "until": Int64}
#: What is read for a span: as much as fits of the longest sums first.
_WIDTHS = ((usage_days, DAY_US), (usage_hours, HOUR_US), (usage_quarters, QUARTER_US))


def matching(table: FromClause, where: UsageFilter) -> list[ColumnElement[bool]]:
    """The conditions of a filter, its span aside, on a table that names key, app and price."""
    found = []
    if where.app:
        found.append(table.c.app == where.app)
    if where.api_key_id:
        found.append(table.c.api_key_id == where.api_key_id)
    if where.model:
        its_prices = (
            select(prices.c.id)
            .join(models, models.c.id == prices.c.model_id)
            .where(models.c.name == where.model)
        )
        found.append(table.c.price_id.in_(its_prices))
    return found


def _pieces(spans: Iterable[Span]) -> list[tuple[Table, list[Piece]]]:
    """Spans as whole days, whole hours where a day is not whole, and quarter hours for the rest."""
    left = [(number, span.since_us, span.until_us) for number, span in enumerate(spans)]
    found = []
    for table, width_us in _WIDTHS:
        whole: list[Piece] = []
        ragged: list[Piece] = []
        for number, since, until in left:
            first, behind = -(-since // width_us) * width_us, until // width_us * width_us
            if first < behind:
                whole.append((number, first, behind))
                ragged += [(number, since, first), (number, behind, until)]
            else:
                ragged.append((number, since, until))
        found.append((table, whole))
        left = [piece for piece in ragged if piece[1] < piece[2]]
    return [(table, pieces) for table, pieces in found if pieces]


def spans_table(
    conn: Connection, account_id: str, pieces: Sequence[Piece]
) -> tuple[FromClause, str]:
    """Pieces as a table to join an account's rows with, and what its parameter ``pieces`` is.

    It names the account, so that a planner has to begin with it: each piece is then a search.
    """
    bound = bindparam("pieces", type_=Text)
    records = [
        {"account_id": account_id, "number": number, "since": since, "until": until}
        for number, since, until in pieces
    ]
    as_json = msgspec.json.encode(records).decode()
    if conn.dialect.name == "postgresql":
        table = (
            func.json_to_recordset(cast(bound, JSON))
            .table_valued(*(column(name, kind) for name, kind in _PIECE.items()))
            .render_derived(name="spans", with_types=True)
        )
        return table, as_json
    each = func.json_each(bound).table_valued("value")
    columns = [
        func.json_extract(each.c.value, f"$.{name}", type_=kind).label(name)
        for name, kind in _PIECE.items()
    ]
    return select(*columns).subquery("spans"), as_json


def inside(spans: FromClause, table: Table, at: str) -> ColumnElement[bool]:
    """That a row is in a piece."""
    at_us = table.c[at]
    return and_(
        table.c.account_id == spans.c.account_id, at_us >= spans.c.since, at_us < spans.c.until
    )


def sum_spans(
    conn: Connection,
    account_id: str,
    spans: Sequence[Span],
    where: UsageFilter,
    apps: Sequence[str],
) -> list[AnyRow]:
    """What each span adds up to, for each key, price and app; NULL for apps that are not named.

    A span may come in several rows of a kind: of its whole days, and of its other hours.
    """
    rows: list[AnyRow] = []
    for table, pieces in _pieces(spans):
        joined, as_json = spans_table(conn, account_id, pieces)
        app = case((table.c.app.in_(apps), table.c.app), else_=None).label("app")
        by = [joined.c.number, table.c.api_key_id, table.c.price_id, app]
        query = (
            select(*by, *_counted(table), func.max(table.c.last_used_us).label("last_used_us"))
            .select_from(joined.join(table, inside(joined, table, "starts_us")))
            .where(*matching(table, where))
            .group_by(*by)
        )
        rows += conn.execute(query, {"pieces": as_json}).all()
    return rows


def _counted(table: Table) -> list[ColumnElement[int]]:
    return [cast(func.sum(table.c[name]), Int64).label(name) for name in COUNTED]


def _days_of(account_id: str, where: UsageFilter) -> list[ColumnElement[bool]]:
    """The days that a filter's span touches, where they have calls of its kind."""
    return [
        usage_days.c.account_id == account_id,
        usage_days.c.starts_us >= where.span.since_us // DAY_US * DAY_US,
        usage_days.c.starts_us < where.span.until_us,
        *matching(usage_days, where),
    ]


def list_apps(
    conn: Connection, account_id: str, where: UsageFilter, *, limit: int
) -> Sequence[str]:
    """The apps of the days that a filter touches, the dearest first."""
    used = usage_days.c
    query = (
        select(used.app)
        .where(*_days_of(account_id, where))
        .group_by(used.app)
        .order_by(func.sum(used.charge_nanos).desc(), func.sum(used.calls).desc(), used.app)
        .limit(limit)
    )
    return conn.execute(query).scalars().all()


def list_used(conn: Connection, account_id: str, where: UsageFilter, what: str) -> Sequence[str]:
    """The ids in a column, ``price_id`` or ``api_key_id``, of the days that a filter touches."""
    query = select(usage_days.c[what]).where(*_days_of(account_id, where)).distinct()
    return conn.execute(query).scalars().all()


def list_prices(conn: Connection, price_ids: Iterable[str]) -> Sequence[AnyRow]:
    """Which model, of which tier, and which service tier each price is of."""
    query = (
        select(prices.c.id, models.c.name.label("model"), models.c.tier, prices.c.service_tier)
        .join(models, models.c.id == prices.c.model_id)
        .where(prices.c.id.in_(sorted(price_ids)))
    )
    return conn.execute(query).all()


def list_key_names(conn: Connection, key_ids: Iterable[str]) -> Sequence[AnyRow]:
    """The names of keys."""
    query = select(api_keys.c.id, api_keys.c.name).where(api_keys.c.id.in_(sorted(key_ids)))
    return conn.execute(query).all()


def find_newest_spans(
    conn: Connection, account_id: str, where: UsageFilter, *, calls: int
) -> list[Piece]:
    """Quarter hours that have a filter's newest calls, at least so many if there are as many.

    So a page of rare calls reads the hours in which they are, and not the whole history. A first
    and a last quarter hour may be cut by the filter's span, and so count for nothing.
    """
    of_days = _calls_at(usage_days).where(*_days_of(account_id, where))
    days = _newest(conn, of_days, calls)
    pieces = _clipped(days, DAY_US, where.span)
    joined, as_json = spans_table(conn, account_id, pieces)
    of_quarters = (
        _calls_at(usage_quarters)
        .select_from(joined.join(usage_quarters, inside(joined, usage_quarters, "starts_us")))
        .where(*matching(usage_quarters, where))
    )
    quarters = _newest(conn, of_quarters, calls, pieces=as_json)
    return _clipped(quarters, QUARTER_US, where.span)


def _clipped(starts: Iterable[int], width_us: int, span: Span) -> list[Piece]:
    return [
        (number, max(start, span.since_us), min(start + width_us, span.until_us))
        for number, start in enumerate(starts)
    ]


def _calls_at(table: Table) -> Select[Any]:
    """How many calls there were at each time, newest first."""
    starts_us = table.c.starts_us
    calls = cast(func.sum(table.c.calls), Int64).label("calls")
    return select(starts_us, calls).group_by(starts_us).order_by(starts_us.desc())


def _newest(conn: Connection, query: Select[Any], calls: int, **values: str) -> list[int]:
    """The newest times that together have so many calls; of the first, all may be too new."""
    found: list[int] = []
    counted = 0
    for row in conn.execute(query.limit(calls + 2), values):
        counted += row.calls if found else 0
        found.append(row.starts_us)
        if counted >= calls:
            break
    return found
