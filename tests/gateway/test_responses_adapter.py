"""Responses of an upstream that speaks only chat completions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from latchgate.gateway.dialects.responses import parse_responses
from latchgate.gateway.dialects.responses_adapter import RESPONSES_ADAPTER
from latchgate.gateway.dialects.responses_answers import RESPONSES
from latchgate.gateway.prompt import decode_object
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, running_gateway
from tests.support.model_server import (
    Behaviour,
    Received,
    answers,
    chunk,
    completion,
    end_events,
    send_chunk,
    send_json,
    start_events,
    usage_chunk,
    usage_of,
)
from tests.support.responses import read_events, respond

pytestmark = pytest.mark.anyio

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQAB"
    "h6FO1AAAAABJRU5ErkJggg=="
)


def _streams(*deltas: dict[str, Any], finish: str = "stop", usage: Any = None) -> Behaviour:
    """A chat stream of these deltas."""
    stated = usage_of(12, 5) if usage is None else usage

    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"role": "assistant", "content": None}))
        for delta in deltas:
            await send_chunk(writer, chunk(delta))
        await send_chunk(writer, chunk({}, finish=finish))
        if stated:
            await send_chunk(writer, usage_chunk(stated))
        await send_chunk(writer, b"data: [DONE]\n\n")
        await end_events(writer)

    return behave


def _says(message: dict[str, Any], finish: str = "stop") -> Behaviour:
    answer = completion(usage=usage_of(12, 5), finish_reason=finish)
    answer["choices"][0]["message"] = {"role": "assistant", **message}

    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, 200, answer)

    return behave


async def _sent(gateway: Gateway, value: Any, **fields: Any) -> dict[str, Any]:
    """The chat call that a call of responses comes to."""
    reply = await respond(gateway, value, model="m", **fields)
    assert reply.status == 200, reply.body
    received = gateway.model_server.received[-1]
    assert received.path == "/v1/chat/completions"
    return received.body


def _kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


async def test_a_conversation_is_said_as_a_chat(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        items = [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"role": "assistant", "content": "Let me see."},
            {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sun"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "rain"}],
            },
            {"role": "system", "content": "Be brief."},
        ]
        sent = await _sent(gateway, items, instructions="You are a sailor.", max_output_tokens=9)
        call = {"type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        assert sent == {
            "model": "up-model",
            "max_tokens": 9,
            "messages": [
                {"role": "system", "content": "You are a sailor.\n\nBe kind."},
                {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "tool_calls": [{"id": "c1", **call}, {"id": "c2", **call}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "sun"},
                {"role": "tool", "tool_call_id": "c2", "content": "rain"},
                {"role": "system", "content": "Be brief."},
            ],
        }


async def test_fields_are_said_under_their_names_in_chat(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        schema = {"type": "object", "properties": {}}
        sent = await _sent(
            gateway,
            "hi",
            tools=[TOOL, {"type": "function", "name": "other"}],
            tool_choice={"type": "function", "name": "get_weather"},
            parallel_tool_calls=False,
            temperature=0.5,
            top_p=0.9,
            top_logprobs=2,
            reasoning={"effort": "low", "summary": "auto"},
            text={
                "verbosity": "low",
                "format": {"type": "json_schema", "name": "s", "schema": schema, "strict": True},
            },
            user="u",
            store=False,
            metadata={"a": "b"},
        )
        del sent["messages"], sent["model"], sent["max_tokens"]
        function = {name: TOOL[name] for name in TOOL if name != "type"}
        assert sent == {
            "tools": [
                {"type": "function", "function": function},
                {"type": "function", "function": {"name": "other"}},
            ],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
            "parallel_tool_calls": False,
            "temperature": 0.5,
            "top_p": 0.9,
            "logprobs": True,
            "top_logprobs": 2,
            "reasoning_effort": "low",
            "verbosity": "low",
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": schema, "strict": True},
            },
        }
        allowed = {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "get_weather"}],
        }
        tools = [TOOL, {"type": "function", "name": "other"}]
        sent = await _sent(gateway, "hi", tools=tools, tool_choice=allowed)
        assert (len(sent["tools"]), sent["tool_choice"]) == (1, "required")
        sent = await _sent(gateway, "hi", tools=[], tool_choice="auto", parallel_tool_calls=True)
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & sent.keys()


def test_what_an_upstream_takes_beyond_openais_fields_goes_along() -> None:
    raw = decode_object(b'{"model":"m","input":"hi","top_k":5}')
    prompt = parse_responses(raw, None, None, extra_fields=frozenset({"top_k"}))
    sent = json.loads(RESPONSES_ADAPTER.body(prompt, "up-model", 7))
    assert (sent["top_k"], sent["max_tokens"]) == (5, 7)
    native = json.loads(RESPONSES.body(prompt, "up-model", 7))
    assert (native["top_k"], native["max_output_tokens"]) == (5, 7)


async def test_a_whole_answer_becomes_items(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        gateway.model_server.behaviour = _says(
            {"content": "Look:", "reasoning_content": "Hm", "tool_calls": calls}, "tool_calls"
        )
        answer = (await respond(gateway, model="m", tools=[TOOL])).json
        thought, message, call = answer["output"]
        assert thought["content"] == [{"type": "reasoning_text", "text": "Hm"}]
        assert message["content"][0]["text"] == "Look:"
        assert (call["type"], call["call_id"], call["name"]) == ("function_call", "c1", "f")
        assert answer["status"] == "completed"
        assert answer["tools"] == [TOOL]
        (event,) = await gateway.events()
        usage = answer["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (12, 5)
        assert (event.input_tokens, event.output_tokens) == (12, 5)
        assert usage["cost_nanos"] == event.charge_nanos > 0


async def test_a_whole_answer_that_was_cut_is_incomplete(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = _says({"content": "Loo"}, "length")
        answer = (await respond(gateway, model="m")).json
        assert answer["status"] == answer["output"][0]["status"] == "incomplete"
        assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
        gateway.model_server.behaviour = _says({"content": None, "refusal": "No."})
        answer = (await respond(gateway, model="m")).json
        assert answer["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


async def test_a_stream_of_text_becomes_typed_events(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        texts = ["Hel", "lo", ' "q"', "\n", " é"]
        deltas = [{"content": text} for text in (*texts[:2], "", *texts[2:])]
        gateway.model_server.behaviour = _streams(*deltas)
        events = read_events(await respond(gateway, model="m", stream=True))
        assert _kinds(events) == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            *["output_text.delta"] * 5,
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
        assert [event["delta"] for event in events[4:9]] == texts
        message = events[-2]["item"]
        assert {event["item_id"] for event in events[3:-2]} == {message["id"]}
        assert message["content"][0]["text"] == "".join(texts)
        assert events[-1]["response"]["output"] == [message]
        assert gateway.model_server.received[-1].body["stream_options"] == {"include_usage": True}
        (event,) = await gateway.events()
        usage = events[-1]["response"]["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (12, 5)
        assert usage["cost_nanos"] == event.charge_nanos > 0


async def test_thought_text_and_calls_become_items_in_order(tmp_path: Path) -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        named = {"id": f"c{index}", "type": "function"} if "name" in function else {}
        return {"tool_calls": [{"index": index, **named, "function": function}]}

    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = _streams(
            {"reasoning_content": "H"},
            {"reasoning_content": "m"},
            {"content": "Look"},
            {"content": "ing"},
            call(0, name="f", arguments=""),
            call(1, name="g", arguments='{"b"'),
            call(0, arguments='{"a":1}'),
            call(1, arguments=":2}"),
            finish="tool_calls",
        )
        events = read_events(await respond(gateway, model="m", stream=True, tools=[TOOL]))
        done = [event for event in events if event["type"] == "response.output_item.done"]
        assert [event["output_index"] for event in done] == [0, 1, 2, 3]
        thought, message, first, second = (event["item"] for event in done)
        assert thought["content"] == [{"type": "reasoning_text", "text": "Hm"}]
        assert message["content"][0]["text"] == "Looking"
        assert (first["call_id"], first["name"], first["arguments"]) == ("c0", "f", '{"a":1}')
        assert (second["call_id"], second["arguments"]) == ("c1", '{"b":2}')
        assert events[-1]["response"]["output"] == [thought, message, first, second]
        said = [event["delta"] for event in events if "arguments.delta" in event["type"]]
        assert said == ['{"b"', '{"a":1}', ":2}"]


async def test_a_stream_that_was_cut_is_incomplete(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = _streams({"content": "x"}, finish="length")
        events = read_events(await respond(gateway, model="m", stream=True))
        assert _kinds(events)[-2:] == ["output_item.done", "incomplete"]
        assert events[-2]["item"]["status"] == "incomplete"


async def test_a_stream_without_a_count_is_counted_by_us(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = _streams({"content": "a"}, {"content": "b"}, usage={})
        events = read_events(await respond(gateway, model="m", stream=True))
        (event,) = await gateway.events()
        assert (event.counted_by, event.output_tokens) == ("gateway", 2)
        assert events[-1]["response"]["usage"]["output_tokens"] == 2


async def test_logprobs_come_through(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
        event = json.loads(chunk({"content": "Hi"}).removeprefix(b"data: "))
        event["choices"][0]["logprobs"] = {"content": [token]}

        async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
            await start_events(writer)
            for _ in range(2):
                await send_chunk(writer, b"data: %b\n\n" % json.dumps(event).encode())
            await end_events(writer)

        gateway.model_server.behaviour = behave
        events = read_events(await respond(gateway, model="m", stream=True, top_logprobs=1))
        deltas = [event for event in events if event["type"] == "response.output_text.delta"]
        assert [event["logprobs"] for event in deltas] == [[token], [token]]


async def test_a_stream_that_runs_dry_is_incomplete(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=400_000) as gateway:

        async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
            await start_events(writer)
            with contextlib.suppress(ConnectionError):
                for _ in range(5000):
                    await send_chunk(writer, chunk({"content": "word "}))
                await request.hang_up()

        gateway.model_server.behaviour = behave
        events = read_events(await respond(gateway, model="m", stream=True))
        assert _kinds(events)[-4:] == [
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "incomplete",
        ]
        (event,) = await gateway.events()
        last = events[-1]["response"]
        assert last["usage"]["cost_nanos"] == event.charge_nanos <= 400_000
        assert last["usage"]["output_tokens"] == event.output_tokens


async def test_a_stream_that_breaks_off_says_so_in_its_own_words(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:

        async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
            await start_events(writer)
            await send_chunk(writer, chunk({"content": "Hel"}))
            await send_chunk(writer, b'data: {"error":{"message":"secret cause"}}\n\n')

        gateway.model_server.behaviour = behave
        reply = await respond(gateway, model="m", stream=True)
        reply.body = reply.body.removesuffix(b"!CUT")
        events = read_events(reply)
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["error"]["code"] == "upstream_error"
        assert b"secret" not in reply.body
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens) == ("failed", 1)


async def test_images_go_along_where_the_model_takes_them(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        parts = [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "image_url": PNG, "detail": "low"},
        ]
        value = [{"role": "user", "content": parts}]
        refused = await respond(gateway, value, model="m")
        assert (refused.status, refused.error["code"]) == (400, "unsupported_parameter")
        await gateway.catalog.add_model(
            "eyes",
            upstream="fake",
            upstream_model="up-model",
            tier="standard",
            context_tokens=8192,
            output_tokens_max=1000,
            terms=ModelTerms(100_000, 20_000, 400_000),
            takes_images=True,
        )
        gateway.model_server.behaviour = answers()
        reply = await respond(gateway, value, model="eyes")
        assert reply.status == 200
        assert gateway.model_server.received[-1].body["messages"][0]["content"] == [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        ]
