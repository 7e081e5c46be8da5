"""One truth: whatever was used, pages, files, answers and books have the same totals.

Hypothesis makes up calls of an account in some time zone and posts them in some batches; a model of
a few lines beside it says which of them a period and a filter mean.
"""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from latchgate.clock import DAY_US, MINUTE_US
from latchgate.domain.prices import Price
from latchgate.domain.usage import Usage
from latchgate.domain.windows import Window
from latchgate.services.catalog import ModelTerms
from latchgate.storage.budgets import get_credit_budget
from latchgate.storage.charges import post_calls
from latchgate.storage.journal_file import CloseRecord
from latchgate.storage.leases import open_epoch, take_lease
from tests.support.gateway import CALLER
from tests.support.management import Management, running_console
from tests.support.totals import added, answered, chart_table, together, usage_figures

ZONES = ("UTC", "Asia/Kolkata", "America/New_York", "Pacific/Chatham", "Australia/Lord_Howe")
APPS = ("Letter desk", "=SUM(A1)", "<b>&amp;</b>", "curl/8.5", 'A, “quoted” "app"')
SPAN_DAYS = 75
NANOS_MAX = 10_000_000
MODELS = ("m", "large")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """A call, in the terms of the model."""

    ago_minutes: int
    app: str
    model: int
    key: int
    usage: Usage


calls = st.builds(
    Call,
    ago_minutes=st.integers(1, SPAN_DAYS * 1440) | st.integers(1, 2880),
    app=st.sampled_from(APPS),
    model=st.integers(0, 1),
    key=st.integers(0, 1),
    usage=st.builds(
        lambda cached, rest, output: Usage(cached + rest, cached, output),
        st.integers(0, 900),
        st.integers(0, 9000),
        st.integers(0, 5000),
    ),
)
lives = st.tuples(
    st.sampled_from(ZONES), st.lists(st.lists(calls, min_size=1, max_size=12), max_size=4)
)


@dataclass
class Account:
    """An account in a browser, with two keys, and what was posted to it."""

    browser: httpx.AsyncClient
    account_id: str
    keys: list[str]
    zone: ZoneInfo
    now_us: int
    posted: list[tuple[int, Call, int]]

    def meant(self, asked: dict[str, str]) -> list[tuple[int, Call, int]]:
        """The posted calls that an address means."""
        today = datetime.fromtimestamp(self.now_us / 1e6, UTC).astimezone(self.zone).date()
        first, last = _days(asked, today)

        def is_meant(at_us: int, call: Call) -> bool:
            day = datetime.fromtimestamp(at_us // 10**6, UTC).astimezone(self.zone).date()
            return (
                first <= day <= last
                and asked.get("app", call.app) == call.app
                and asked.get("model", MODELS[call.model]) == MODELS[call.model]
                and asked.get("key", self.keys[call.key]) == self.keys[call.key]
            )

        return [row for row in self.posted if is_meant(row[0], row[1])]


def _days(asked: dict[str, str], today: date) -> tuple[date, date]:
    if "from" in asked:
        return date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])
    first = today.replace(day=1)
    return {
        "today": (today, today),
        "7d": (today - timedelta(days=6), today),
        "month": (first, today),
        "last_month": ((first - timedelta(days=1)).replace(day=1), first - timedelta(days=1)),
    }[asked["period"]]


def _sums(rows: list[tuple[int, Call, int]]) -> tuple[int, ...]:
    return (
        len(rows),
        sum(call.usage.input_tokens for _, call, _ in rows),
        sum(call.usage.cached_tokens for _, call, _ in rows),
        sum(call.usage.output_tokens for _, call, _ in rows),
        sum(nanos for *_, nanos in rows),
    )


