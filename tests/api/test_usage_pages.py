"""The usage page without a browser: its links, its list, its files, and Home beside it."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from latchgate.clock import DAY_US
from latchgate.console.home import compared
from latchgate.domain.usage_spans import Span, UsageAsked
from latchgate.http.api.usage_shapes import ExportedCall
from latchgate.services.usage import EXPORT_ROWS
from latchgate.services.usage_summary import UsageTotals
from latchgate.services.usage_views import Months
from tests.support.gateway import CALLER
from tests.support.history import KEYS, RARE_APP, write_history
from tests.support.management import Management, running_console

pytestmark = pytest.mark.anyio
CALLS, DAYS = 12_000, 40


@dataclass
class Used:
    """A console in which somebody has a history, and her browser."""

    console: Management
    browser: httpx.AsyncClient

    async def text(self, path: str) -> str:
        """A page's text."""
        answer = await self.browser.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.text

    async def totals(self, query: str) -> dict[str, int]:
        """What the management API says of an address."""
        answer = await self.browser.get(f"/api/usage?limit=1&{query}")
        totals: dict[str, int] = answer.json()["totals"]
        return totals


@pytest.fixture
async def used(tmp_path: Path) -> AsyncIterator[Used]:
    """Somebody in India with a history of 40 days."""
    async with running_console(tmp_path) as console:
        browser = await console.signed_up()
        account_id = (await browser.get("/api/session")).json()["account_id"]
        await console.world.services.limits.set_time_zone(account_id, "Asia/Kolkata", CALLER)
        write = {"calls": CALLS, "days": DAYS, "account_id": account_id}
        write |= {"end_us": console.world.clock.now_us()}
        await console.world.store.write(write_history, **write)
        yield Used(console, browser)


def _bars(page: str) -> list[tuple[str, int]]:
    """Where each bar leads, and how many calls it says it has."""
    found = re.findall(r'<li><a href="([^"]+)" title="[^"]*?, ([\d,]+) calls?, ', page)
    return [(html.unescape(href), int(calls.replace(",", ""))) for href, calls in found]


