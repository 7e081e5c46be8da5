"""Guards calls without a key: the playground's go the way of all calls, and exceed no limit."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from latchgate.domain.errors import (
    Conflict,
    NotFound,
    QuotaExceeded,
    RateLimited,
)
from latchgate.gateway.directory import PLAYGROUND_CALLS_MAX
from latchgate.gateway.rates import RateTerms
from latchgate.services.catalog import ModelTerms
from latchgate.services.playground import Playground, Turn
from latchgate.storage import api_keys as key_rows
from tests.gateway.test_limits import TERMS, TOKEN
from tests.support.gateway import ACCOUNT, CALLER, USD, running_gateway
from tests.support.model_server import (
    answers,
    usage_of,
)
from tests.support.playground import ask, begun, question, settled, stalls

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]


async def test_a_call_is_answered_charged_and_noted_without_a_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert gateway.key is not None
        await gateway.api_keys.revoke(ACCOUNT, gateway.key.view.id, CALLER)
        asked = question(
            system="Be short.", temperature=0.5, top_p=0.9, max_tokens=7, turns=(
                Turn("user", "One?"), Turn("assistant", "Two."), Turn("user", "Three?"),
            ),
        )  # fmt: skip
        *events, usage, end = await ask(gateway, asked)
        text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
        assert (text, end) == ("word0 word1 word2 word3 ", "[DONE]")
        assert usage["usage"]["cost_nanos"] == 12 * 100 + 5 * 400
        sent = gateway.model_server.received[0].body
        assert sent["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
        ]
        assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.5, 0.9, 7)
        (event,) = await gateway.events()
        assert (event.app, event.outcome) == ("Playground", "answered")
        assert (event.input_tokens, event.output_tokens, event.charge_nanos) == (12, 5, 3200)
        assert (await gateway.balances()).spent_nanos == 3200
        assert gateway.engine.purse.held_nanos_all() == 0
        assert (await gateway.audit()).findings == ()


async def test_its_row_is_no_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await ask(gateway)
        await ask(gateway)
        row = await gateway.store.read(key_rows.find_playground, ACCOUNT)
        assert row is not None
        listed = await gateway.api_keys.list_keys(ACCOUNT)
        assert [key.name for key in listed] == ["test"]
        with pytest.raises(NotFound):
            await gateway.api_keys.confirm(ACCOUNT, row.id, CALLER)
        with pytest.raises(NotFound):
            await gateway.api_keys.revoke(ACCOUNT, row.id, CALLER)
        for text in (row.public_id, row.id, f"sk-lg-{row.public_id}", f"playground of {ACCOUNT}"):
            assert (await gateway.chat(key=text)).status == 401
        assert (await gateway.chat()).status == 200, "the live key goes on"


@pytest.mark.parametrize("period", ["day", "week", "month"])
async def test_the_accounts_limit_binds(tmp_path: Path, period: str) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.limits.set_limit(ACCOUNT, "account_limit", period, 0, CALLER)
        with pytest.raises(QuotaExceeded) as refused:
            await ask(gateway)
        assert refused.value.code == "organization_spend_limit_exceeded"
        await gateway.limits.set_limit(ACCOUNT, "account_limit", period, USD, CALLER)
        await ask(gateway)
        await gateway.limits.set_limit(ACCOUNT, "account_limit", period, 0, CALLER)
        with pytest.raises(QuotaExceeded):
            await ask(gateway)
        assert len(await gateway.events()) == 1


async def test_without_credit_it_is_refused_and_nothing_is_noted(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=0) as gateway:
        with pytest.raises(QuotaExceeded) as refused:
            await ask(gateway)
        assert refused.value.code == "credit_balance_exhausted"
        assert await gateway.events() == []


@pytest.mark.parametrize("is_set_first", [True, False], ids=["before", "after"])
async def test_a_keys_limit_neither_binds_it_nor_counts_it(
    tmp_path: Path, *, is_set_first: bool
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 2))
        if is_set_first:
            await gateway.limits.set_limit(ACCOUNT, "key_limit", "day", 3 * TOKEN, CALLER)
        for _ in range(3):
            await ask(gateway, question(max_tokens=2))
        assert (await gateway.chat(max_tokens=2)).status == 200
        if not is_set_first:
            await gateway.limits.set_limit(ACCOUNT, "key_limit", "day", 3 * TOKEN, CALLER)
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "day", 30 * TOKEN, CALLER)
        standing = await gateway.limits.standing(ACCOUNT)
        found = {(view.kind, view.spent_nanos // TOKEN) for view in standing.limits}
        assert found == {("credit", 8), ("account_limit", 8), ("key_limit", 2)}
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        assert (await gateway.chat(max_tokens=1)).status == 200
        assert (await gateway.chat(max_tokens=1)).status == 429
        await ask(gateway, question(max_tokens=1))
        assert (await gateway.audit()).findings == ()


async def test_calls_with_and_without_a_key_never_exceed_the_accounts_limit_together(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, running_per_key_max=1000) as gateway:
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "month", 40 * TOKEN, CALLER)
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1), pieces=1)
        statuses: Counter[int] = Counter()

        async def play() -> None:
            for _ in range(15):
                try:
                    await ask(gateway, question(max_tokens=1))
                    statuses[200] += 1
                except QuotaExceeded as error:
                    statuses[error.status] += 1

        async def call() -> None:
            for _ in range(15):
                statuses[(await gateway.chat(max_tokens=1)).status] += 1

        await asyncio.gather(
            *(both() for _ in range(PLAYGROUND_CALLS_MAX) for both in (play, call))
        )
        assert statuses == {200: 40, 429: 15 * 2 * PLAYGROUND_CALLS_MAX - 40}
        assert len(gateway.model_server.received) == 40
        standing = await gateway.limits.standing(ACCOUNT)
        limit = standing.find("account_limit", "month")
        assert limit is not None
        assert (limit.spent_nanos, limit.held_nanos) == (40 * TOKEN, 0)
        assert {event.app for event in await gateway.events()} == {"Playground", "unknown"}
        assert (await gateway.audit()).findings == ()


async def test_the_accounts_premium_switch_decides_and_not_its_keys(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.catalog.add_model(
            "dear", upstream="fake", upstream_model="up-model", tier="premium",
            context_tokens=8192, output_tokens_max=1000, terms=ModelTerms(1000, 1000, 1000),
        )  # fmt: skip
        playground = Playground(gateway.store, gateway.clock, gateway.catalog, None)

        async def listed() -> list[str]:
            return [model.name for model in await playground.list_models(ACCOUNT)]

        assert await listed() == ["m"]
        with pytest.raises(NotFound):
            await ask(gateway, question(model="dear"))
        await gateway.limits.set_premium(ACCOUNT, "key", is_on=False, caller=CALLER)
        await gateway.limits.set_premium(ACCOUNT, "account", is_on=True, caller=CALLER)
        assert await listed() == ["dear", "m"]
        await ask(gateway, question(model="dear"))
        await gateway.limits.set_premium(ACCOUNT, "account", is_on=False, caller=CALLER)
        with pytest.raises(NotFound):
            await ask(gateway, question(model="dear"))


async def test_only_models_that_chat_are_listed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.catalog.add_upstream(
            "other", base_url=gateway.model_server.base_url, api_key=None, speaks=("messages",)
        )
        for name, upstream, kind in (("vectors", "fake", "embeddings"), ("c", "other", "chat")):
            await gateway.catalog.add_model(
                name, upstream=upstream, upstream_model=None, tier="standard", kind=kind,
                context_tokens=8192, output_tokens_max=1000 * (kind == "chat"),
                terms=ModelTerms(1, 1, int(kind == "chat")),
            )  # fmt: skip
        playground = Playground(gateway.store, gateway.clock, gateway.catalog, None)
        assert [model.name for model in await playground.list_models(ACCOUNT)] == ["m"]
        with pytest.raises(Conflict):
            await playground.ask(ACCOUNT, question(), request_id="req_1", ip="")


async def test_rates_are_shared_with_the_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, rates=RateTerms(2, 0)) as gateway:
        assert (await gateway.chat()).status == 200
        await ask(gateway)
        with pytest.raises(RateLimited):
            await ask(gateway)
        assert (await gateway.chat()).status == 429


async def test_so_many_run_at_once_and_no_more(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(1)
        running = [await begun(gateway) for _ in range(PLAYGROUND_CALLS_MAX)]
        with pytest.raises(RateLimited) as refused:
            await begun(gateway)
        assert refused.value.public.startswith("The playground has 4 calls running")
        for answer in running:
            answer.hang_up()
        await settled(gateway)
        gateway.model_server.behaviour = answers()
        await ask(gateway)
        rates = {"requests_per_minute": None, "tokens_per_minute": None}
        await gateway.limits.set_rates(ACCOUNT, **rates, calls_at_once=1, caller=CALLER)
        gateway.model_server.behaviour = stalls(1)
        only = await begun(gateway)
        with pytest.raises(RateLimited):
            await begun(gateway)
        only.hang_up()