async def _new_account(console: Management, zone: str) -> Account:
    number = next(_numbers)
    browser = await console.signed_up(f"ada{number}@example.com", f"10.0.{number // 250}.7")
    account_id = (await browser.get("/api/session")).json()["account_id"]
    bodies: tuple[dict[str, bool], ...] = ({}, {"replace": True, "at_once": True})
    keys = [(await browser.post("/api/keys", json=body)).json()["id"] for body in bodies]
    await console.world.services.limits.set_time_zone(account_id, zone, CALLER)
    now_us = console.world.clock.now_us()
    return Account(browser, account_id, keys, ZoneInfo(zone), now_us, [])


async def _post(console: Management, account: Account, batches: list[list[Call]]) -> None:
    """Post calls as a serving process does, batch by batch."""
    store, now_us = console.world.store, account.now_us
    epoch_id = f"epo_{next(_numbers)}"
    window = Window(await store.read(get_credit_budget, account.account_id))
    await store.write(open_epoch, epoch_id=epoch_id, now_us=now_us)
    lease = {"epoch_id": epoch_id, "window": window, "wanted_nanos": 10**9, "needed_nanos": 10**9}
    await store.write(take_lease, **lease)
    for offset, batch in enumerate(batches):
        records = []
        for call in batch:
            price = await _price(console, MODELS[call.model])
            started_us = now_us - call.ago_minutes * MINUTE_US
            nanos = price.charge_nanos(call.usage)
            account.posted.append((started_us, call, nanos))
            records.append(_record(account, call, price.id, started_us, nanos, window))
        span = {"from_offset": offset, "to_offset": offset + 1}
        await store.write(post_calls, records, epoch_id=epoch_id, now_us=now_us, **span)


async def _price(console: Management, model: str) -> Price:
    query = text(
        """SELECT p.id, input_picos, cached_picos, output_picos FROM prices p
           JOIN models m ON m.id = p.model_id
           WHERE m.name = :model AND p.service_tier = 'default'"""
    )
    return Price(
        *await console.world.store.read(lambda c: c.execute(query, {"model": model}).one())
    )


def _record(
    account: Account, call: Call, price_id: str, started_us: int, nanos: int, window: Window
) -> CloseRecord:
    return CloseRecord(
        request_id=f"req_{next(_numbers):026d}",
        account_id=account.account_id,
        api_key_id=account.keys[call.key],
        price_id=price_id,
        model=MODELS[call.model],
        app=call.app,
        hold_nanos=NANOS_MAX,
        is_stream=False,
        started_us=started_us,
        ip="192.0.2.7",
        windows=((window.budget_id, window.starts_us),),
        input_tokens=call.usage.input_tokens,
        cached_tokens=call.usage.cached_tokens,
        output_tokens=call.usage.output_tokens,
        charge_nanos=nanos,
        overrun_nanos=0,
        outcome="answered",
        counted_by="upstream",
        http_status=200,
        first_byte_us=started_us + 1000,
        ended_us=started_us + 2000,
    )


# ── where totals are shown ──────────────────────────────────────────────────────────────────────
async def _check(account: Account, asked: dict[str, str]) -> None:
    """Every place shows the same totals for an address."""
    browser, expected = account.browser, _sums(account.meant(asked))
    query = urlencode(asked)
    for split in ("app", "model", "key"):
        page = (await browser.get(f"/usage?{query}&split={split}")).text
        assert usage_figures(page) == expected
        assert chart_table(page) == expected[-1]
        summary = (await browser.get(f"/api/usage/summary?{query}&split={split}")).json()
        assert answered(summary["totals"]) == expected
        cuts = [summary["bars"], [part for bar in summary["bars"] for part in bar["parts"]]]
        cuts += [summary[f"by_{name}"] for name in ("app", "model", "key")]
        for cut in cuts:
            assert together(map(answered, cut)) == expected
    listed = (await browser.get(f"/api/usage?{query}&limit=200")).json()
    assert answered(listed["totals"]) == added(listed["data"]) == expected
    exported = (await browser.get(f"/api/usage/export.json?{query}")).json()["data"]
    sheet = list(
        csv.DictReader(io.StringIO((await browser.get(f"/api/usage/export.csv?{query}")).text))
    )
    assert added(exported) == added(sheet) == expected
    for row, cells in zip(exported, sheet, strict=True):
        assert cells["app"].removeprefix("'") == row["app"]
        assert not cells["app"].startswith("=")
        assert Decimal(cells["charge_usd"]) == Decimal(row["charge_nanos"]) / 10**9


