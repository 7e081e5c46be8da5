"""What an owner sees of his usage: by app, model and key, every sum a sum of the same calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from latchgate.domain.usage_spans import UsageAsked
from latchgate.services.catalog import ModelTerms
from latchgate.services.usage_summary import UsageTotals
from latchgate.services.usage_views import UsageView
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
DEAR = ModelTerms(1_000_000, 200_000, 4_000_000)
WEEK = UsageAsked("7d")


async def _call(gateway: Gateway, app: str, model: str = "m") -> None:
    reply = await gateway.chat(model=model, max_tokens=5, headers={"x-title": app})
    assert reply.status == 200


def _sum(events: list[UsageView]) -> UsageTotals:
    return UsageTotals(
        len(events),
        sum(event.input_tokens for event in events),
        sum(event.cached_tokens for event in events),
        sum(event.output_tokens for event in events),
        sum(event.charge_nanos for event in events),
    )


async def test_each_sum_is_that_of_its_calls(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.catalog.add_model(
            "best",
            upstream="fake",
            upstream_model=None,
            tier="premium",
            context_tokens=8192,
            output_tokens_max=1000,
            terms=DEAR,
        )
        await gateway.limits.set_premium(ACCOUNT, "account", is_on=True, caller=CALLER)
        other = await gateway.add_account("acct_other", USD)
        await gateway.chat(key=other.secret, headers={"x-title": "Desk"})
        await _call(gateway, "Desk")
        await gateway.prices.set_price("best", terms=ModelTerms(2_000_000, 200_000, 4_000_000))
        await _call(gateway, "Desk", "best")
        await _call(gateway, "'; DROP TABLE usage_days; --")
        fresh = await gateway.api_keys.create(ACCOUNT, "", caller=CALLER, replace=True)
        gateway.secret = fresh.secret
        await _call(gateway, "Desk", "best")

        events = await gateway.events()
        summary = await gateway.usage.summary(ACCOUNT, asked=WEEK)
        assert summary.totals == _sum(events)
        assert sum((bar.totals for bar in summary.bars), UsageTotals()) == summary.totals
        by_app = {row.app: row.totals for row in summary.by_app}
        assert list(by_app) == ["Desk", "'; DROP TABLE usage_days; --"]
        for app, totals in by_app.items():
            assert totals == _sum([event for event in events if event.app == app])
        for model in summary.by_model:
            used = [event for event in events if event.model == model.model]
            assert {event.tier for event in used} == {model.tier}
            assert model.totals == _sum(used)
        assert [model.tier for model in summary.by_model] == ["premium", "standard"]
        premium = [event for event in events if event.tier == "premium"]
        assert summary.premium_nanos == _sum(premium).charge_nanos
        assert summary.by_other_apps == UsageTotals()
        for key in await gateway.api_keys.list_keys(ACCOUNT):
            used = [event for event in events if event.api_key_id == key.id]
            assert (key.calls, key.spent_nanos) == (len(used), _sum(used).charge_nanos)
            assert key.last_used_us == max(event.started_us for event in used)
        assert (await gateway.audit()).findings == ()


async def test_failed_calls_are_counted_and_free(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.model_server.stop()
        assert (await gateway.chat()).status == 502
        summary = await gateway.usage.summary(ACCOUNT, asked=WEEK)
        assert (summary.totals.calls, summary.totals.charge_nanos) == (1, 0)
        assert (await gateway.audit()).findings == ()
