"""Guards prices with a moment: the running gateway takes them up by itself, to the microsecond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latchgate.clock import DAY_US, SECOND_US
from latchgate.domain.errors import Conflict, InvalidRequest, LatchgateError, NotFound
from latchgate.domain.windows import FOREVER_US
from latchgate.gateway.price_changes import PriceChanges
from latchgate.services.catalog import ModelTerms
from latchgate.services.prices import AHEAD_DAYS_MAX, NOTICE_US, WAITING_MAX
from tests.gateway.test_key_terms import START_US, SetClock
from tests.support.gateway import CALLER, Gateway, running_gateway

pytestmark = pytest.mark.anyio
DEAR = ModelTerms(1_000_000, 1_000_000, 4_000_000)
FREE = ModelTerms(0, 0, 0)
SOON_US = START_US + DAY_US


async def test_a_call_is_charged_by_the_price_in_force_when_it_was_let_in(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        await gateway.chat()
        (first,) = await gateway.events()
        await gateway.prices.set_price("m", terms=DEAR, from_us=SOON_US, caller=CALLER)
        await gateway.prices.set_price("m", terms=FREE, from_us=SOON_US + DAY_US, caller=CALLER)
        reads = _count_reads(gateway)
        for at_us in (SOON_US - 1, SOON_US, SOON_US + DAY_US):
            clock.at_us = at_us
            assert (await gateway.chat()).status == 200
        assert reads == [], "the price must not be looked for on a call's path"
        events = reversed(await gateway.events())
        found = [event.charge_nanos for event in events][1:]
        assert found == [first.charge_nanos, 10 * first.charge_nanos, 0]
        assert await gateway.prices.list_coming() == []
        assert (await gateway.audit()).findings == ()


def _count_reads(gateway: Gateway) -> list[str]:
    """Every transaction that the directory asks for from now on."""
    seen: list[str] = []
    store = gateway.directory._store
    read = store.read

    async def counted(fn: Any, *args: Any, **kwargs: Any) -> Any:
        if "directory" in fn.__module__:
            seen.append(fn.__qualname__)
        return await read(fn, *args, **kwargs)

    gateway.directory._store = type("Store", (), {"read": staticmethod(counted)})()  # type: ignore[assignment]
    return seen


async def test_a_restart_knows_what_waits_and_what_came_meanwhile(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        await gateway.prices.set_price("m", terms=DEAR, from_us=SOON_US, caller=CALLER)
        await gateway.prices.set_price("m", terms=FREE, from_us=SOON_US + DAY_US, caller=CALLER)
        clock.at_us = SOON_US + 1
        await gateway.directory.load_models()  # as at a start
        assert gateway.directory.models["m"].price.input_picos == DEAR.input_picos
        clock.at_us = SOON_US + DAY_US
        assert gateway.directory.models["m"].price.is_free
        assert gateway.directory.models["m"].priority_price.is_free


async def test_a_price_from_now_on_leaves_what_waits_as_it_is(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        await gateway.prices.set_price("m", terms=DEAR, from_us=SOON_US, caller=CALLER)
        now = await gateway.prices.set_price("m", terms=FREE, caller=CALLER)
        assert (now.price_version, now.input_picos) == (3, 0)
        assert gateway.directory.models["m"].price.is_free
        clock.at_us = SOON_US
        (model,) = await gateway.catalog.list_models()
        assert (model.price_version, model.input_picos) == (2, DEAR.input_picos)
        assert gateway.directory.models["m"].price.input_picos == DEAR.input_picos


async def test_what_waits_can_be_withdrawn_until_shortly_before(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        await gateway.prices.set_price("m", terms=DEAR, from_us=SOON_US, caller=CALLER)
        await gateway.prices.set_price("m", terms=FREE, from_us=SOON_US + DAY_US, caller=CALLER)
        await gateway.prices.withdraw("m", 2, caller=CALLER)
        for name, version in (("m", 2), ("m", 1), ("m", 4), ("other", 3)):
            with pytest.raises(NotFound):
                await gateway.prices.withdraw(name, version, caller=CALLER)
        clock.at_us = SOON_US + 1
        assert gateway.directory.models["m"].price.input_picos == 100_000
        clock.at_us = SOON_US + DAY_US - NOTICE_US + 1
        with pytest.raises(Conflict, match="just now"):
            await gateway.prices.withdraw("m", 3, caller=CALLER)
        clock.at_us = SOON_US + DAY_US
        assert gateway.directory.models["m"].price.is_free
        fresh = await gateway.prices.set_price("m", terms=DEAR, caller=CALLER)
        assert fresh.price_version == 4, "a withdrawn version's number is not given again"


@pytest.mark.parametrize(
    ("from_us", "error"),
    [
        (START_US, InvalidRequest),
        (START_US - DAY_US, InvalidRequest),
        (START_US + NOTICE_US - 1, InvalidRequest),
        (START_US + (AHEAD_DAYS_MAX + 1) * DAY_US, InvalidRequest),
        (SOON_US, Conflict),  # another waits for it already
    ],
)
async def test_a_moment_is_ahead_and_free(
    tmp_path: Path, from_us: int, error: type[LatchgateError]
) -> None:
    async with running_gateway(tmp_path, clock=SetClock()) as gateway:
        await gateway.prices.set_price("m", terms=DEAR, from_us=SOON_US, caller=CALLER)
        with pytest.raises(error):
            await gateway.prices.set_price("m", terms=FREE, from_us=from_us, caller=CALLER)
        assert len(await gateway.prices.list_coming("m")) == 1


async def test_only_so_many_prices_wait(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, clock=SetClock()) as gateway:
        for number in range(WAITING_MAX):
            at_us = SOON_US + number * SECOND_US
            await gateway.prices.set_price("m", terms=DEAR, from_us=at_us, caller=CALLER)
        with pytest.raises(Conflict, match="Withdraw one first"):
            await gateway.prices.set_price("m", terms=DEAR, from_us=START_US + DAY_US // 2)
        await gateway.prices.set_price("m", terms=FREE)  # from now on is no waiting


def test_nothing_is_expected_where_nothing_comes() -> None:
    changes = PriceChanges()
    assert (changes.next_us, changes.take_due(FOREVER_US - 1)) == (FOREVER_US, {})
