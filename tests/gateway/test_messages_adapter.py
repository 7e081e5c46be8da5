"""Messages where the upstream speaks only chat completions: said in its words, answered in ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import USD, Gateway, running_gateway
from tests.support.messages import ask, error_of, events_of, streams, text_of, usage_of
from tests.support.messages import sends as sends_json
from tests.support.model_server import Behaviour, answers, chunk, completion, usage_chunk
from tests.support.model_server import usage_of as chat_usage

pytestmark = pytest.mark.anyio
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)
DONE = b"data: [DONE]\n\n"
#: Twelve tokens read, two of them from a cache, and five written, at the usual price.
CHARGE = 10 * 100 + 2 * 20 + 5 * 400

#: A call with all that a chat can say, and that call as a chat.
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
TEXT = {"type": "text", "text": "Look.", "cache_control": {"type": "ephemeral"}}
DOCUMENT = {
    "type": "document",
    "title": "Notes",
    "source": {"type": "text", "media_type": "text/plain", "data": "It rains."},
}
PICTURES = {"type": "document", "source": {"type": "content", "content": [IMAGE]}}
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
CALL: dict[str, Any] = {
    "model": "eyes",
    "stream": True,
    "system": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be short."}],
    "messages": [
        {"role": "user", "content": [TEXT, IMAGE, DOCUMENT]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "sea"}},
            {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [TEXT, IMAGE]},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": [PICTURES]},
            {"type": "text", "text": "Well?"},
        ]},
        {"role": "system", "content": "Now."},
        {"role": "assistant", "content": "It is"},
    ],
    "tools": [{"name": "look", "description": "See", "input_schema": SCHEMA, "strict": True}],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "temperature": 0.5, "top_p": 0.9, "top_k": 7, "stop_sequences": ["x", "y"],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "ada"},
}  # fmt: skip
URL = {"url": f"data:image/png;base64,{PNG}"}
PICTURE = {"type": "image_url", "image_url": URL}
LOOK = {"type": "function", "function": {"name": "look"}}
WRAPPED = {"name": "answer", "schema": SCHEMA, "strict": True}
SAID = {
    "model": "up-eyes",
    "max_tokens": 100,
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [
        {"role": "system", "content": "Be kind.\n\nBe short."},
        {"role": "user", "content": [
            {"type": "text", "text": "Look."}, PICTURE,
            {"type": "text", "text": "Notes\n\nIt rains."},
        ]},
        {"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "t1", **LOOK, "function": {"name": "look", "arguments": '{"at":"sea"}'}},
            {"id": "t2", **LOOK, "function": {"name": "look", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "t1", "content": "Look."},
        {"role": "tool", "tool_call_id": "t2", "content": ""},
        {"role": "user", "content": [PICTURE, PICTURE, {"type": "text", "text": "Well?"}]},
        {"role": "system", "content": "Now."},
        {"role": "assistant", "content": "It is"},
    ],
    "tools": [{"type": "function", "function": {
        "name": "look", "description": "See", "parameters": SCHEMA, "strict": True,
    }}],
    "tool_choice": LOOK,
    "parallel_tool_calls": False,
    "temperature": 0.5, "top_p": 0.9, "stop": ["x", "y"],
    "response_format": {"type": "json_schema", "json_schema": WRAPPED},
}  # fmt: skip


async def _charged(gateway: Gateway) -> tuple[int, int, int, int, str, str]:
    (call,) = await gateway.events()
    assert (await gateway.balances()).spent_nanos == call.charge_nanos
    assert (await gateway.audit()).findings == ()
    tokens = (call.input_tokens, call.cached_tokens, call.output_tokens)
    return (*tokens, call.charge_nanos, call.outcome, call.counted_by)


async def test_a_call_is_said_as_a_chat(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.catalog.add_model(
            "eyes", upstream="fake", upstream_model="up-eyes", tier="standard",
            context_tokens=50_000, output_tokens_max=1000, takes_images=True,
            terms=ModelTerms(100_000, 20_000, 400_000),
        )  # fmt: skip
        assert (await ask(gateway, **CALL)).status == 200
        (received,) = gateway.model_server.received
        assert received.path == "/v1/chat/completions"
        assert received.body == SAID
        assert "anthropic-version" not in received.headers


async def test_a_whole_answer_is_said_as_a_message(tmp_path: Path) -> None:
    chat = completion("Here:", usage=chat_usage(12, 5, cached=2), finish_reason="tool_calls")
    chat["choices"][0]["message"] |= {
        "reasoning_content": "Let me see.",
        "tool_calls": [
            {"id": "c1", "function": {"name": "look", "arguments": '{"at":"sea"}'}},
            {"id": "c2", "function": {"name": "look", "arguments": ""}},
            {"id": None, "function": {"name": "look", "arguments": "[half"}},
        ],
    }
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = sends_json(chat)
        reply = await ask(gateway, model="m")
        assert reply.json == {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [
                {"type": "thinking", "thinking": "Let me see.", "signature": ""},
                {"type": "text", "text": "Here:"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "sea"}},
                {"type": "tool_use", "id": "c2", "name": "look", "input": {}},
                {"type": "tool_use", "id": "toolu_3", "name": "look",
                 "input": {"invalid_json": "[half"}},
            ],
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": usage_of(10, 5, cached=2) | {"cost_nanos": CHARGE},
        }  # fmt: skip
        assert await _charged(gateway) == (12, 2, 5, CHARGE, "answered", "upstream")


@pytest.mark.parametrize(
    ("finish", "stop_reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("strange", "end_turn"),
    ],
)
async def test_why_an_answer_ended_is_said_in_anthropics_words(
    tmp_path: Path, finish: str, stop_reason: str
) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = sends_json(
            completion(usage=chat_usage(12, 5), finish_reason=finish)
        )
        assert (await ask(gateway, model="m")).json["stop_reason"] == stop_reason


def _call(index: int | None, arguments: str = "", **more: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    name = more.pop("name", None)
    return {"index": index, **more, "function": {"name": name, "arguments": arguments}}


async def test_a_stream_is_said_in_blocks(tmp_path: Path) -> None:
    pieces = [
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning_content": "Let me"}),
        chunk({"reasoning_content": " see."}),
        chunk({"content": "I"}),
        chunk({"content": " look"}) + chunk({"content": ""}) + chunk({"content": " \n"}),
        chunk({"tool_calls": [_call(0, id="c1", name="look")]}),
        chunk({"tool_calls": [_call(0, '{"at":')]}),
        chunk({"tool_calls": [_call(0, '"sea"}'), _call(1, "{}", id="c2", name="dive")]}),
        chunk({}, finish="stop"),
        usage_chunk(chat_usage(12, 5, cached=2)),
        DONE,
    ]
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = streams(*pieces)
        events = events_of(await ask(gateway, model="m", stream=True))
        shape = [
            (said["type"].removeprefix("content_block_"), said.get("index")) for said in events
        ]
        assert shape == [
            ("message_start", None),
            ("start", 0), *[("delta", 0)] * 2, ("stop", 0),
            ("start", 1), *[("delta", 1)] * 3, ("stop", 1),
            ("start", 2), *[("delta", 2)] * 2, ("stop", 2),
            ("start", 3), ("delta", 3), ("stop", 3),
            ("message_delta", None), ("message_stop", None),
        ]  # fmt: skip
        assert text_of(events) == "I look \n"
        begun = [said["content_block"] for said in events if said["type"] == "content_block_start"]
        assert begun[2:] == [
            {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
            {"type": "tool_use", "id": "c2", "name": "dive", "input": {}},
        ]
        assert events[-2]["delta"]["stop_reason"] == "tool_use"
        assert events[-2]["usage"] == usage_of(10, 5, cached=2) | {"cost_nanos": CHARGE}
        assert await _charged(gateway) == (12, 2, 5, CHARGE, "answered", "upstream")


@pytest.mark.parametrize(
    ("pieces", "tokens"),
    [
        ([b'data: {"error":{"message":"up-secret"}}\n\n'], 2),
        ([b"data: {nonsense\n\n"], 2),
        ([], 2),
        ([chunk({"tool_calls": [_call(0, "{}")]})], 3),
        (
            [
                chunk({"tool_calls": [_call(0, id="a", name="f")]}),
                chunk({"tool_calls": [_call(1, id="b", name="f")]}),
                chunk({"tool_calls": [_call(0, "{}")]}),
            ],
            5,
        ),
    ],
    ids=["an error", "nonsense", "no end", "a tool without a name", "tools in a mix"],
)
async def test_a_stream_that_breaks_ends_in_an_error_and_is_charged_up_to_there(
    tmp_path: Path, pieces: list[bytes], tokens: int
) -> None:
    async with running_gateway(tmp_path) as gateway:
        texts = [chunk({"content": "one "}), chunk({"content": "two "})]
        gateway.model_server.behaviour = streams(*texts, *pieces)
        reply = await ask(gateway, model="m", stream=True)
        assert reply.body.endswith(b"!CUT")
        assert b"up-secret" not in reply.body
        told = events_of(reply)[-1]
        assert (told["type"], told["error"]["type"]) == ("error", "api_error")
        charged = await _charged(gateway)
        assert (charged[2], charged[5]) == (tokens, "gateway")


@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("stated", [None, chat_usage(-1, 5), {"prompt_tokens": "1"}], ids=str)
async def test_absurd_usage_gives_way_to_our_own_count(
    tmp_path: Path, stated: dict[str, Any] | None, *, is_stream: bool
) -> None:
    def behaviour() -> Behaviour:
        if not is_stream:
            return sends_json(completion("Hello there", usage=stated))
        ends = [usage_chunk(stated)] if stated is not None else []
        texts = [chunk({"content": "Hello"}), chunk({"content": " there"})]
        return streams(*texts, chunk({}, finish="stop"), *ends, DONE)

    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = behaviour()
        reply = await ask(gateway, model="m", stream=is_stream)
        tokens_in, _, tokens_out, charge, outcome, counted_by = await _charged(gateway)
        assert (tokens_out, outcome, counted_by) == (2, "answered", "gateway")
        said = events_of(reply)[-2]["usage"] if is_stream else reply.json["usage"]
        assert said == usage_of(tokens_in, 2) | {"cost_nanos": charge}


async def test_a_stream_that_runs_dry_ends_as_if_it_had_reached_its_length(tmp_path: Path) -> None:
    token = USD // 1000
    terms = ModelTerms(0, 0, 1_000_000_000)
    async with running_gateway(tmp_path, credit_nanos=600 * token, terms=terms) as gateway:
        texts = [chunk({"content": f"{index % 10}"}) for index in range(900)]
        gateway.model_server.behaviour = streams(*texts, hangs=True)
        events = events_of(await ask(gateway, model="m", stream=True, max_tokens=1000))
        ends = [said["type"] for said in events[-3:]]
        assert ends == ["content_block_stop", "message_delta", "message_stop"]
        assert events[-2]["delta"]["stop_reason"] == "max_tokens"
        _, _, tokens_out, charge, outcome, _ = await _charged(gateway)
        usage = events[-2]["usage"]
        assert outcome == "ran_dry"
        assert (usage["output_tokens"], usage["cost_nanos"]) == (tokens_out, charge)


async def test_what_a_chat_can_not_say_is_refused_before_anything_is_held(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = answers()
        tools = [{"type": "bash_20250124", "name": "bash"}]
        reply = await ask(gateway, model="m", tools=tools)
        assert reply.status == 400
        assert error_of(reply)["details"] == {
            "error_code": "unsupported_parameter",
            "param": "tools[0].type",
        }
        assert gateway.model_server.received == []
        assert await gateway.events() == []


async def test_an_upstream_may_say_that_it_takes_top_k(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.catalog.add_upstream(
            "local", base_url=gateway.model_server.base_url, api_key=None, extra_fields=["top_k"]
        )
        await gateway.catalog.add_model(
            "l", upstream="local", upstream_model=None, tier="standard", context_tokens=8192,
            output_tokens_max=1000, terms=ModelTerms(0, 0, 0),
        )  # fmt: skip
        for model, sent in (("l", 7), ("m", None)):
            assert (await ask(gateway, model=model, top_k=7)).status == 200
            assert gateway.model_server.received[-1].body.get("top_k") == sent


async def test_the_bound_on_a_prompt_is_that_of_the_chat_that_goes_out(tmp_path: Path) -> None:
    """A message with many results of tools becomes many messages, each with a template's tokens."""
    uses = [{"type": "tool_use", "id": f"t{n}", "name": "f", "input": {}} for n in range(20)]
    results = [{"type": "tool_result", "tool_use_id": f"t{n}"} for n in range(20)]
    messages = [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    terms = ModelTerms(1_000_000, 1_000_000, 0)
    async with running_gateway(tmp_path, terms=terms) as gateway:
        reply = await ask(gateway, model="m", messages=messages)
        assert reply.status == 200
        sent = json.dumps(gateway.model_server.received[0].body["messages"], separators=(",", ":"))
        (call,) = await gateway.events()
        message_tokens = gateway.directory.models["m"].message_tokens
        assert call.hold_nanos == (len(sent) + 22 * message_tokens) * 1000
