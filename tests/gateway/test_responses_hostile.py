"""Upstreams that say what no sane server would: every call ends, and the gateway goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, running_gateway
from tests.support.model_server import chunk, completion, send_json, usage_of
from tests.support.responses import add_native_model, named, respond, response, sends
from tests.support.responses import usage_of as read_and_written

pytestmark = pytest.mark.anyio

_ADDED = "response.output_item.added"
_PART = "response.content_part.added"
#: Streams of an upstream that speaks responses, without their beginning and their end.
STREAMS: list[list[dict[str, Any]]] = [
    [{"type": _ADDED, "item": []}],
    [{"type": _ADDED, "item": {"id": 7, "type": 7, "content": 7}}],
    [{"type": _ADDED, "item": {"type": "message"}}, {"type": _PART, "item_id": "", "part": {}}],
    [
        {"type": _ADDED, "item": {"id": "a", "type": "message", "content": 3}},
        {"type": _PART, "item_id": "a", "part": {"type": "x\n\ndata: evil"}},
        {"type": _PART, "item_id": "a", "part": {"type": "output_text", "text": 5}},
        {"type": "response.output_text.delta", "item_id": "a", "delta": {"a": 1}},
        {"type": "response.output_text.delta", "item_id": "a", "delta": "x"},
    ],
    [{"type": "response.output_text.delta", "item_id": "nobody", "delta": "x"}],
    [{"type": "response.output_text.done", "item_id": ["a"], "output_index": 10**30}],
    [{"type": "response.output_item.done", "item": {"id": "nobody"}, "output_index": -1}],
    [{"type": "response.x\r\n\r\nevent: evil", "delta": "x"}],
    [{"type": "response.completed", "response": {"output": 3, "usage": "x", "status": []}}],
    [
        {
            "type": "response.completed",
            "response": {"output": [3, {}], "usage": {"input_tokens": []}},
        }
    ],
    [{"type": "response.completed"}, {"type": "response.completed", "response": None}],
    [{"type": "response.created", "response": 4}, {"type": "response.in_progress"}],
]
#: Whole answers of such an upstream.
ANSWERS: list[Any] = [
    [],
    {},
    {"output": {}},
    {"output": [1, None, {"type": "message", "content": 4}, {"content": [7, {"text": 7}]}]},
    response([{"type": "message", "role": "assistant", "content": [{"type": "x"}]}], {"a": 1}),  # type: ignore[dict-item]
    response([], read_and_written(1, 1), incomplete_details={"reason": 7}, status=7),
    response([], read_and_written(1, 1) | {"output_tokens_details": {"reasoning_tokens": "x"}}),
]
#: Messages and deltas of an upstream that speaks chat.
MESSAGES: list[Any] = [
    {"content": [1]},
    {"content": None, "tool_calls": [7, {"function": 7}, {"function": {"arguments": {"a": 1}}}]},
    {"content": 7, "refusal": 7, "reasoning_content": {}},
    {"tool_calls": {"index": 1}},
    {"tool_calls": [{"index": "x", "id": 7, "function": {"name": 7, "arguments": 7}}]},
]


async def _assert_well(gateway: Gateway) -> None:
    assert gateway.engine.purse.held_nanos_all() == 0
    assert (await gateway.audit()).findings == ()


def _is_ended(body: bytes) -> bool:
    ends = (b"event: response.completed\n", b"event: response.incomplete\n")
    return any(end in body for end in ends) or body.endswith(b"!CUT")


async def test_streams_of_responses_end(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_native_model(gateway)
        for said in STREAMS:
            for events in (said, [{"type": "response.created", "response": response([])}, *said]):
                gateway.model_server.behaviour = sends(*map(named, events))
                reply = await respond(gateway, stream=True)
                assert reply.status in (200, 502), (said, reply.body)
                assert reply.status == 502 or _is_ended(reply.body), (said, reply.body)
                assert b"\ndata: evil" not in reply.body
                assert b"internal_error" not in reply.body, said
        await _assert_well(gateway)


async def test_whole_responses_are_answered_and_gone_on_from(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_native_model(gateway)
        for answer in ANSWERS:

            async def behave(_request: Any, writer: Any, answer: Any = answer) -> None:
                await send_json(writer, 200, answer)

            gateway.model_server.behaviour = behave
            reply = await respond(gateway)
            assert reply.status in (200, 502), (answer, reply.body)
            if reply.status == 200:
                again = await respond(gateway, previous_response_id=reply.json["id"])
                assert again.status == 200, (answer, again.body)
        await _assert_well(gateway)


async def test_chat_that_makes_no_sense_ends_as_a_response(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for message in MESSAGES:
            answer = completion(usage=usage_of(1, 1))
            answer["choices"][0] = {"message": message, "finish_reason": 7, "logprobs": 7}

            async def behave(_request: Any, writer: Any, answer: Any = answer) -> None:
                await send_json(writer, 200, answer)

            gateway.model_server.behaviour = behave
            reply = await respond(gateway, model="m")
            assert reply.status in (200, 502), (message, reply.body)
            bare = b'data: {"choices":[7]}\n\n'
            for events in ([chunk(message)], [chunk({"content": "x"}), chunk(message)], [bare]):
                gateway.model_server.behaviour = sends(*events)
                reply = await respond(gateway, model="m", stream=True)
                assert reply.status in (200, 502), (message, reply.body)
                assert reply.status == 502 or _is_ended(reply.body), (message, reply.body)
                assert b"internal_error" not in reply.body, message
        await _assert_well(gateway)


async def test_arguments_that_are_an_object_are_said_as_text(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        function = {"name": "f", "arguments": {"a": 1}}
        delta = {"tool_calls": [{"index": 0, "id": "c", "function": function}]}
        gateway.model_server.behaviour = sends(chunk(delta))
        reply = await respond(gateway, model="m", stream=True)
        assert json.dumps('{"a":1}').encode() in reply.body
