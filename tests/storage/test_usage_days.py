"""Sums of usage: what pages add up is what the events say, whatever comes in which batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from latchgate.clock import DAY_US, HOUR_US, QUARTER_US
from latchgate.domain.usage_spans import UsageAsked
from latchgate.services.billing import InFlight
from latchgate.services.usage import UsageService
from latchgate.services.usage_summary import NAMES_LISTED_MAX
from latchgate.storage import schema, usage_days
from latchgate.storage.api_keys import get_key, list_keys
from latchgate.storage.charges import post_calls, post_interrupted
from latchgate.storage.journal_file import CloseRecord
from latchgate.storage.leases import take_lease
from tests.storage.bank import ACCOUNT, EPOCH, NOW_US, Bank, open_bank

pytestmark = pytest.mark.anyio
TODAY_US = NOW_US // DAY_US * DAY_US
KEY = "key_acct_test"


class _Clock:
    def now_us(self) -> int:
        """The moment at which the bank's calls are let in."""
        return NOW_US


async def _nothing_in_flight() -> None:
    """Everything is posted already."""


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account whose whole credit is on lease."""
    async with open_bank(tmp_path, credit_nanos=1_000_000) as opened:
        lease = {"epoch_id": EPOCH, "window": opened.credit, "wanted_nanos": 1_000_000}
        await opened.store.write(take_lease, **lease, needed_nanos=1_000_000)
        yield opened


async def _post(bank: Bank, *records: CloseRecord) -> None:
    (row,) = await bank.rows("SELECT journal_offset FROM epochs WHERE id = :id", id=EPOCH)
    span = {"from_offset": row[0], "to_offset": row[0] + 1}
    await bank.store.write(post_calls, records, epoch_id=EPOCH, now_us=NOW_US, **span)


async def test_batches_add_to_the_day_of_their_key_app_and_price(bank: Bank) -> None:
    calls = [bank.closed(nanos, bank.credit, app="desk") for nanos in (10, 20)]
    await _post(bank, *calls, bank.closed(5, bank.credit, app="phone"))
    await _post(bank, bank.closed(30, bank.credit, app="desk", started_us=NOW_US + 1))
    rows = await bank.rows(
        "SELECT app, starts_us, calls, input_tokens, cached_tokens, output_tokens, charge_nanos,"
        " last_used_us FROM usage_days ORDER BY app"
    )
    assert [tuple(row) for row in rows] == [
        ("desk", TODAY_US, 3, 21, 9, 15, 60, NOW_US + 1),
        ("phone", TODAY_US, 1, 7, 3, 5, 5, NOW_US),
    ]


async def test_a_batch_that_was_posted_is_not_added_again(bank: Bank) -> None:
    call = bank.closed(10, bank.credit)
    span = {"epoch_id": EPOCH, "from_offset": 0, "to_offset": 9, "now_us": NOW_US}
    for _ in range(2):
        await bank.store.write(post_calls, [call], **span)
    assert (await bank.store.read(usage_days.sum_all, ACCOUNT, since_us=0)).calls == 1


async def test_late_calls_go_to_the_day_hour_and_quarter_hour_in_which_they_were_let_in(
    bank: Bank,
) -> None:
    late = [TODAY_US - 1, TODAY_US - DAY_US, TODAY_US - DAY_US + HOUR_US - 1]
    await _post(bank, bank.closed(1, bank.credit), bank.closed(10, bank.credit, started_us=late[0]))
    await _post(bank, *(bank.closed(20, bank.credit, started_us=at_us) for at_us in late[1:]))
    for table, width_us in (
        ("usage_days", DAY_US),
        ("usage_hours", HOUR_US),
        ("usage_quarters", QUARTER_US),
    ):
        rows = await bank.rows(f"SELECT starts_us, sum(charge_nanos) FROM {table} GROUP BY 1")
        expected: defaultdict[int, int] = defaultdict(int)
        for at_us, nanos in zip((NOW_US, *late), (1, 10, 20, 20), strict=True):
            expected[at_us // width_us * width_us] += nanos
        assert dict(tuple(row) for row in rows) == expected
    since = await bank.store.read(usage_days.sum_all, ACCOUNT, since_us=TODAY_US)
    assert since.charge_nanos == 1


async def test_interrupted_calls_count_and_cost_nothing(bank: Bank) -> None:
    await bank.store.write(post_interrupted, [bank.opened()], now_us=NOW_US)
    row = await bank.store.read(usage_days.sum_all, ACCOUNT, since_us=0)
    assert (row.calls, row.input_tokens, row.charge_nanos) == (1, 0, 0)


async def test_a_keys_figures_are_its_own_and_last_used_is_its_newest_call(bank: Bank) -> None:
    await bank.add_account("acct_b", 0)
    await _post(
        bank,
        bank.closed(10, bank.credit, app="new", started_us=NOW_US + 5),
        bank.closed(20, bank.credit, app="old"),
    )
    key = await bank.store.read(get_key, KEY)
    assert (key.calls, key.spent_nanos, key.last_used_us) == (2, 30, NOW_US + 5)
    assert key.last_app == "new"
    (listed,) = await bank.store.read(list_keys, "acct_b", limit=5)
    assert (listed.calls, listed.spent_nanos, listed.last_used_us, listed.last_app) == (
        0,
        0,
        None,
        "",
    )


async def test_a_summary_is_one_sum_cut_several_ways_and_names_no_more_than_it_may(
    bank: Bank,
) -> None:
    count = NAMES_LISTED_MAX + 7
    calls = [bank.closed(n, bank.credit, app=f"app {n:03}") for n in range(1, count + 1)]
    await _post(bank, *calls)
    usage = UsageService(bank.store, _Clock(), InFlight(_nothing_in_flight, lambda _window: 0))
    summary = await usage.summary(ACCOUNT, asked=UsageAsked("month"))
    total = count * (count + 1) // 2
    assert summary.totals.charge_nanos == total
    assert [app.app for app in summary.by_app][:2] == [f"app {count:03}", f"app {count - 1:03}"]
    assert len(summary.by_app) == NAMES_LISTED_MAX
    assert summary.by_other_apps.calls == 7
    assert summary.by_other_apps.charge_nanos == sum(range(1, 8))
    (bar,) = [bar for bar in summary.bars if bar.totals.calls]
    assert (bar.span.since_us, bar.totals) == (TODAY_US, summary.totals)
    assert bar.parts[None] == summary.by_other_apps
    (model,) = summary.by_model
    assert (model.totals, model.tier) == (summary.totals, "standard")
    (key,) = summary.by_key
    assert (key.api_key_id, key.totals) == (KEY, summary.totals)
    assert summary.premium_nanos == 0


@pytest.mark.parametrize("revision", ["0003", "0006"])
async def test_an_older_installation_has_its_usage_added_up(bank: Bank, revision: str) -> None:
    await _post(bank, bank.closed(10, bank.credit, app="a"), bank.closed(20, bank.credit))
    await _post(bank, bank.closed(30, bank.credit, started_us=NOW_US - DAY_US))
    tables = ("usage_days", "usage_hours", "usage_quarters")
    queries = [f"SELECT * FROM {table} ORDER BY starts_us, app" for table in tables]
    before = [await bank.rows(query) for query in queries]
    assert [len(rows) for rows in before] == [3, 3, 3]

    def go_back_and_forth(conn: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = conn
        command.downgrade(config, revision)
        schema.migrate(conn)

    await bank.store.write(go_back_and_forth)
    assert [await bank.rows(query) for query in queries] == before
