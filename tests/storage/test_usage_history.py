"""A million calls: pages read sums and a few calls, however long the history, and both agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, text

from latchgate.domain.usage_spans import Per, Span, UsageAsked, UsageFilter, usual_per
from latchgate.services.usage_summary import Split, list_choices, sum_span, summarise
from latchgate.storage.ledger import open_platform_books
from latchgate.storage.schema import migrate
from latchgate.storage.sqlite import SQLite
from latchgate.storage.usage_events import list_events
from tests.support.history import (
    ACCOUNT,
    END_US,
    KEYS,
    RARE_APP,
    TIME_ZONE,
    write_account,
    write_history,
)
from tests.support.postgres import TEMPLATE, PostgresServer

CALLS, DAYS = 1_000_000, 90
ZONE = ZoneInfo(TIME_ZONE)
PAGE = 51
R = TypeVar("R")
#: What pages ask for: a period and a filter, and how long its bars are.
ASKED: dict[str, tuple[UsageAsked, Per | None]] = {
    "today": (UsageAsked("today"), None),
    "seven days by hour": (UsageAsked("7d"), "hour"),
    "a month": (UsageAsked("last_month"), None),
    "46 days, one model": (UsageAsked(first="2026-12-01", last="2027-01-15", model="large"), None),
    "everything, by month": (UsageAsked(first="2026-10-18", last="2027-01-15"), None),
    "a rare app": (UsageAsked(first="2026-10-18", last="2027-01-15", app=RARE_APP), None),
    "an old key": (UsageAsked(first="2026-10-18", last="2027-01-15", api_key_id=KEYS[0]), None),
    "a quarter hour": (UsageAsked(first="2027-01-10T10:15Z", last="2027-01-10T10:30Z"), None),
}
#: SQLite's virtual machine takes this many steps at most for a page. To read a million calls it
#: takes fifteen million and more.
STEPS_MAX = 1_000_000


def _open(path: Path, calls: int, days: int) -> SQLite:
    database = SQLite(path)

    def write(conn: Connection) -> None:
        migrate(conn)
        open_platform_books(conn)
        write_account(conn)
        write_history(conn, calls=calls, days=days)

    database.write(write)
    return database


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLite]:
    """A million calls over 90 days."""
    database = _open(tmp_path_factory.mktemp("long") / "latchgate.db", CALLS, DAYS)
    yield database
    database.close()


def _steps(database: SQLite, work: Callable[[Connection], R]) -> tuple[int, R]:
    """How many steps SQLite's virtual machine takes for something, in whole thousands."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    def counted(conn: Connection) -> R:
        driver: Any = conn.connection.driver_connection
        driver.set_progress_handler(tick, 1000)
        try:
            return work(conn)
        finally:
            driver.set_progress_handler(None, 0)

    result = database.read(counted)
    return ticks * 1000, result


def _draw(conn: Connection, asked: UsageAsked, per: Per | None) -> tuple[Any, Any]:
    """What the usage page reads."""
    where = asked.resolve(ZONE, END_US - 1)
    bars = per or usual_per(where.span)
    list_choices(conn, ACCOUNT, where.span)
    summary = summarise(conn, ACCOUNT, where, zone=ZONE, per=bars, split="app")
    return summary, list_events(conn, ACCOUNT, before=None, limit=PAGE, where=where)


@pytest.mark.parametrize("name", ASKED)
def test_a_page_over_a_million_calls_reads_few_rows(long: SQLite, name: str) -> None:
    asked, per = ASKED[name]
    steps, (summary, calls) = _steps(long, lambda conn: _draw(conn, asked, per))
    assert steps <= STEPS_MAX, steps
    assert len(calls) == min(PAGE, summary.totals.calls)


