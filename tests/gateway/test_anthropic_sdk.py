"""The official SDK of Anthropic's API, as an app uses it: what it is told is what was charged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.messages import (
    add_messages_model,
    block,
    delta,
    event,
    message,
    sends,
    speaks_messages,
    start,
    streams,
)
from tests.support.model_server import chunk, usage_chunk
from tests.support.model_server import usage_of as chat_usage

pytestmark = pytest.mark.anyio
HELLO: list[MessageParam] = [{"role": "user", "content": "Say hello."}]
TOOL: ToolParam = {
    "name": "look",
    "description": "Look somewhere.",
    "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}},
}
MODELS = pytest.mark.parametrize("model", ["claude-x", "m"], ids=["native", "adapted"])


@asynccontextmanager
async def _house(
    folder: Path, **more: Any
) -> AsyncIterator[tuple[Gateway, anthropic.AsyncAnthropic]]:
    async with running_gateway(folder, **more) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        url = f"http://127.0.0.1:{gateway.port}"
        async with anthropic.AsyncAnthropic(
            base_url=url, api_key=gateway.secret, max_retries=0
        ) as sdk:
            yield gateway, sdk


async def _assert_charged(gateway: Gateway, said: anthropic.types.Message) -> None:
    """What the SDK was told is the usage event, the posting, and the id that shows both."""
    (call,) = await gateway.events()
    usage = said.usage
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert call.input_tokens == read + (usage.cache_creation_input_tokens or 0)
    assert call.cached_tokens == (usage.cache_read_input_tokens or 0)
    assert call.output_tokens == usage.output_tokens
    assert (await gateway.balances()).spent_nanos == call.charge_nanos > 0


async def test_create_is_told_what_was_charged(tmp_path: Path) -> None:
    async with _house(tmp_path) as (gateway, sdk):
        said = await sdk.messages.create(model="claude-x", max_tokens=50, messages=HELLO)
        assert said.model == "claude-x"
        assert said.content[0].type == "text"
        await _assert_charged(gateway, said)
        (call,) = await gateway.events()
        assert said._request_id == call.request_id
        assert said.usage.model_extra == {"cost_nanos": call.charge_nanos}


async def test_a_key_may_come_as_a_bearer_as_claude_code_sends_it(tmp_path: Path) -> None:
    async with (
        _house(tmp_path) as (gateway, sdk),
        anthropic.AsyncAnthropic(
            base_url=sdk.base_url, auth_token=gateway.secret, api_key=None, max_retries=0
        ) as bearer,
    ):
        said = await bearer.messages.create(model="claude-x", max_tokens=50, messages=HELLO)
        await _assert_charged(gateway, said)


async def test_a_stream_is_told_what_was_charged(tmp_path: Path) -> None:
    async with _house(tmp_path) as (gateway, sdk):
        async with sdk.messages.stream(model="claude-x", max_tokens=50, messages=HELLO) as stream:
            texts = [text async for text in stream.text_stream]
            said = await stream.get_final_message()
        assert "".join(texts) == "word0 word1 word2 word3 "
        assert said.stop_reason == "end_turn"
        await _assert_charged(gateway, said)


async def test_an_adapted_stream_is_told_what_was_charged(tmp_path: Path) -> None:
    async with _house(tmp_path) as (gateway, sdk):
        gateway.model_server.behaviour = streams(
            chunk({"role": "assistant", "content": None}),
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "I look."}) + chunk({"content": " Now."}),
            chunk({"tool_calls": [
                {"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"at"'}}
            ]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ': "sea"}'}}]}),
            chunk({}, finish="tool_calls"),
            usage_chunk(chat_usage(12, 5, cached=2)),
            b"data: [DONE]\n\n",
        )  # fmt: skip
        async with sdk.messages.stream(
            model="m", max_tokens=50, messages=HELLO, tools=[TOOL]
        ) as stream:
            said = await stream.get_final_message()
        thinking, text, tool = said.content
        assert thinking.type == "thinking"
        assert thinking.thinking == "Hm."
        assert text.type == "text"
        assert text.text == "I look. Now."
        assert tool.type == "tool_use"
        assert (tool.id, tool.name, tool.input) == ("c1", "look", {"at": "sea"})
        assert said.stop_reason == "tool_use"
        await _assert_charged(gateway, said)


async def test_a_tool_is_called_and_its_result_is_sent_back(tmp_path: Path) -> None:
    used = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "sea"}}
    async with _house(tmp_path) as (gateway, sdk):
        gateway.model_server.behaviour = sends(message(used, stop="tool_use"))
        said = await sdk.messages.create(
            model="claude-x", max_tokens=50, messages=HELLO, tools=[TOOL]
        )
        (call,) = said.content
        assert call.type == "tool_use"
        gateway.model_server.behaviour = speaks_messages()
        result: MessageParam = {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "It is blue."}],
        }
        again: list[MessageParam] = [*HELLO, {"role": "assistant", "content": said.content}, result]
        answer = await sdk.messages.create(
            model="claude-x", max_tokens=50, messages=again, tools=[TOOL]
        )
        assert answer.stop_reason == "end_turn"
        assert gateway.model_server.received[-1].body["messages"][1]["content"] == [used]


async def test_tokens_are_counted_for_nothing(tmp_path: Path) -> None:
    async with _house(tmp_path) as (gateway, sdk):
        counted = await sdk.messages.count_tokens(model="claude-x", messages=HELLO, tools=[TOOL])
        assert counted.input_tokens == 42
        assert await gateway.events() == []


async def test_models_are_listed(tmp_path: Path) -> None:
    async with _house(tmp_path) as (_, sdk):
        listed = [model async for model in sdk.models.list()]
        assert [model.id for model in listed] == ["claude-x", "m"]
        assert (await sdk.models.retrieve("m")).display_name == "m"


async def test_a_wrong_key_is_an_authentication_error(tmp_path: Path) -> None:
    async with _house(tmp_path) as (_, sdk):
        stranger = sdk.with_options(api_key="sk-ant-api03-nobody", max_retries=2)
        with pytest.raises(anthropic.AuthenticationError) as refused:
            await stranger.messages.create(model="claude-x", max_tokens=5, messages=HELLO)
        assert refused.value.type == "authentication_error"
        assert refused.value.error_code == "invalid_api_key"
        assert refused.value.request_id is not None
        assert refused.value.request_id.startswith("req_")


@MODELS
async def test_no_credit_is_a_billing_error_that_is_not_tried_again(
    tmp_path: Path, model: str
) -> None:
    async with _house(tmp_path, credit_nanos=0) as (gateway, sdk):
        with pytest.raises(anthropic.PaymentRequiredError) as refused:
            await sdk.with_options(max_retries=2).messages.create(
                model=model, max_tokens=5, messages=HELLO
            )
        assert refused.value.type == "billing_error"
        assert refused.value.error_code == "credit_balance_exhausted"
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert gateway.model_server.received == []


@MODELS
async def test_a_limit_that_is_reached_is_a_billing_error(tmp_path: Path, model: str) -> None:
    async with _house(tmp_path, credit_nanos=USD) as (gateway, sdk):
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "day", 0, CALLER)
        with pytest.raises(anthropic.PaymentRequiredError, match="limit for today") as refused:
            await sdk.messages.create(model=model, max_tokens=5, messages=HELLO)
        assert refused.value.error_code == "organization_spend_limit_exceeded"


async def test_a_full_server_is_an_overloaded_error(tmp_path: Path) -> None:
    async with _house(tmp_path) as (gateway, sdk):
        gateway.model_server.behaviour = sends({"type": "error"}, 529)
        with pytest.raises(anthropic.APIStatusError) as refused:
            await sdk.messages.create(model="claude-x", max_tokens=5, messages=HELLO)
        assert (refused.value.status_code, refused.value.type) == (529, "overloaded_error")


async def test_a_stream_that_breaks_is_an_error(tmp_path: Path) -> None:
    broken = event("error", error={"type": "overloaded_error", "message": "up-secret"})
    async with _house(tmp_path) as (gateway, sdk):
        gateway.model_server.behaviour = streams(start(), block(), delta("one "), broken)
        texts = []
        with pytest.raises(anthropic.APIStatusError, match="broke off") as broke:
            async with sdk.messages.stream(
                model="claude-x", max_tokens=50, messages=HELLO
            ) as stream:
                texts = [text async for text in stream.text_stream]
        assert texts == []
        assert "up-secret" not in str(broke.value)
        (call,) = await gateway.events()
        assert (call.output_tokens, call.outcome) == (1, "failed")
