"""The official SDK calls responses: what it reads is what was said, and what was charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.gateway import Gateway, running_gateway
from tests.support.model_server import answers as chat_answers
from tests.support.responses import add_native_model, answers, calls_function

pytestmark = pytest.mark.anyio

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@asynccontextmanager
async def _client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    base_url = f"http://127.0.0.1:{gateway.port}/v1"
    async with openai.AsyncOpenAI(
        api_key=gateway.secret, base_url=base_url, max_retries=0
    ) as client:
        yield client


async def _speak(gateway: Gateway, upstream: str) -> str:
    """Have the model server speak chat, responses, or responses as barely as llama.cpp's does."""
    if upstream == "chat":
        return "m"
    await add_native_model(gateway)
    gateway.model_server.behaviour = answers(is_bare=upstream == "bare")
    return "r"


async def _assert_charged(gateway: Gateway, usage: Any) -> None:
    """The usage that the SDK has read is that of the last usage event."""
    event = (await gateway.events())[0]
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (
        event.input_tokens,
        event.output_tokens,
        event.input_tokens + event.output_tokens,
    )
    assert usage.input_tokens_details.cached_tokens == event.cached_tokens
    assert usage.output_tokens_details.reasoning_tokens == 0
    assert usage.model_extra["cost_nanos"] == event.charge_nanos > 0


@pytest.mark.parametrize("upstream", ["chat", "native", "bare"])
async def test_a_whole_response(tmp_path: Path, upstream: str) -> None:
    async with running_gateway(tmp_path) as gateway, _client(gateway) as client:
        model = await _speak(gateway, upstream)
        response = await client.responses.create(model=model, input="Say hi", tools=[TOOL])
        assert response.output_text == "Hello there"
        assert (response.status, response.model, response.error) == ("completed", model, None)
        assert response.tools[0].model_dump(exclude_unset=True) == TOOL
        await _assert_charged(gateway, response.usage)
        again = await client.responses.create(
            model=model, input="And now?", previous_response_id=response.id
        )
        assert again.previous_response_id == response.id
        assert (await client.responses.retrieve(again.id)).output_text == "Hello there"
        await client.responses.delete(again.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(again.id)


@pytest.mark.parametrize("upstream", ["chat", "native", "bare"])
async def test_a_stream(tmp_path: Path, upstream: str) -> None:
    async with running_gateway(tmp_path) as gateway, _client(gateway) as client:
        model = await _speak(gateway, upstream)
        stream = await client.responses.create(model=model, input="Say hi", stream=True)
        text, numbers, last = "", [], None
        async for event in stream:
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                text += event.delta
            last = event
        assert numbers == list(range(len(numbers)))
        assert last is not None
        assert last.type == "response.completed"
        assert last.response.output_text == text != ""
        await _assert_charged(gateway, last.response.usage)


@pytest.mark.parametrize("upstream", ["chat", "native", "bare"])
async def test_the_sdks_own_accumulation_of_a_stream(tmp_path: Path, upstream: str) -> None:
    async with running_gateway(tmp_path) as gateway, _client(gateway) as client:
        model = await _speak(gateway, upstream)
        async with client.responses.stream(model=model, input="Say hi") as stream:
            snapshots = [
                event.snapshot
                async for event in stream
                if event.type == "response.output_text.delta"
            ]
            response = await stream.get_final_response()
        assert snapshots[-1] == response.output_text != ""
        await _assert_charged(gateway, response.usage)


async def test_functions_there_and_back(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, _client(gateway) as client:
        gateway.model_server.behaviour = calls_function("get_weather", '{"city": "Paris"}')
        conversation: list[Any] = [{"role": "user", "content": "Weather in Paris?"}]
        async with client.responses.stream(
            model="m", input=conversation, tools=[TOOL], tool_choice="required"
        ) as stream:
            kinds = [event.type async for event in stream]
            response = await stream.get_final_response()
        assert "response.function_call_arguments.done" in kinds
        (call,) = response.output
        assert call.type == "function_call"
        assert (call.name, call.arguments) == ("get_weather", '{"city": "Paris"}')
        await _assert_charged(gateway, response.usage)

        gateway.model_server.behaviour = chat_answers("Sunny.")
        conversation += response.output
        conversation.append(
            {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        )
        answer = await client.responses.create(model="m", input=conversation, tools=[TOOL])
        assert answer.output_text == "Sunny."
        sent = gateway.model_server.received[-1].body["messages"]
        assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == call.call_id


async def test_a_refusal_is_the_sdks_own_error(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, _client(gateway) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="m", input="hi", tools=[{"type": "web_search"}])
        assert (refused.value.code, refused.value.param) == (
            "unsupported_parameter",
            "tools[0].type",
        )
