"""Responses of the real embedded model: its server's own, and those that are said as chat."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from latchgate.config import EmbeddedSettings
from latchgate.domain.endpoints import SPEAKS_DEFAULT
from latchgate.runtime.child import ModelChild
from latchgate.runtime.embedded import chat_spec
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, running_gateway
from tests.support.responses import read_events, respond

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.usefixtures("only_model")]

SETTINGS = EmbeddedSettings(parallel=1, context_tokens=1024, threads=1)
#: The upstreams' names, and what each is said to speak.
UPSTREAMS = {"native": ("chat", "responses"), "adapted": SPEAKS_DEFAULT}


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[Gateway]:
    """A gateway that has the embedded model twice, under the names of UPSTREAMS."""
    model = ModelChild(chat_spec(SETTINGS, data_dir=folder), data_dir=folder)
    address = await model.start()
    try:
        await model.wait_ready(60)
        async with running_gateway(folder, idle_s=60) as gateway:
            for name, speaks in UPSTREAMS.items():
                await gateway.catalog.add_upstream(
                    name, base_url=address.base_url, api_key=address.api_key, speaks=speaks
                )
                await gateway.catalog.add_model(
                    name,
                    upstream=name,
                    upstream_model=SETTINGS.model_name,
                    tier="standard",
                    context_tokens=SETTINGS.context_tokens,
                    output_tokens_max=256,
                    terms=ModelTerms(100_000, 20_000, 400_000),
                )
            yield gateway
    finally:
        await model.stop()


async def _assert_charged(gateway: Gateway, usage: dict[str, Any]) -> None:
    event = (await gateway.events())[0]
    assert event.counted_by == "upstream"
    assert (usage["input_tokens"], usage["output_tokens"]) == (
        event.input_tokens,
        event.output_tokens,
    )
    assert usage["cost_nanos"] == event.charge_nanos > 0


async def test_both_ways_give_the_same_text_and_charge(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        said, read = set(), set()
        for model in UPSTREAMS:
            for is_stream in (False, True):
                reply = await respond(
                    gateway,
                    "Say hello.",
                    model=model,
                    max_output_tokens=8,
                    temperature=0,
                    stream=is_stream,
                )
                assert reply.status == 200, reply.body
                events = read_events(reply) if is_stream else []
                answer = events[-1]["response"] if is_stream else reply.json
                text = answer["output"][0]["content"][0]["text"]
                assert not events or text == "".join(event.get("delta", "") for event in events)
                assert answer["model"] == model
                assert (answer["status"], answer["incomplete_details"]) == (
                    "incomplete",
                    {"reason": "max_output_tokens"},
                )
                await _assert_charged(gateway, answer["usage"])
                said.add(text)
                read.add(answer["usage"]["input_tokens"])
        assert len(said) == len(read) == 1


async def test_a_conversation_goes_on(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        base_url = f"http://127.0.0.1:{gateway.port}/v1"
        async with openai.AsyncOpenAI(
            api_key=gateway.secret, base_url=base_url, max_retries=0
        ) as client:
            for model in UPSTREAMS:
                first = await client.responses.create(
                    model=model,
                    instructions="Be brief.",
                    input=[
                        {"role": "user", "content": "Hi"},
                        {"role": "assistant", "content": "Ho"},
                    ],
                    max_output_tokens=4,
                )
                async with client.responses.stream(
                    model=model,
                    input="And now?",
                    previous_response_id=first.id,
                    max_output_tokens=4,
                ) as stream:
                    async for event in stream:
                        last = event
                assert last.type in ("response.incomplete", "response.completed")
                usage = last.response.usage.model_dump()
                assert first.usage is not None
                assert usage["input_tokens"] > first.usage.input_tokens
                await _assert_charged(gateway, usage)


async def test_functions_outputs_are_read_and_a_schema_is_kept_to(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        schema = {
            "type": "object",
            "properties": {"warm": {"type": "boolean"}},
            "required": ["warm"],
            "additionalProperties": False,
        }
        items = [
            {"role": "user", "content": "Is it warm?"},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny, 30 degrees"},
        ]
        for model in UPSTREAMS:
            tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
            reply = await respond(gateway, items, model=model, tools=tools, max_output_tokens=8)
            assert reply.status == 200, reply.body
            await _assert_charged(gateway, reply.json["usage"])
        shape = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
        reply = await respond(
            gateway, items[:1], model="adapted", text={"format": shape}, max_output_tokens=64
        )
        answer = json.loads(reply.json["output"][0]["content"][0]["text"])
        assert isinstance(answer["warm"], bool)
