"""An owner is told before a call of his is refused, and of each threshold once."""

from __future__ import annotations

from pathlib import Path

import pytest

from latchgate.services.catalog import ModelTerms
from latchgate.storage.alerts import list_alerts
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.model_server import answers, usage_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
#: An output token costs 0.10 USD, and nothing else costs anything.
TERMS = ModelTerms(0, 0, 100_000_000_000)


async def _call(gateway: Gateway) -> int:
    """A call of 0.30 USD that wants to be carried in full."""
    gateway.model_server.behaviour = answers(usage=usage_of(10, 3))
    reply = await gateway.chat(max_tokens=3, headers={"x-latchgate-strict": "1"})
    await gateway.engine.drain.flush()
    return reply.status


async def _told(gateway: Gateway) -> list[tuple[str, int, int]]:
    found = await gateway.store.read(list_alerts, ACCOUNT, before=None, limit=100)
    # Of credit, the thresholds are far away here.
    told = sorted((row.created_us, row.kind, row.threshold, row.left_nanos) for row in found)
    return [(kind, threshold, left) for _, kind, threshold, left in told]


async def test_calls_up_to_a_limit_tell_of_each_threshold_before_one_is_refused(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, credit_nanos=100 * USD, terms=TERMS) as gateway:
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "day", 1 * USD, CALLER)
        assert await _call(gateway) == 200
        assert await _told(gateway) == []
        assert await _call(gateway) == 200
        half = ("account_limit", 50, USD * 4 // 10)
        assert await _told(gateway) == [half]
        assert await _call(gateway) == 200
        told = [half, ("account_limit", 100, USD // 10)]
        assert await _told(gateway) == told
        assert await _call(gateway) == 429
        assert await _told(gateway) == told


async def test_a_limit_that_is_raised_has_thresholds_of_its_own(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=100 * USD, terms=TERMS) as gateway:
        await gateway.limits.set_limit(ACCOUNT, "key_limit", "month", USD // 2, CALLER)
        await _call(gateway)
        assert [mark for _, mark, _ in await _told(gateway)] == [100]
        await gateway.limits.set_limit(ACCOUNT, "key_limit", "month", 1 * USD, CALLER)
        await _call(gateway)
        assert [mark for _, mark, _ in await _told(gateway)] == [100, 50]
