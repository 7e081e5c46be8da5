"""A stream holds its output slice by slice, and ends cleanly when there is nothing more to hold."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import ACCOUNT, USD, Gateway, running_gateway
from tests.support.model_server import (
    Received,
    chunk,
    end_events,
    send_chunk,
    start_events,
    usage_chunk,
    usage_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]

#: An output token costs 0.001 USD; input is free, so that holds are plain to see.
TERMS = ModelTerms(0, 0, 1_000_000_000)
TOKEN = USD // 1000


class Typist:
    """A model server that streams so many one-token pieces, step by step."""

    def __init__(self, pieces: int, *, states_usage: bool = True) -> None:
        self.pieces = pieces
        self.states_usage = states_usage
        self.may_end = asyncio.Event()
        self.typed = 0
        self.at_end = asyncio.Event()

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        count = min(self.pieces, request.body["max_tokens"])
        for number in range(count):
            await send_chunk(writer, chunk({"content": f"{number % 10}"}))
            self.typed += 1
            if number % 50 == 0:
                await asyncio.sleep(0)
        self.at_end.set()
        await self.may_end.wait()
        await send_chunk(writer, chunk({}, finish="stop"))
        if self.states_usage:
            await send_chunk(writer, usage_chunk(usage_of(10, count)))
        await send_chunk(writer, b"data: [DONE]\n\n")
        await end_events(writer)


def _held(gateway: Gateway) -> int:
    return gateway.engine.purse.held_nanos_all()


async def test_a_stream_holds_a_slice_and_not_its_whole_max_tokens(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        typist = gateway.model_server.behaviour = Typist(3)
        call = asyncio.create_task(gateway.chat(stream=True, max_tokens=1000))
        await typist.at_end.wait()
        assert _held(gateway) == 512 * TOKEN
        typist.may_end.set()
        assert (await call).events[-1] == "[DONE]"
        assert (await gateway.balances()).spent_nanos == 3 * TOKEN


async def test_a_long_stream_holds_more_ahead_of_what_passes(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        typist = gateway.model_server.behaviour = Typist(900)
        call = asyncio.create_task(gateway.chat(stream=True, max_tokens=1000))
        await typist.at_end.wait()
        for _ in range(6000):
            if _held(gateway) == 1000 * TOKEN:
                break
            await asyncio.sleep(0.01)
        assert _held(gateway) == 1000 * TOKEN
        typist.may_end.set()
        reply = await call
        assert sum('"content"' in event for event in reply.events) == 900
        (event,) = await gateway.events()
        assert (event.charge_nanos, event.hold_nanos) == (900 * TOKEN, 1000 * TOKEN)
        assert (await gateway.audit()).findings == ()


async def test_a_stream_that_runs_dry_ends_as_if_it_had_reached_its_length(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=600 * TOKEN) as gateway:
        gateway.model_server.behaviour = Typist(1000)
        reply = await gateway.chat(
            stream=True, max_tokens=1000, stream_options={"include_usage": True}
        )
        assert reply.events[-1] == "[DONE]"
        last = json.loads(reply.events[-3])
        assert last["choices"][0]["finish_reason"] == "length"
        assert (last["id"], last["model"]) == ("chatcmpl-1", "m")
        usage: dict[str, Any] = json.loads(reply.events[-2])["usage"]
        (event,) = await gateway.events()
        assert event.outcome == "ran_dry"
        assert usage["cost_nanos"] == event.charge_nanos
        assert usage["completion_tokens"] == event.output_tokens
        assert 512 * TOKEN <= event.charge_nanos <= 600 * TOKEN
        balances = await gateway.balances()
        assert (balances.held_nanos, balances.spent_nanos) == (0, event.charge_nanos)
        assert gateway.model_server.heard_hang_up.is_set() or event.output_tokens <= 600
        assert (await gateway.audit()).findings == ()


async def test_streams_that_run_dry_together_never_overshoot(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=5000 * TOKEN) as gateway:
        typist = gateway.model_server.behaviour = Typist(1000)
        typist.may_end.set()
        replies = await asyncio.gather(
            *(gateway.chat(stream=True, max_tokens=1000) for _ in range(20))
        )
        statuses = Counter(reply.status for reply in replies)
        assert set(statuses) <= {200, 429}
        balances = await gateway.balances()
        assert balances.spent_nanos <= 5000 * TOKEN
        assert balances.held_nanos == 0
        assert all(reply.events[-1] == "[DONE]" for reply in replies if reply.status == 200)
        assert (await gateway.audit()).findings == ()


async def test_a_strict_stream_holds_everything_at_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=600 * TOKEN) as gateway:
        reply = await gateway.chat(
            stream=True, max_tokens=1000, headers={"x-latchgate-strict": "1"}
        )
        assert reply.status == 429
        assert not gateway.model_server.received


async def test_a_model_that_thinks_out_of_sight_holds_all_its_output(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await gateway.catalog.add_model(
            "thinker",
            upstream="fake",
            upstream_model="up-model",
            tier="standard",
            context_tokens=8192,
            output_tokens_max=1000,
            is_thinking=True,
            terms=TERMS,
        )
        typist = gateway.model_server.behaviour = Typist(3)
        call = asyncio.create_task(gateway.chat(model="thinker", stream=True, max_tokens=800))
        await typist.at_end.wait()
        assert _held(gateway) == 800 * TOKEN
        typist.may_end.set()
        await call


async def test_most_of_a_budget_is_usable_before_the_first_refusal(tmp_path: Path) -> None:
    # Twenty agents, each asking for 32,000 tokens of 15 USD a million and using 0.05 USD of them.
    terms = ModelTerms(0, 0, 15_000_000)
    used = 3333
    async with running_gateway(tmp_path, terms=terms, credit_nanos=25 * USD) as gateway:
        await gateway.catalog.add_model(
            "large",
            upstream="fake",
            upstream_model="up-model",
            tier="standard",
            context_tokens=128_000,
            output_tokens_max=32_000,
            terms=terms,
        )

        async def types(_request: Received, writer: asyncio.StreamWriter) -> None:
            await start_events(writer)
            text = b"".join(chunk({"content": "x" * 40}) for _ in range(used // 10))
            await send_chunk(writer, text)
            await send_chunk(writer, usage_chunk(usage_of(10, used)) + b"data: [DONE]\n\n")
            await end_events(writer)

        gateway.model_server.behaviour = types
        refused_at: list[int] = []

        async def agent() -> None:
            while not refused_at:
                reply = await gateway.chat(model="large", stream=True, max_tokens=32_000)
                if reply.status != 200:
                    refused_at.append((await gateway.balances()).spent_nanos)

        await asyncio.gather(*(agent() for _ in range(20)))
        sys.stdout.write(f"{refused_at[0] / (25 * USD):.1%} was spent at the first refusal\n")
        assert refused_at[0] >= 25 * USD * 9 // 10
        assert (await gateway.balances(ACCOUNT)).available_nanos >= 0
