"""Whatever a month brings, its page, PDF, CSV, API and postings add up to the same nano-dollar."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from latchgate.clock import DAY_US, MINUTE_US
from latchgate.domain.people import CLI
from latchgate.domain.usage import Usage
from latchgate.services.catalog import ModelTerms
from tests.support.management import Management, running_console
from tests.support.months import Call, back_date, charge, give
from tests.support.totals import section_sum, statement_csv, statement_pdf

#: How far back the generated months begin: two whole ones at least lie behind us.
BEGAN_AGO_US = 95 * DAY_US
EXAMPLES_MAX = 15
NOTES = st.text("ab é=,\"'<&;", max_size=12)
CALLS = st.builds(
    lambda model, cached, uncached, out, tier: Call(
        model, Usage(cached + uncached, cached, out), tier
    ),
    st.sampled_from(["m", "other"]),
    st.integers(0, 1000),
    st.integers(0, 100_000),
    st.integers(0, 50_000),
    st.sampled_from(["default", "default", "priority"]),
)
WHEN = st.integers(0, BEGAN_AGO_US // MINUTE_US - 1)
MONTHS = st.fixed_dictionaries(
    {
        "zone": st.sampled_from(
            ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu"]
        ),
        "batches": st.lists(st.tuples(WHEN, st.lists(CALLS, min_size=1, max_size=4)), max_size=12),
        "credit": st.lists(
            st.tuples(
                WHEN,
                st.sampled_from(["top_up", "refund", "correction"]),
                st.integers(1, 10**12),
                st.booleans(),
                NOTES,
            ),
            max_size=5,
        ),
    }
)


@dataclass
class House:
    """One console for all examples, each with an account of its own."""

    management: Management
    runner: asyncio.Runner
    numbers: Iterator[int]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with asyncio.Runner() as runner:
        opened = running_console(tmp_path)
        management = runner.run(opened.__aenter__())
        try:
            runner.run(_offer_another(management))
            yield House(management, runner, itertools.count(1))
            assert runner.run(management.world.audit()).findings == ()
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _offer_another(management: Management) -> None:
    await management.world.services.catalog.add_model(
        "other",
        upstream="lab",
        upstream_model=None,
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=ModelTerms(333_333, 7, 1_234_567),
    )


@given(month=MONTHS)
@settings(max_examples=EXAMPLES_MAX, deadline=None, suppress_health_check=list(HealthCheck))
def test_page_pdf_csv_api_and_postings_of_a_random_month_are_equal(
    month: dict[str, Any], house: House
) -> None:
    house.runner.run(_live_and_compare(house.management, next(house.numbers), month))


async def _live_and_compare(management: Management, number: int, month: dict[str, Any]) -> None:
    world, store = management.world, management.world.store
    browser = await management.signed_up(f"u{number}@example.com", f"10.0.{number % 250}.1")
    account_id = (await browser.get("/api/session")).json()["account_id"]
    began_us = world.clock.now_us() - BEGAN_AGO_US
    await store.write(back_date, account_id, began_us)
    key_id = (await world.services.api_keys.create(account_id, "k", caller=CLI)).view.id
    await world.services.limits.set_time_zone(account_id, month["zone"], CLI)
    batches = [(began_us + at * MINUTE_US, calls) for at, calls in month["batches"]]
    await charge(store, account_id, key_id, batches)
    for at, kind, nanos, takes, note in month["credit"]:
        signed = -nanos if takes and kind == "correction" else nanos
        await store.write(give, account_id, began_us + at * MINUTE_US, kind, signed, note)
    listed = (await browser.get("/api/billing/statements")).json()["data"]
    assert len(listed) in {3, 4}
    for head in listed:
        await _compare(management, browser, account_id, head)
    balances = await world.services.billing.balances(account_id)
    running = await store.read(_posted, account_id, listed[0]["ends_at"], "9999-01-01T00:00:00Z")
    left_nanos = listed[0]["closing_nanos"] + sum(running.values())
    assert left_nanos == balances.credit_nanos - balances.spent_nanos


async def _compare(
    management: Management, browser: httpx.AsyncClient, account_id: str, head: dict[str, Any]
) -> None:
    posted = await management.world.store.read(
        _posted, account_id, head["starts_at"], head["ends_at"]
    )
    usage_nanos = -posted.pop("usage", 0)
    credit_nanos = sum(posted.values())
    expected = (credit_nanos, usage_nanos)
    assert head["closing_nanos"] - head["opening_nanos"] == credit_nanos - usage_nanos
    api = (await browser.get(f"/api/billing/statements/{head['id']}")).json()
    assert (api["credit_nanos"], api["usage_nanos"]) == expected
    assert sum(line["amount_nanos"] for line in api["credits"]) == credit_nanos
    assert sum(line["charge_nanos"] for line in api["usage"]) == usage_nanos
    page = (await browser.get(f"/statements/{head['id']}")).text
    assert section_sum(page, "credit") == credit_nanos
    for table in ("by-model", "by-day", "lines"):
        assert section_sum(page, table) == usage_nanos, table
    for place in ("/api/billing/statements", "/statements"):
        written = (await browser.get(f"{place}/{head['id']}/csv")).text
        assert statement_csv(written, head) == expected
        drawn = (await browser.get(f"{place}/{head['id']}/pdf")).content
        assert statement_pdf(drawn) == [credit_nanos, *[usage_nanos] * 3]


def _posted(conn: Connection, account_id: str, starts_at: str, ends_at: str) -> dict[str, int]:
    """What the postings of a time add up to, by kind; nothing of statements is asked."""
    rows = conn.execute(
        text(
            """SELECT kind, sum(amount_nanos) AS total FROM postings
               WHERE account_id = :id AND created_us >= :from AND created_us < :to GROUP BY kind"""
        ),
        {"id": account_id, "from": _us(starts_at), "to": _us(ends_at)},
    )
    return {row.kind: row.total for row in rows}


def _us(moment: str) -> int:
    since = datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds
