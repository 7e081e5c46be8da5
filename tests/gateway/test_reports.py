"""What a key's holder reads of his account through the API is what was charged, and only his."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latchgate.clock import DAY_US, HOUR_US, SECOND_US
from latchgate.services.catalog import ModelTerms
from tests.gateway.test_limits import SetClock
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.model_server import answers, usage_of

pytestmark = pytest.mark.anyio
TERMS = ModelTerms(1_000_000, 500_000, 2_000_000)


async def _get(gateway: Gateway, path: str, key: str | None = None) -> Any:
    reply = await gateway.request("GET", path, key=key)
    assert reply.status == 200, reply.body
    return reply.json


async def test_a_receipt_has_the_calls_tokens_and_its_charge(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5))
        called = await gateway.chat()
        receipt = await _get(gateway, f"/v1/generation?id={called.headers['x-request-id']}")
        (event,) = await gateway.events()
        data = receipt["data"]
        assert (data["tokens_prompt"], data["tokens_completion"]) == (10, 5)
        assert data["cost_nanos"] == event.charge_nanos == 20_000
        assert data["total_cost"] == 0.00002


async def test_another_accounts_receipt_is_as_good_as_missing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = answers()
        other = await gateway.add_account("acct_other", USD)
        called = await gateway.chat()
        for call_id in (called.headers["x-request-id"], "req_nothing", "'--", ""):
            path = f"/v1/generation?id={call_id}"
            reply = await gateway.request("GET", path, key=other.secret)
            assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_usage_and_costs_by_day_are_sums_of_the_charges(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, terms=TERMS, clock=clock) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5, cached=4))
        first_s = clock.now_us() // DAY_US * 86_400
        await gateway.chat()
        clock.move_us(DAY_US)
        await gateway.chat()
        await gateway.chat()
        days = f"start_time={first_s}&end_time={first_s + 2 * 86_400}"
        usage = await _get(gateway, f"/v1/organization/usage/completions?{days}&group_by=model")
        costs = await _get(gateway, f"/v1/organization/costs?{days}&group_by=line_item")
        results = [bucket["results"] for bucket in usage["data"]]
        assert [[(r["model"], r["num_model_requests"]) for r in day] for day in results] == [
            [("m", 1)],
            [("m", 2)],
        ]
        assert results[1][0]["input_tokens"] == 20
        assert results[1][0]["input_cached_tokens"] == 8
        assert results[1][0]["output_tokens"] == 10
        spent = sum(r["amount_nanos"] for bucket in costs["data"] for r in bucket["results"])
        assert spent == (await gateway.balances()).spent_nanos
        assert not usage["has_more"]


async def test_usage_comes_by_hour_and_of_chosen_models_and_keys(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        assert gateway.key is not None
        await gateway.chat()
        clock.move_us(HOUR_US)
        await gateway.chat()
        path = "/v1/organization/usage/completions?bucket_width=1h"
        for more, calls in (
            ("", [1, 1]),
            ("&models=m&models[]=other", [1, 1]),
            (f"&api_key_ids={gateway.key.view.id}", [1, 1]),
            ("&models=other", []),
            ("&api_key_ids[]=key_none", []),
        ):
            page = await _get(gateway, path + more)
            assert [b["end_time"] - b["start_time"] for b in page["data"]] == [3600] * 24
            results = [r["num_model_requests"] for b in page["data"] for r in b["results"]]
            assert results == calls
        assert page["data"][-1]["start_time"] == clock.now_us() // HOUR_US * 3600
        for query in ("usage/completions?" + "&models=m" * 51, "costs?bucket_width=1h"):
            reply = await gateway.request("GET", f"/v1/organization/{query}")
            assert reply.status == 400


async def test_a_period_comes_page_by_page_and_ends_today(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        first_s = (clock.now_us() // DAY_US - 4) * 86_400
        path = f"/v1/organization/costs?start_time={first_s}&limit=2"
        seen, page = [], ""
        while True:
            found = await _get(gateway, path + page)
            seen += [bucket["start_time"] for bucket in found["data"]]
            if not found["has_more"]:
                break
            page = f"&page={found['next_page']}"
        assert seen == [first_s + 86_400 * day for day in range(5)]
        assert seen[-1] == clock.now_us() // DAY_US * DAY_US // SECOND_US


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("start_time=-1", "start_time"),
        ("start_time=1e9", "start_time"),
        ("start_time=20&end_time=10", "start_time"),
        ("start_time=99999999999999", "start_time"),
        ("limit=0", "limit"),
        ("limit=32", "limit"),
        ("bucket_width=1m", "bucket_width"),
        ("group_by=secret", "group_by"),
        ("page=x", "page"),
    ],
)
async def test_a_period_that_is_none_is_refused_by_name(
    tmp_path: Path, query: str, param: str
) -> None:
    async with running_gateway(tmp_path) as gateway:
        for report in ("usage/completions", "usage/embeddings", "costs"):
            reply = await gateway.request("GET", f"/v1/organization/{report}?{query}")
            assert (reply.status, reply.error["param"]) == (400, param)


async def test_what_a_key_may_spend_is_what_the_next_limit_leaves(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5))
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "day", USD // 10, CALLER)
        await gateway.chat()
        data = (await _get(gateway, "/v1/key"))["data"]
        assert (data["limit_nanos"], data["limit_reset"]) == (USD // 10, "day")
        assert data["limit_remaining_nanos"] == USD // 10 - 20_000
        assert data["usage_daily"] == data["usage"] == 0.00002
