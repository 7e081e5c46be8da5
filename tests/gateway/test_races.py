"""Guards money against races: a thousand calls at once spend a budget to its last cent, not more.

``LATCHGATE_TEST_RACES`` is how often each race is run; more finds more.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from latchgate.clock import DAY_US
from latchgate.services.catalog import ModelTerms
from tests.gateway.test_limits import SetClock
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.model_server import Received, answers, completion, send_json, usage_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]

RACES = range(int(os.environ.get("LATCHGATE_TEST_RACES", "3")))
#: An output token costs 0.10 USD, and nothing else costs anything.
TERMS = ModelTerms(0, 0, 100_000_000_000)
DIME = USD // 10
CALLS = 1000
LIMITS = [
    *(("account_limit", period) for period in ("day", "week", "month")),
    *(("key_limit", period) for period in ("none", "day")),
]


class SlowStart:
    """A model server that answers nobody until so many calls hang on it."""

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._arrived = 0
        self._are_here = asyncio.Event()

    async def __call__(self, _request: Received, writer: asyncio.StreamWriter) -> None:
        self._arrived += 1
        if self._arrived == self._calls:
            self._are_here.set()
        await self._are_here.wait()
        await send_json(writer, 200, completion(usage=usage_of(10, 1)))


async def _race(gateway: Gateway, affordable: int, *, is_stream: bool = False) -> None:
    """All calls at once: what is affordable is answered, all else refused, and nothing is left."""
    if is_stream:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1), pieces=1)
    else:
        gateway.model_server.behaviour = SlowStart(affordable)
    calls = (gateway.chat(max_tokens=1, stream=is_stream) for _ in range(CALLS))
    replies = await asyncio.gather(*calls)
    statuses = Counter(reply.status for reply in replies)
    assert statuses == {200: affordable, 429: CALLS - affordable}
    assert len(gateway.model_server.received) == affordable
    assert gateway.engine.purse.held_nanos_all() == 0
    balances = await gateway.balances()
    assert (balances.spent_nanos, balances.held_nanos) == (affordable * DIME, 0)
    standing = await gateway.limits.standing(ACCOUNT)
    assert standing.available_nanos == 0
    assert all(view.spent_nanos == affordable * DIME for view in standing.limits)
    assert (await gateway.audit()).findings == ()


@pytest.mark.parametrize("number", RACES)
async def test_a_thousand_calls_at_once_spend_the_credit_to_the_last_cent(
    tmp_path: Path, number: int
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, running_per_key_max=2 * CALLS) as gateway:
        await _race(gateway, 50, is_stream=number % 2 == 1)


@pytest.mark.parametrize("number", RACES)
async def test_a_thousand_calls_at_once_stop_at_the_tightest_of_all_limits(
    tmp_path: Path, number: int
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, running_per_key_max=2 * CALLS) as gateway:
        tightest = [None, *LIMITS][number % (1 + len(LIMITS))]  # None: all bind at once
        for place, name in enumerate(LIMITS):
            dimes = 23 if tightest in (None, name) else 24 + place
            await gateway.limits.set_limit(ACCOUNT, *name, dimes * DIME, CALLER)
        await _race(gateway, 23)


async def test_a_call_that_waits_for_money_over_midnight_belongs_to_one_day(
    tmp_path: Path,
) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, terms=TERMS, clock=clock) as gateway:
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "day", DIME, CALLER)
        hanging = asyncio.Event()

        async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
            await hanging.wait()
            await send_json(writer, 200, completion(usage=usage_of(10, 0)))

        gateway.model_server.behaviour = behave
        first = asyncio.create_task(gateway.chat(max_tokens=1))
        while not gateway.directory.running_calls:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
        second = asyncio.create_task(gateway.chat(max_tokens=1))
        slices = gateway.engine.purse._slices
        while not any(piece.waiting for piece in slices.values()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        clock.move_us(DAY_US)
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        hanging.set()
        assert [(await call).status for call in (first, second)] == [200, 200]
        assert (await gateway.balances()).spent_nanos == DIME
        assert (await gateway.audit()).findings == ()
