"""An upstream that keeps failing is left alone, and comes back by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from latchgate.domain.errors import UpstreamFailed
from latchgate.upstream.breaker import FAILURES_MAX, OPEN_S, Breaker
from tests.support.gateway import running_gateway
from tests.support.model_server import answers, send_json

pytestmark = pytest.mark.anyio


def _broken(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        breaker.enter(now_s)
        breaker.failed(now_s)
    return breaker


def test_failures_in_a_row_open_it_for_a_while() -> None:
    breaker = _broken()
    with pytest.raises(UpstreamFailed):
        breaker.enter(OPEN_S - 0.01)
    breaker.enter(OPEN_S)


def test_an_answer_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for status in (502, 503, 504, 502, 200, 502, 503, 504, 502):
        breaker.enter(0.0)
        breaker.answered(status, 0.0)
    breaker.enter(0.0)


def test_one_call_tries_while_others_are_refused() -> None:
    breaker = _broken()
    breaker.enter(OPEN_S)
    with pytest.raises(UpstreamFailed):
        breaker.enter(OPEN_S)
    breaker.given_up()  # the one that tried hung up: another may
    breaker.enter(OPEN_S)
    breaker.answered(200, OPEN_S)
    breaker.enter(OPEN_S)
    breaker.enter(OPEN_S)


def test_a_failed_try_opens_it_again() -> None:
    breaker = _broken()
    breaker.enter(OPEN_S)
    breaker.failed(OPEN_S)
    with pytest.raises(UpstreamFailed):
        breaker.enter(OPEN_S + OPEN_S - 0.01)


async def test_a_failing_upstream_is_not_asked_again_and_nothing_is_charged(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:

        async def busy(_request: object, writer: object) -> None:
            await send_json(writer, 503, {})  # type: ignore[arg-type]

        gateway.model_server.behaviour = busy
        codes = [(await gateway.chat()).error["code"] for _ in range(FAILURES_MAX + 3)]
        assert set(codes) == {"server_is_overloaded"}
        assert len(gateway.model_server.received) == FAILURES_MAX
        balances = await gateway.balances()
        assert (balances.spent_nanos, balances.held_nanos) == (0, 0)


async def test_one_callers_strange_prompt_does_not_shut_others_out(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:

        async def chokes(_request: object, writer: object) -> None:
            await send_json(writer, 500, {})  # type: ignore[arg-type]

        gateway.model_server.behaviour = chokes
        for _ in range(FAILURES_MAX + 1):
            assert (await gateway.chat()).status == 502
        gateway.model_server.behaviour = answers()
        assert (await gateway.chat()).status == 200


async def test_a_server_that_is_not_there_is_said_so_and_nothing_is_charged(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.model_server.stop()
        refused = await gateway.chat()
        assert (refused.status, refused.error["code"]) == (502, "upstream_error")
        assert "reached" in refused.error["message"]
        (event,) = await gateway.events()
        assert (event.outcome, event.charge_nanos) == ("failed", 0)
