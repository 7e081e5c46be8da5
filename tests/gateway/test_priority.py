"""Guards the money of the priority tier: off at first, one price from hold to receipt, no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.usage_spans import UsageAsked
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, Reply, running_gateway
from tests.support.model_server import answers, usage_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]

#: 100, 20 and 400 nano-USD a token.
TERMS = ModelTerms(100_000, 20_000, 400_000)
#: 12 tokens in, of which 2 are cached, and 5 out.
USED = usage_of(12, 5, cached=2)
CHARGE = 10 * 100 + 2 * 20 + 5 * 400


async def _switch(gateway: Gateway, what: str, *, is_on: bool) -> None:
    await gateway.limits.set_premium(ACCOUNT, what, is_on=is_on, caller=CALLER)


async def _ask(gateway: Gateway, **fields: Any) -> Reply:
    return await gateway.chat(service_tier="priority", **fields)


async def test_priority_is_refused_until_both_switches_are_on_and_says_where(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        for account, key in ((False, True), (True, False)):
            await _switch(gateway, "account", is_on=account)
            await _switch(gateway, "key", is_on=key)
            reply = await _ask(gateway)
            assert (reply.status, reply.error["code"], reply.error["param"]) == (
                400,
                "service_tier_not_enabled",
                "service_tier",
            )
            assert "under Limits in the console" in reply.error["message"]
        assert gateway.model_server.received == []
        assert await gateway.events() == []
        await _switch(gateway, "key", is_on=True)
        assert (await _ask(gateway)).status == 200


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_priority_call_is_charged_at_its_own_price_row(
    tmp_path: Path, *, is_stream: bool
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _switch(gateway, "account", is_on=True)
        gateway.model_server.behaviour = answers(usage=USED)
        for tier in ("default", "auto", "priority"):
            assert (await gateway.chat(service_tier=tier, stream=is_stream)).status == 200
        dear, auto, usual = await gateway.events()
        assert [event.service_tier for event in (usual, auto, dear)] == [
            "default",
            "default",
            "priority",
        ]
        assert usual.charge_nanos == auto.charge_nanos == CHARGE
        assert (dear.charge_nanos, dear.hold_nanos) == (2 * CHARGE, 2 * usual.hold_nanos)
        receipt = await gateway.usage.get(ACCOUNT, dear.request_id)
        assert (receipt.input_picos, receipt.cached_picos, receipt.output_picos) == (
            200_000,
            40_000,
            800_000,
        )
        # The tier is one of our line and our prices: what goes upstream says nothing of it.
        assert all("service_tier" not in got.body for got in gateway.model_server.received)
        assert (await gateway.audit()).findings == ()


async def test_a_whole_answer_says_what_priority_cost(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _switch(gateway, "account", is_on=True)
        gateway.model_server.behaviour = answers(usage=USED)
        reply = await _ask(gateway)
        assert reply.headers["x-latchgate-cost-nanos"] == str(2 * CHARGE)
        assert reply.json["usage"]["cost_nanos"] == 2 * CHARGE
        generation = await gateway.request(
            "GET", f"/v1/generation?id={reply.headers['x-request-id']}"
        )
        assert generation.json["data"]["service_tier"] == "priority"


async def test_no_priority_charge_is_above_its_hold(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _switch(gateway, "account", is_on=True)
        gateway.model_server.behaviour = answers(usage=usage_of(8000, 900))
        await _ask(gateway, max_tokens=10)
        (event,) = await gateway.events()
        assert event.charge_nanos == event.hold_nanos > 0
        assert (await gateway.balances()).held_nanos == 0
        assert (await gateway.audit()).findings == ()


async def test_what_the_credit_carries_is_reckoned_at_the_priority_price(tmp_path: Path) -> None:
    terms = ModelTerms(0, 0, 1_000_000)  # 1000 nano-USD for each token that comes out
    async with running_gateway(tmp_path, terms=terms, credit_nanos=100_000) as gateway:
        await _switch(gateway, "account", is_on=True)
        usual = await gateway.chat(max_tokens=1000)
        assert usual.headers["x-latchgate-clamped"] == "max_tokens=100"
        dear = await _ask(gateway, max_tokens=1000)  # 5 tokens are gone
        assert dear.headers["x-latchgate-clamped"] == "max_tokens=47"
        assert (await gateway.audit()).findings == ()


async def test_a_free_model_is_free_at_priority_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=ModelTerms(0, 0, 0), credit_nanos=0) as gateway:
        await _switch(gateway, "account", is_on=True)
        assert (await _ask(gateway)).status == 200
        (event,) = await gateway.events()
        assert (event.service_tier, event.charge_nanos) == ("priority", 0)


async def test_a_models_new_price_has_its_own_multiple(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        (view,) = await gateway.catalog.list_models()
        assert (view.priority_percent, view.priority_output_picos) == (200, 800_000)
        view = await gateway.prices.set_price("m", terms=TERMS, priority_percent=150)
        assert (view.price_version, view.priority_percent) == (2, 150)
        assert view.priority_input_picos == 150_000
        for percent in (99, 1001):
            with pytest.raises(InvalidRequest):
                await gateway.prices.set_price("m", terms=TERMS, priority_percent=percent)
        view = await gateway.prices.set_price("m", terms=ModelTerms(1, 1, 3), priority_percent=150)
        assert (view.priority_input_picos, view.priority_output_picos) == (2, 4)


async def test_usage_parts_what_was_priority_and_sums_it_with_the_rest(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=USD) as gateway:
        await _switch(gateway, "account", is_on=True)
        gateway.model_server.behaviour = answers(usage=USED)
        await gateway.chat()
        await _ask(gateway)
        await gateway.prices.set_price("m", terms=TERMS, priority_percent=300)
        await _ask(gateway)
        summary = await gateway.usage.summary(ACCOUNT, asked=UsageAsked("7d"))
        parts = [(row.model, row.service_tier, row.totals.calls) for row in summary.by_model]
        assert parts == [("m", "priority", 2), ("m", "default", 1)]
        assert summary.priority_nanos == (2 + 3) * CHARGE
        assert summary.totals.charge_nanos == (1 + 2 + 3) * CHARGE
        assert sum(row.totals.charge_nanos for row in summary.by_model) == 6 * CHARGE
        assert (await gateway.audit()).findings == ()
