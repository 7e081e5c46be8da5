"""One month, made up at random: whatever shows a total of it shows the sum of its events."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latchgate.clock import DAY_US
from latchgate.services.catalog import ModelTerms
from tests.api.test_management_codes import operator_of
from tests.support.management import Management, running_console
from tests.support.random_months import (
    BATCHES,
    CREDIT,
    ZONES,
    Account,
    Keeps,
    live,
    new_account,
    of,
)
from tests.support.totals import (
    Sums,
    added,
    answered,
    chart_table,
    figure,
    nanos,
    section_sum,
    statement_csv,
    statement_pdf,
    together,
    usage_figures,
)


@dataclass
class House:
    """One console for all examples, its operator, and what all accounts have spent."""

    console: Management
    operator: httpx.AsyncClient
    runner: asyncio.Runner
    numbers: Iterator[int]
    revenue_nanos: int = 0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with asyncio.Runner() as runner:
        opened = running_console(tmp_path)
        console = runner.run(opened.__aenter__())
        try:
            runner.run(
                console.world.services.catalog.add_model(
                    "other",
                    upstream="lab",
                    upstream_model=None,
                    tier="standard",
                    context_tokens=8192,
                    output_tokens_max=1000,
                    terms=ModelTerms(333_333, 7, 1_234_567),
                )
            )
            yield House(console, runner.run(operator_of(console)), runner, itertools.count(1))
            assert runner.run(console.world.audit()).findings == ()
        finally:
            runner.run(opened.__aexit__(None, None, None))


@given(zone=st.sampled_from(ZONES), last=BATCHES, this=BATCHES, credit=CREDIT)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_total_of_a_random_month_is_the_sum_of_its_events(
    zone: str, last: list[Any], this: list[Any], credit: list[Any], house: House
) -> None:
    house.runner.run(_live_and_look(house, zone, (last, this), credit))


async def _live_and_look(
    house: House, zone: str, batches: tuple[list[Any], list[Any]], credit: list[Any]
) -> None:
    account = await new_account(house.console, next(house.numbers), zone)
    await live(house.console, account, batches, credit)
    house.revenue_nanos += account.sums()[-1]
    try:
        for look in (_usage, _files, _first_pages, _keys, _statement, _reports, _operators):
            await look(house, account)
    except AssertionError:
        if account.day(house.console.world.clock.now_us()) == account.day(account.now_us):
            raise  # else midnight has passed meanwhile, and other days are meant
    await account.browser.aclose()


async def _usage(_: House, account: Account) -> None:
    """The usage page and its summary, in all, by app, model, key and day."""
    browser = account.browser
    for period, keep in (("last_month", account.is_last), ("month", account.is_this)):
        expected = account.sums(keep)
        for split in ("app", "model", "key"):
            query = f"period={period}&split={split}&per=day"
            page = (await browser.get(f"/usage?{query}")).text
            assert usage_figures(page) == expected
            assert chart_table(page) == section_sum(page, "parts") == expected[-1]
            summary = (await browser.get(f"/api/usage/summary?{query}")).json()
            assert answered(summary["totals"]) == expected
            name = "api_key_id" if split == "key" else split
            for one in {row[name] for row in summary[f"by_{split}"]}:
                rows = [row for row in summary[f"by_{split}"] if row[name] == one]
                assert together(map(answered, rows)) == account.sums(keep, of(split, one))
            for bar in summary["bars"]:
                day = account.day(_us(bar["since"]))
                assert answered(bar) == account.sums(keep, account.on(day))


def _us(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp()) * 10**6


async def _files(_: House, account: Account) -> None:
    """What can be taken along, as CSV and JSON, and the list that is paged."""
    browser, expected = account.browser, account.sums(account.is_last)
    sheet = (await browser.get("/api/usage/export.csv?period=last_month")).text
    assert added(list(csv.DictReader(io.StringIO(sheet)))) == expected
    exported = (await browser.get("/api/usage/export.json?period=last_month")).json()["data"]
    assert added(exported) == expected
    listed = (await browser.get("/api/usage?period=last_month&limit=200")).json()
    assert answered(listed["totals"]) == added(listed["data"]) == expected


async def _first_pages(_: House, account: Account) -> None:
    """Home and Credit."""
    home = (await account.browser.get("/home")).text
    spent = account.sums()[-1]
    assert figure(home, "This month") == account.sums(account.is_this)[-1]
    billing = (await account.browser.get("/billing")).text
    assert figure(billing, "Credit") == account.credit_nanos
    assert figure(billing, "Spent") == spent
    left_nanos = account.credit_nanos - spent
    assert figure(billing, "Available") == left_nanos == figure(home, "Can be spent now")
    postings, following = section_sum(billing, "postings"), _older(billing)
    while following:
        page = (await account.browser.get(following)).text
        postings, following = postings + section_sum(page, "postings"), _older(page)
    assert postings == left_nanos


def _older(page: str) -> str | None:
    found = re.search(r'href="([^"]+)" rel="next"', page)
    return found[1].replace("&amp;", "&") if found else None


async def _keys(_: House, account: Account) -> None:
    """Each key's own page, and the last thirty days that it draws."""
    for key_id in account.keys:
        page = (await account.browser.get(f"/api-keys/{key_id}")).text
        of_key = account.sums(of("key", key_id))
        assert figure(page, "Spent in all") == of_key[-1]
        assert f"{of_key[0]:,} call" in page
        days = {account.day(account.now_us - ago * DAY_US) for ago in range(30)}
        recent = account.sums(of("key", key_id), account.on(*days))
        assert chart_table(page) == section_sum(page, "apps") == recent[-1]


