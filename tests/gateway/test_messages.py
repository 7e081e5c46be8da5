"""Anthropic's messages, from an upstream that speaks them: bytes pass, every token is charged."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import USD, Gateway, running_gateway
from tests.support.messages import (
    add_messages_model,
    ask,
    block,
    delta,
    end,
    error_of,
    event,
    events_of,
    message,
    sends,
    speaks_messages,
    start,
    stop,
    streams,
    text_of,
    usage_of,
)

pytestmark = pytest.mark.anyio
#: Eight fresh, one written to the cache, three read from it, five written as output.
CHARGE = (9 * 100) + (3 * 20) + (5 * 400)
TOKEN = USD // 1000


async def _charged(gateway: Gateway) -> tuple[int, int, int, int, str, str]:
    """The one call's figures, which the books agree with."""
    (call,) = await gateway.events()
    assert (await gateway.balances()).spent_nanos == call.charge_nanos
    assert (await gateway.audit()).findings == ()
    tokens = (call.input_tokens, call.cached_tokens, call.output_tokens)
    return (*tokens, call.charge_nanos, call.outcome, call.counted_by)


async def test_a_whole_answer_is_metered_with_what_was_cached(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        reply = await ask(gateway)
        assert reply.status == 200
        expected = message()
        expected["model"] = "claude-x"
        expected["usage"]["cost_nanos"] = CHARGE
        assert reply.json == expected
        assert reply.headers["x-latchgate-cost-nanos"] == str(CHARGE)
        assert reply.headers["request-id"] == reply.headers["x-request-id"]
        assert await _charged(gateway) == (12, 3, 5, CHARGE, "answered", "upstream")


async def test_what_goes_upstream_is_what_was_checked(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        mark = {"cache_control": {"type": "ephemeral"}}
        forwarded: dict[str, Any] = {
            "system": [{"type": "text", "text": "Be kind.", **mark}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "é", **mark}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "sea"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "blue", **mark},
                ]},
                {"role": "system", "content": "Now be short."},
            ],
            "tools": [
                {"name": "look", "input_schema": {"type": "object"}, **mark},
                {"type": "bash_20250124", "name": "bash"},
            ],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "thinking": {"type": "adaptive"},
            "temperature": 0.5,
            "top_k": 40,
            "stop_sequences": ["x"],
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "high"},
        }  # fmt: skip
        tags = {"metadata": {"user_id": "ada"}, "service_tier": "auto"}
        headers = {"anthropic-version": "2024-01-01", "anthropic-beta": "a-1,b c, d_2 ,é"}
        reply = await ask(gateway, **forwarded, **tags, headers=headers, path="/messages?beta=true")
        assert reply.status == 200, reply.body
        (received,) = gateway.model_server.received
        assert received.path == "/v1/messages"
        assert received.body == {"model": "up-model", "max_tokens": 100, **forwarded}
        assert received.headers["anthropic-version"] == "2024-01-01"
        assert received.headers["anthropic-beta"] == "a-1,d_2"
        assert received.headers["x-api-key"] == "up-key"
        assert gateway.secret.lower() not in str(received.headers)


async def test_an_upstream_is_told_a_version_where_the_client_names_none(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        for named in ({}, {"anthropic-version": "x" * 33}, {"anthropic-beta": ", ;"}):
            await ask(gateway, headers=named)
            headers = gateway.model_server.received[-1].headers
            assert headers["anthropic-version"] == "2023-06-01"
            assert "anthropic-beta" not in headers
        await gateway.chat()
        assert "anthropic-version" not in gateway.model_server.received[-1].headers


async def test_a_streams_end_waits_for_its_charge_and_says_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        reply = await ask(gateway, stream=True)
        events = events_of(reply)
        assert [said["type"] for said in events] == [
            "message_start", "content_block_start", "ping", *["content_block_delta"] * 4,
            "content_block_stop", "message_delta", "message_stop",
        ]  # fmt: skip
        assert events[0]["message"]["model"] == "claude-x"
        assert text_of(events) == "word0 word1 word2 word3 "
        assert events[-2]["usage"] == {"output_tokens": 5, "cost_nanos": CHARGE}
        assert b"up-model" not in reply.body
        assert await _charged(gateway) == (12, 3, 5, CHARGE, "answered", "upstream")


async def test_later_counts_replace_earlier_ones(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = streams(
            start(usage_of(8, 1)),
            block() + delta("a") + stop(),
            event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 2}),
            end({"input_tokens": 20, "cache_read_input_tokens": 4, "output_tokens": 9}),
        )
        events = events_of(await ask(gateway, stream=True))
        assert [said.get("usage", {}).get("cost_nanos") for said in events[-3:-1]] == [
            None,
            20 * 100 + 4 * 20 + 9 * 400,
        ]
        assert (await _charged(gateway))[:3] == (24, 4, 9)