async def _check_books(console: Management, account: Account) -> None:
    """Postings, and what the API answers in OpenAI's shape, are the sum of all that was posted."""
    calls, tokens_in, cached, tokens_out, nanos = _sums(account.posted)
    query = text(
        """SELECT coalesce(-sum(amount_nanos), 0) FROM postings
           WHERE account_id = :id AND kind = 'usage'"""
    )
    store = console.world.store
    posted = await store.read(lambda conn: conn.execute(query, {"id": account.account_id}).scalar())
    assert posted == nanos
    found = {"costs": [0], "usage/completions": [0, 0, 0, 0]}
    for name, sums in found.items():
        page = str(account.now_us // DAY_US - SPAN_DAYS)
        while page:
            asked = {"start_time": ["0"], "limit": ["31"], "page": [page]}
            answer = await console.world.services.reports.get(
                f"/organization/{name}", account.account_id, "", "", asked
            )
            for row in (row for bucket in answer["data"] for row in bucket["results"]):
                figures = (
                    [row["amount_nanos"]]
                    if name == "costs"
                    else [
                        row["num_model_requests"],
                        row["input_tokens"],
                        row["input_cached_tokens"],
                        row["output_tokens"],
                    ]
                )
                sums[:] = [one + other for one, other in zip(sums, figures, strict=True)]
            page = answer["next_page"]
    assert found == {
        "costs": [nanos],
        "usage/completions": [calls, tokens_in, cached, tokens_out],
    }
    whole = (await account.browser.get("/api/usage?limit=1")).json()["totals"]
    assert answered(whole) == (calls, tokens_in, cached, tokens_out, nanos)


async def _live(console: Management, zone: str, batches: list[list[Call]]) -> None:
    account = await _new_account(console, zone)
    await _post(console, account, batches)
    today = datetime.now(account.zone).date()
    first = (today - timedelta(days=SPAN_DAYS + 1)).isoformat()
    own = {"from": first, "to": today.isoformat()}
    for asked in (
        own,
        {"period": "today"},
        {"period": "7d"},
        {"period": "month"},
        {"period": "last_month"},
        {"period": "last_month", "model": "large"},
        own | {"app": APPS[1]},
        own | {"app": APPS[0], "model": "m", "key": account.keys[1]},
        own | {"key": account.keys[0]},
    ):
        try:
            await _check(account, asked)
        except AssertionError:
            if datetime.now(account.zone).date() != today:
                return  # midnight has passed meanwhile, and another day is meant
            raise
    await _check_books(console, account)
    findings = (await console.world.audit()).findings
    assert [finding for finding in findings if "journal" not in finding] == []
    await account.browser.aclose()


def test_every_total_is_the_same_wherever_it_is_shown() -> None:
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        opened = running_console(Path(folder))
        console = runner.run(opened.__aenter__())
        large = ModelTerms(300_000, 33_333, 900_001)
        terms = {"tier": "standard", "context_tokens": 8192, "output_tokens_max": 1000}
        runner.run(
            console.world.services.catalog.add_model(
                "large",
                upstream="lab",
                upstream_model=None,
                terms=large,
                **terms,  # type: ignore[arg-type]
            )
        )

        @settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
        @given(lives)
        def live(life: tuple[str, list[list[Call]]]) -> None:
            zone, batches = life
            runner.run(_live(console, zone, batches))

        try:
            live()
        finally:
            runner.run(opened.__aexit__(None, None, None))