@pytest.mark.parametrize(
    "address",
    ["/usage?period=7d", "/usage?period=7d&per=hour&app=curl", "/usage?period=today&model=large"],
)
async def test_every_bar_leads_to_just_its_calls(used: Used, address: str) -> None:
    bars = _bars(await used.text(address))
    assert bars
    query = address.partition("?")[2].replace("&per=hour", "")
    assert sum(calls for _, calls in bars) == (await used.totals(query))["calls"]
    for href, calls in bars[:: max(1, len(bars) // 5)]:
        path, _, anchor = href.partition("#")
        assert anchor == "calls"
        page = await used.text(path)
        assert re.search(rf'<dt>Calls</dt><dd class="value">{calls:,}<', page), href
        assert page.count('href="/usage/req_') == min(calls, 50)
        within = _bars(page)
        assert sum(calls for _, calls in within) == calls


async def test_the_list_obeys_the_filters_and_so_does_its_next_page(used: Used) -> None:
    page = await used.text("/usage?period=7d&app=curl&model=small")
    seen: list[str] = []
    while True:
        rows = re.findall(r'<tr class="link">.*?</tr>', page, re.DOTALL)
        assert all('title="curl"' in row and "<code>small</code>" in row for row in rows)
        seen += re.findall(r'href="/usage/(req_\w+)"', page)
        older = re.search(r'href="([^"]+)#calls" rel="next"', page)
        if older is None:
            break
        page = await used.text(html.unescape(older[1]))
        assert 'class="bars' not in page
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == (await used.totals("period=7d&app=curl&model=small"))["calls"] > 50


async def test_a_file_comes_in_pieces_and_each_call_is_in_it_once(used: Used) -> None:
    async with used.browser.stream("GET", "/api/usage/export.csv?period=7d") as answer:
        assert answer.headers["content-type"].startswith("text/csv")
        assert 'filename="latchgate-calls.csv"' in answer.headers["content-disposition"]
    pieces = [
        piece
        async for piece in used.console.world.services.usage.export(
            (await used.browser.get("/api/session")).json()["account_id"],
            asked=UsageAsked(),
            form="csv",
        )
    ]
    assert len(pieces) == CALLS // EXPORT_ROWS
    assert max(piece.count(b"\r\n") for piece in pieces) <= EXPORT_ROWS + 1
    rows = list(csv.DictReader(io.StringIO(b"".join(pieces).decode())))
    assert len({row["request_id"] for row in rows}) == len(rows) == CALLS
    whole = (await used.browser.get("/api/usage/export.json")).text
    assert [row["request_id"] for row in json.loads(whole)["data"]] == [
        row["request_id"] for row in rows
    ]
    assert list(rows[0]) == list(ExportedCall.model_fields)
    none = (await used.browser.get("/api/usage/export.json?app=nobody")).json()
    assert none == {"data": []}


async def test_nothing_of_another_account_is_listed_summed_or_exported(used: Used) -> None:
    grace = await used.console.signed_up("grace@example.com", "10.0.0.9")
    (row,) = (await used.browser.get(f"/api/usage?limit=1&key={KEYS[1]}")).json()["data"]
    for query in ("", f"key={KEYS[1]}", "app=curl", "model=small"):
        answer = (await grace.get(f"/api/usage?{query}")).json()
        assert (answer["totals"]["calls"], answer["data"]) == (0, [])
        assert (await grace.get(f"/api/usage/export.json?{query}")).json()["data"] == []
        page = (await grace.get(f"/usage?{query}&before={row['request_id']}")).text
        assert "/usage/req_" not in page
    assert "No call of yours has this id" in (await grace.get(f"/usage?q={row['request_id']}")).text
    choices = (await grace.get("/usage")).text
    assert KEYS[1] not in choices
    assert RARE_APP not in choices


async def test_a_call_is_found_by_its_request_id_whatever_the_period(used: Used) -> None:
    oldest = "req_" + f"{7:026d}"
    for typed in (oldest, f"  {oldest} ", oldest.upper(), oldest.removeprefix("req_")):
        page = (await used.browser.get("/usage", params={"q": typed, "period": "today"})).text
        assert f'href="/usage/{oldest}"' in page, typed
    for typed in ("req_nothing", "req_" + "z" * 26, "'; --", "x" * 64, "<b>"):
        page = (await used.browser.get("/usage", params={"q": typed})).text
        assert "No call of yours has this id" in page
        assert 'value="<' not in page


async def test_a_receipt_shows_its_arithmetic(used: Used) -> None:
    (row,) = (await used.browser.get("/api/usage?limit=1")).json()["data"]
    page = await used.text(f"/usage/{row['request_id']}")
    fresh = row["input_tokens"] - row["cached_tokens"]
    for tokens, price, picos in (
        (fresh, "$0.002", 2000),
        (row["cached_tokens"], "$0.001", 1000),
        (row["output_tokens"], "$0.004", 4000),
    ):
        line = rf">{tokens:,}</td>.*?>{re.escape(price)}</td>.*?>\$0\.{tokens * picos:012d}</td>"
        assert re.search(line, page), (tokens, price)
    assert f"${row['charge_nanos'] / 1e9:.9f}" in page
    assert "price version 1" in page
    assert "First token after</dt><dd>900 ms" in page
    for fact in (row["app"], row["key_name"], row["request_id"], "status 200", "192.0.2.7"):
        assert fact in page


async def test_home_says_what_binds_how_this_month_goes_and_what_is_next(used: Used) -> None:
    page = await used.text("/home")
    assert "of $5.00 of credit" in page
    month = await used.totals("period=month")
    assert f"{month['calls']:,} calls</a>" in page
    assert "at this time</span>" in page or "either</span>" in page
    assert "Next: decide what a day may cost." in page
    limit = {"what": "account", "period": "day", "limit_usd": "1.00"}
    await used.browser.put("/api/limits", json=limit)
    page = await used.text("/home")
    assert "Next: decide" not in page
    assert "The account’s limit for today</a>, $1.00, binds" in page


@pytest.mark.parametrize(
    ("this", "last", "words"),
    [
        (0, 0, "nothing in October either"),
        (5, 0, "nothing in October at this time"),
        (0, 5, "100 % less than in October at this time"),
        (112, 100, "12 % more than in October at this time"),
        (2000, 2001, "as much as in October at this time"),
        (10**9, 1, "99,999,999,900 % more than in October at this time"),
    ],
)
def test_months_are_compared_in_whole_percent(this: int, last: int, words: str) -> None:
    first_us = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 1_000_000
    sums = (UsageTotals(1, 0, 0, 0, nanos) for nanos in (this, last))
    assert compared(Months(*sums, Span(first_us, first_us + DAY_US), "UTC")) == words