@pytest.mark.parametrize("is_one_chunk", [True, False])
async def test_thought_and_tool_input_count_as_output(
    tmp_path: Path, *, is_one_chunk: bool
) -> None:
    """Nobody states a usage here: every delta is a token, and a tool's name is one too."""
    deltas = [
        {"type": "thinking_delta", "thinking": "let me see"},
        {"type": "signature_delta", "signature": "c2lnbmF0dXJl"},
        {"type": "input_json_delta", "partial_json": '{"at":'},
        {"type": "input_json_delta", "partial_json": '"sea"}'},
        {"type": "text_delta", "text": ""},
    ]
    pieces = [
        start({}),
        block(0, type="tool_use", id="t1", name="look", input={}),
        *(event("content_block_delta", index=0, delta=one) for one in deltas),
        stop(),
        event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}),
        event("message_stop"),
    ]
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = streams(*([b"".join(pieces)] if is_one_chunk else pieces))
        events = events_of(await ask(gateway, stream=True))
        tokens_in, cached, tokens_out, charge, outcome, counted_by = await _charged(gateway)
        assert (cached, tokens_out, outcome, counted_by) == (0, 4, "answered", "gateway")
        assert events[-2]["usage"] == usage_of(tokens_in, 4) | {"cost_nanos": charge}


ABSURD = [
    {"input_tokens": -3, "cache_creation_input_tokens": 9, "output_tokens": 5},
    {"input_tokens": 3, "cache_read_input_tokens": -1, "output_tokens": 5},
    {"input_tokens": 3, "output_tokens": 10**30},
    {"input_tokens": True, "output_tokens": 5},
    {"input_tokens": "8", "output_tokens": 5},
    {"input_tokens": 8.0, "output_tokens": 5},
    {"output_tokens": 5},
    {},
    [],
    "many",
    7,
]


@pytest.mark.parametrize("stated", ABSURD, ids=str)
@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
async def test_absurd_usage_gives_way_to_our_own_count(
    tmp_path: Path, stated: Any, *, is_stream: bool
) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        texts = [block(), delta("Hello"), delta(" there"), stop()]
        gateway.model_server.behaviour = (
            streams(start({}), *texts, end(stated))
            if is_stream
            else sends(message() | {"usage": stated})
        )
        reply = await ask(gateway, stream=is_stream)
        assert reply.status == 200
        tokens_in, _, tokens_out, charge, outcome, counted_by = await _charged(gateway)
        assert (tokens_out, outcome, counted_by) == (2, "answered", "gateway")
        said = events_of(reply)[-2]["usage"] if is_stream else reply.json["usage"]
        assert said == usage_of(tokens_in, 2) | {"cost_nanos": charge}


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (event("error", error={"type": "overloaded_error", "message": "up-secret"}), "up-secret"),
        (b'data: {"error":{"message":"up-secret"}}\n\n', "up-secret"),
        (b"event: x\ndata: {nonsense\n\n", "nonsense"),
        (b"", "broke"),
        (stop(), "broke"),
        (event("message_delta", delta={"stop_reason": "end_turn"}), "broke"),
        (block(0, type="text", text="TEXT").replace(b"TEXT", b"\\ud800"), "broke"),
        (block(0, type="text", text="").replace(b'{"type":"text","text":""}', b"[]"), "broke"),
        (event("message_start", message=[]), "broke"),
        (event("message_delta", delta=["x"]), "broke"),
    ],
    ids=[
        "an error",
        "a bare error",
        "nonsense",
        "nothing",
        "no end",
        "half an end",
        "no text",
        "no block",
        "no message",
        "no delta",
    ],
)
async def test_a_stream_that_breaks_ends_in_an_error_and_is_charged_up_to_there(
    tmp_path: Path, last: bytes, says: str
) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        pieces = [start(), block(), delta("one "), delta("two "), *([last] if last else [])]
        gateway.model_server.behaviour = streams(*pieces)
        reply = await ask(gateway, stream=True)
        assert reply.status == 200
        assert reply.body.endswith(b"!CUT")
        told = events_of(reply)[-1]
        assert told["type"] == "error"
        assert told["error"]["type"] == "api_error"
        assert told["request_id"] == reply.headers["request-id"]
        assert says == "broke" or says not in reply.body.decode()
        tokens_in, _, tokens_out, charge, _, counted_by = await _charged(gateway)
        assert (tokens_out, counted_by) == (2, "gateway")
        assert charge == tokens_in * 100 + 2 * 400