async def _statement(_: House, account: Account) -> None:
    """The closed month: list, page, PDF, CSV and API."""
    browser = account.browser
    listed = (await browser.get("/api/billing/statements")).json()["data"]
    (head,) = [head for head in listed if _us(head["starts_at"]) >= account.last_us]
    assert _us(head["ends_at"]) == account.this_us
    usage_nanos = account.sums(account.is_last)[-1]
    api = (await browser.get(f"/api/billing/statements/{head['id']}")).json()
    credit_nanos = api["credit_nanos"]
    assert api["usage_nanos"] == sum(line["charge_nanos"] for line in api["usage"]) == usage_nanos
    assert sum(line["amount_nanos"] for line in api["credits"]) == credit_nanos
    assert head["closing_nanos"] - head["opening_nanos"] == credit_nanos - usage_nanos
    page = (await browser.get(f"/statements/{head['id']}")).text
    for table in ("by-model", "by-day", "lines"):
        assert section_sum(page, table) == usage_nanos
    assert section_sum(page, "credit") == credit_nanos
    sheet = (await browser.get(f"/statements/{head['id']}/csv")).text
    assert statement_csv(sheet, head) == (credit_nanos, usage_nanos)
    drawn = (await browser.get(f"/statements/{head['id']}/pdf")).content
    assert statement_pdf(drawn) == [credit_nanos, usage_nanos, usage_nanos, usage_nanos]


def in_utc_day(begins_s: int) -> Keeps:
    """Events of a day as OpenAI's reports have it."""
    return lambda event: begins_s == event.at_us // DAY_US * 86400


async def _reports(house: House, account: Account) -> None:
    """What a key reads through the API: OpenAI's reports by UTC day, and its own."""
    reports = house.console.world.services.reports
    asked = {
        "start_time": [str(account.last_us // DAY_US * 86400)],
        "limit": ["31"],
        "bucket_width": ["1d"],
    }
    for name in ("usage/completions", "costs"):
        found: dict[int, Sums | int] = {}
        following = True
        query = dict(asked)
        while following:
            answer = await reports.get(f"/organization/{name}", account.id, "", "", query)
            for bucket in answer["data"]:
                found[bucket["start_time"]] = _bucket(name, bucket["results"])
            following = bool(answer["next_page"])
            query["page"] = [answer["next_page"]]
        for begins_s, got in found.items():
            sums = account.sums(in_utc_day(begins_s))
            assert got == (sums[-1] if name == "costs" else sums[:-1])
        assert len(found) >= len({event.at_us // DAY_US for event in account.events})
    for key_id in account.keys:
        own = (await reports.get("/key", account.id, key_id, "", {}))["data"]
        spent = account.sums(of("key", key_id))[-1]
        assert own["usage_nanos"] == spent
        assert own["limit_remaining_nanos"] == account.credit_nanos - account.sums()[-1]


def _bucket(name: str, results: list[dict[str, Any]]) -> Sums | int:
    if name == "costs":
        return sum(int(row["amount_nanos"]) for row in results)
    names = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
    return tuple(sum(int(row[column]) for row in results) for column in names)


async def _operators(house: House, account: Account) -> None:
    """The account's page for operators, and the platform's books."""
    page = (await house.operator.get(f"/operator/accounts/{account.id}")).text
    spent = account.sums()[-1]
    this_month = account.sums(account.is_this)
    assert figure(page, "This month") == this_month[-1]
    assert f"{this_month[0]:,} call" in page
    assert figure(page, "Credit left") == account.credit_nanos - spent
    of_keys = re.findall(r'data-label="Spent" class="num"><span>\$([\d.]+)<br>', page)
    assert sum(map(nanos, of_keys)) == spent
    books = (await house.operator.get("/operator/books")).text
    assert figure(books, "Revenue") == house.revenue_nanos