def test_the_same_page_costs_the_same_whatever_came_before(long: SQLite, tmp_path: Path) -> None:
    short = _open(tmp_path / "latchgate.db", CALLS // 9, DAYS // 9)
    for asked, per in (ASKED["today"], ASKED["seven days by hour"]):
        few, (expected, _) = _steps(short, lambda c, a=asked, p=per: _draw(c, a, p))  # type: ignore[misc]
        many, (found, _) = _steps(long, lambda c, a=asked, p=per: _draw(c, a, p))  # type: ignore[misc]
        assert abs(found.totals.calls - expected.totals.calls) <= 1  # they begin at another moment
        assert many <= few * 1.25 + 1000, (many, few)
    short.close()


def _sum_of_calls(conn: Connection, where: UsageFilter) -> tuple[int, ...]:
    query = """SELECT count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens),
                 sum(charge_nanos) FROM usage_events
               WHERE account_id = :account AND started_us >= :since AND started_us < :until
                 AND (:app = '' OR app = :app) AND (:model = '' OR model = :model)
                 AND (:key = '' OR api_key_id = :key)"""
    values = {
        "account": ACCOUNT,
        "since": where.span.since_us,
        "until": where.span.until_us,
        "app": where.app,
        "model": where.model,
        "key": where.api_key_id,
    }
    return tuple(value or 0 for value in conn.execute(text(query), values).one())


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("split", ["app", "model", "key"])
def test_every_cut_of_a_sum_is_what_its_calls_add_up_to(
    long: SQLite, name: str, split: Split
) -> None:
    asked, per = ASKED[name]
    where = asked.resolve(ZONE, END_US - 1)

    def read(conn: Connection) -> None:
        bars = per or usual_per(where.span)
        found = summarise(conn, ACCOUNT, where, zone=ZONE, per=bars, split=split)
        expected = _sum_of_calls(conn, where)
        assert _as_tuple(found.totals) == expected == _as_tuple(sum_span(conn, ACCOUNT, where))
        parts = [part for bar in found.bars for part in bar.parts.values()]
        for cut in (found.bars, found.by_app, found.by_model, found.by_key):
            assert _added([row.totals for row in cut]) == expected
        assert _added(parts) == expected
        if len(found.bars) > 1:
            bar = found.bars[len(found.bars) // 2]
            of_bar = UsageFilter(bar.span, where.model, where.app, where.api_key_id)
            assert _as_tuple(bar.totals) == _sum_of_calls(conn, of_bar)

    long.read(read)


def _as_tuple(totals: Any) -> tuple[int, ...]:
    return (
        totals.calls,
        totals.input_tokens,
        totals.cached_tokens,
        totals.output_tokens,
        totals.charge_nanos,
    )


def _added(sums: list[Any]) -> tuple[int, ...]:
    rows = [_as_tuple(totals) for totals in sums] or [(0,) * 5]
    return tuple(sum(column) for column in zip(*rows, strict=True))


@pytest.fixture(params=["sqlite", "postgres"])
def some(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A shorter history in either engine."""
    if request.param == "sqlite":
        database: Any = _open(tmp_path / "latchgate.db", 30_000, 20)
        yield database
        database.close()
        return
    from latchgate.storage.postgres import Postgres  # noqa: PLC0415 - as the store does

    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database(TEMPLATE) as url:
        database = Postgres(url, readers=1, is_alone=False)

        def write(conn: Connection) -> None:
            open_platform_books(conn)
            write_account(conn)
            write_history(conn, calls=30_000, days=20)

        database.write(write)
        yield database
        database.close()


@pytest.mark.parametrize(
    "where",
    [
        UsageFilter(),
        UsageFilter(app=RARE_APP),
        UsageFilter(model="middle", app="curl"),
        UsageFilter(api_key_id=KEYS[0], model="small"),
        UsageFilter(Span(END_US - 3 * 86_400_000_000, END_US - 900_000_000), app="Playground"),
        UsageFilter(app="nobody"),
    ],
    ids=["all", "rare", "model and app", "old key", "days of an app", "nobody"],
)
def test_paging_lists_each_call_of_a_filter_once_newest_first(
    some: Any, where: UsageFilter
) -> None:
    def read(conn: Connection) -> None:
        found: list[Any] = []
        before = None
        while page := list_events(conn, ACCOUNT, before=before, limit=997, where=where):
            found += page
            before = page[-1].request_id
        order = [(row.started_us, row.request_id) for row in found]
        assert order == sorted(set(order), reverse=True)
        assert (len(found), sum(row.charge_nanos for row in found)) == (
            (expected := _sum_of_calls(conn, where))[0],
            expected[-1],
        )
        summed = _as_tuple(sum_span(conn, ACCOUNT, where))
        assert summed == expected

    some.read(read)


def test_a_cursor_of_another_account_lists_nothing(some: Any) -> None:
    def read(conn: Connection) -> list[Any]:
        return list(list_events(conn, "acct_other", before="req_" + "0" * 26, limit=5))

    assert some.read(read) == []