async def test_a_client_that_hangs_up_pays_for_what_had_arrived(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = streams(
            start(), block(), delta("one "), delta("two "), hangs=True
        )
        body = {"model": "claude-x", "max_tokens": 9, "stream": True}
        data = json.dumps(body | {"messages": [{"role": "user", "content": "hi"}]}).encode()
        head = (
            f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {gateway.secret}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head.encode() + data)
        await reader.readuntil(b"two ")
        writer.close()
        await asyncio.wait_for(gateway.model_server.heard_hang_up.wait(), 60)
        journal = gateway.engine.journal
        while gateway.directory.running_calls or journal._waiting:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.002)
        assert (await _charged(gateway))[2:] == (2, _cost(gateway, 2), "hung_up", "gateway")


def _cost(gateway: Gateway, output_tokens: int) -> int:
    """What our own count of a prompt costs, and so many tokens of output."""
    prompt = gateway.model_server.received[-1].body["messages"]
    prompt_bytes = len(json.dumps(prompt, separators=(",", ":")))
    return -(-prompt_bytes // 4) * 100 + output_tokens * 400


async def test_a_stream_that_runs_dry_ends_as_if_it_had_reached_its_length(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=600 * TOKEN) as gateway:
        await add_messages_model(gateway, terms=ModelTerms(0, 0, 1_000_000_000))
        texts = [delta(f"{index % 10}") for index in range(900)]
        gateway.model_server.behaviour = streams(start(), block(), *texts, hangs=True)
        reply = await ask(gateway, stream=True, max_tokens=1000)
        events = events_of(reply)
        assert [said["type"] for said in events[-3:]] == [
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        assert events[-2]["delta"]["stop_reason"] == "max_tokens"
        usage = events[-2]["usage"]
        _, _, tokens_out, charge, outcome, counted_by = await _charged(gateway)
        assert (outcome, counted_by) == ("ran_dry", "gateway")
        assert (usage["output_tokens"], usage["cost_nanos"]) == (tokens_out, charge)
        assert charge <= 600 * TOKEN


async def test_a_call_that_runs_smaller_thinks_less(tmp_path: Path) -> None:
    """Anthropic's servers refuse a thinking budget that is not below ``max_tokens``."""
    thinking = {"type": "enabled", "budget_tokens": 4000}
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        reply = await ask(gateway, max_tokens=5000, thinking=thinking)
        assert reply.headers["x-latchgate-clamped"] == "max_tokens=1000"
        received = gateway.model_server.received[-1].body
        assert received["max_tokens"] == 1000
        assert "thinking" not in received


async def test_models_are_listed_in_anthropics_shape_to_whom_speaks_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        headers = {"anthropic-version": "2023-06-01"}
        listed = (await gateway.request("GET", "/v1/models?limit=1000", headers=headers)).json
        assert set(listed) == {"data", "has_more", "first_id", "last_id"}
        assert [one["id"] for one in listed["data"]] == [listed["first_id"], listed["last_id"]]
        for one in listed["data"]:
            assert set(one) == {"type", "id", "display_name", "created_at"}
            assert one["type"] == "model"
        missing = await gateway.request("GET", "/v1/models/nope", headers=headers)
        assert missing.status == 404
        assert error_of(missing)["type"] == "not_found_error"
        assert (await gateway.request("GET", "/v1/models/nope")).error["code"] == "model_not_found"
