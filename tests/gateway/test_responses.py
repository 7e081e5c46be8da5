"""Responses of an upstream that speaks them: what passes, what it costs, how a stream ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from latchgate.fibers import Wait
from latchgate.gateway.dialects import response_stream
from tests.support.gateway import ACCOUNT, CALLER, Gateway, Reply, running_gateway
from tests.support.model_server import Received, send_chunk, send_json, start_events
from tests.support.responses import (
    add_native_model,
    answers,
    message,
    named,
    read_events,
    respond,
    response,
    sends,
    text_events,
    usage_of,
)

pytestmark = pytest.mark.anyio

#: What the usage of the scripted answers costs: 12 tokens read, 5 written.
CHARGE = 12 * 100 + 5 * 400


@asynccontextmanager
async def _running(folder: Path, **fields: Any) -> AsyncIterator[Gateway]:
    async with running_gateway(folder, **fields) as gateway:
        await add_native_model(gateway)
        gateway.model_server.behaviour = answers()
        yield gateway


async def _ask(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a stream, whose bytes can then be read as they come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = b'{"model":"r","input":"hi","stream":true}'
    writer.write(
        b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (gateway.secret.encode(), len(body), body)
    )
    return reader, writer


def _kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


async def test_a_whole_response_is_charged_and_says_so(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        reply = await respond(gateway, instructions="Be brief.", user="u-1", metadata={"a": "b"})
        assert reply.status == 200
        answer = reply.json
        assert answer["model"] == "r"
        assert answer["id"].startswith("resp_")
        assert answer["id"] != "resp_up"
        assert answer["output"] == [message("Hello there")]
        assert answer["status"] == "completed"
        assert (answer["instructions"], answer["user"]) == ("Be brief.", "u-1")
        assert answer["metadata"] == {"a": "b"}
        assert answer["usage"]["cost_nanos"] == CHARGE
        (event,) = await gateway.events()
        counted = (event.input_tokens, event.output_tokens, event.charge_nanos, event.counted_by)
        assert counted == (12, 5, CHARGE, "upstream")
        (received,) = gateway.model_server.received
        assert received.path == "/v1/responses"
        assert received.body == {
            "model": "up-model",
            "input": [{"type": "message", "role": "user", "content": "Say hi"}],
            "instructions": "Be brief.",
            "max_output_tokens": 1000,
            "store": False,
        }


@pytest.mark.parametrize("is_bare", [False, True], ids=["numbered", "bare"])
async def test_a_stream_is_numbered_named_and_ends_with_what_it_cost(
    tmp_path: Path, *, is_bare: bool
) -> None:
    texts = ("Hel", "lo", ' "there"', "\n", "end")
    async with _running(tmp_path) as gateway:
        gateway.model_server.behaviour = answers(texts, is_bare=is_bare)
        reply = await respond(gateway, stream=True)
        events = read_events(reply)
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
        deltas = [event for event in events if event["type"] == "response.output_text.delta"]
        assert tuple(event["delta"] for event in deltas) == texts
        for event in events[3:-2]:
            assert (event["output_index"], event["content_index"]) == (0, 0)
        first, last = events[0]["response"], events[-1]["response"]
        assert first["id"] == last["id"]
        assert {first["model"], last["model"]} == {"r"}
        assert last["output"] == [message("".join(texts))]
        assert last["usage"]["cost_nanos"] == CHARGE
        assert b"up-model" not in reply.body
        (event,) = await gateway.events()
        assert (event.output_tokens, event.charge_nanos) == (5, CHARGE)


async def test_a_stream_cut_anywhere_is_the_same_stream(tmp_path: Path) -> None:
    whole = b"".join(text_events(("Hel", "lo"), usage_of(12, 5), is_bare=True))
    async with _running(tmp_path) as gateway:
        said = []
        for size in (1, 7, 100, len(whole)):
            pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
            gateway.model_server.behaviour = sends(*pieces)
            events = read_events(await respond(gateway, stream=True))
            said.append([event.get("delta") for event in events])
        assert said[0] == said[1] == said[2] == said[3]


@pytest.mark.parametrize("is_bare", [False, True], ids=["numbered", "bare"])
async def test_the_end_is_kept_back_until_the_charge_is_durable(
    tmp_path: Path, *, is_bare: bool
) -> None:
    async with _running(tmp_path) as gateway:
        durable, gate = gateway.engine.journal.safe, Wait[None]()

        async def held(offset: int) -> None:
            await gate
            await durable(offset)

        gateway.engine.journal.safe = held  # type: ignore[method-assign, assignment]
        gateway.model_server.behaviour = answers(is_bare=is_bare)
        reader, writer = await _ask(gateway)
        came = await reader.readuntil(b"event: response.output_item.done\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                came += await reader.readuntil(b"event: response.completed\n")
        gate.set(None)
        came += await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        assert b'"cost_nanos":%d}' % CHARGE in came.partition(b"response.completed")[2]


async def test_llama_cpp_says_completed_of_what_it_cut_and_the_client_hears_the_truth(
    tmp_path: Path,
) -> None:
    async with _running(tmp_path) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(12, 3), is_bare=True)
        events = read_events(await respond(gateway, stream=True, max_output_tokens=3))
        assert events[-1]["type"] == "response.incomplete"
        assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_server_that_says_why_is_believed(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        details = {"reason": "content_filter"}
        answer = response(
            [message("x")], usage_of(12, 3), status="incomplete", incomplete_details=details
        )

        async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
            await send_json(writer, 200, answer)

        gateway.model_server.behaviour = behave
        reply = await respond(gateway)
        assert (reply.json["status"], reply.json["incomplete_details"]) == ("incomplete", details)
        gateway.model_server.behaviour = answers(usage=usage_of(12, 3))
        reply = await respond(gateway, max_output_tokens=3)
        assert reply.json["status"] == "completed"  # it has incomplete_details, and they are null


async def test_a_stream_without_a_count_is_counted_by_us(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        texts = ["ab"] * 6 + ["x" * 80]
        gateway.model_server.behaviour = sends(*text_events(texts))
        events = read_events(await respond(gateway, "12345678" * 4, stream=True))
        usage = events[-1]["response"]["usage"]
        (event,) = await gateway.events()
        assert event.counted_by == "gateway"
        assert event.output_tokens == -(-(12 + 80) // 8)  # more than seven pieces
        assert (usage["input_tokens"], usage["output_tokens"]) == (
            event.input_tokens,
            event.output_tokens,
        )
        assert usage["cost_nanos"] == event.charge_nanos > 0


@pytest.mark.parametrize("usage", [usage_of(-1, 5), usage_of(12, 10**12), {"input_tokens": "x"}])
async def test_an_absurd_count_is_not_believed(tmp_path: Path, usage: dict[str, Any]) -> None:
    async with _running(tmp_path) as gateway:
        gateway.model_server.behaviour = answers(["four"], usage)
        assert (await respond(gateway)).status == 200
        read_events(await respond(gateway, stream=True))
        for event in await gateway.events():
            assert (event.counted_by, event.output_tokens) == ("gateway", 1)


async def test_a_stream_that_ends_without_its_end_is_ended_in_order(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        cut = text_events(("Hel", "lo"), usage_of(12, 5))[:6]
        gateway.model_server.behaviour = sends(*cut)
        events = read_events(await respond(gateway, stream=True))
        assert _kinds(events)[6:] == [
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Hello"
        assert events[-1]["response"]["usage"]["output_tokens"] == 2


async def test_numbers_and_places_that_are_wrong_are_put_right(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        events = text_events(("a", "b"), usage_of(12, 5))
        shifted = [
            event.replace(b'"sequence_number":', b'"sequence_number":9').replace(
                b'"output_index":0', b'"output_index":3'
            )
            for event in events
        ]
        gateway.model_server.behaviour = sends(*shifted)
        said = read_events(await respond(gateway, stream=True))
        assert {event["output_index"] for event in said if "output_index" in event} == {0}


async def test_function_calls_and_thoughts_pass_and_are_counted(tmp_path: Path) -> None:
    call = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": ""}
    thought = {"id": "rs_1", "type": "reasoning", "summary": []}
    place = {"item_id": "rs_1", "output_index": 0, "content_index": 0}
    called = {**call, "arguments": '{"a":1}', "status": "completed"}
    stream = [
        {"type": "response.created", "response": response([])},
        {"type": "response.output_item.added", "output_index": 0, "item": thought},
        {"type": "response.reasoning_text.delta", **place, "delta": "Hm"},
        {"type": "response.reasoning_text.done", **place, "text": "Hm"},
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "delta": ":1}"},
        {"type": "response.function_call_arguments.done", "item_id": "fc_1", "arguments": "{}"},
        {"type": "response.output_item.done", "output_index": 1, "item": called},
        {"type": "response.completed", "response": response([thought, called])},
    ]
    async with _running(tmp_path) as gateway:
        gateway.model_server.behaviour = sends(*map(named, stream))
        events = read_events(await respond(gateway, stream=True))
        arguments = [event for event in events if "arguments.delta" in event["type"]]
        assert [event["output_index"] for event in arguments] == [1, 1]
        assert events[-1]["response"]["output"] == [thought, called]
        (event,) = await gateway.events()
        assert (event.counted_by, event.output_tokens) == ("gateway", 3)


@pytest.mark.parametrize(
    "last",
    [
        {"type": "error", "code": "server_error", "message": "secret cause"},
        {"type": "response.failed", "response": response([], error={"message": "secret cause"})},
        {"error": {"message": "secret cause", "code": 500}},
    ],
    ids=["error", "failed", "bare error"],
)
async def test_a_response_that_fails_ends_as_failed_and_pays_for_what_came(
    tmp_path: Path, last: dict[str, Any]
) -> None:
    async with _running(tmp_path) as gateway:
        head = text_events(("Hel", "lo"))[:6]
        gateway.model_server.behaviour = sends(*head, named({"type": "error", **last}))
        if "type" not in last:
            bare = b'data: {"error":{"message":"secret cause","code":500}}\n\n'
            gateway.model_server.behaviour = sends(*head, bare)
        reply = await respond(gateway, stream=True)
        assert reply.body.endswith(b"!CUT")
        reply.body = reply.body.removesuffix(b"!CUT")
        events = read_events(reply)
        failed = events[-1]["response"]
        assert (events[-1]["type"], failed["status"]) == ("response.failed", "failed")
        assert failed["error"]["code"] == "upstream_error"
        assert b"secret cause" not in reply.body
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens) == ("failed", 2)
        assert failed["usage"]["cost_nanos"] == event.charge_nanos > 0


async def test_a_stream_that_runs_dry_ends_as_incomplete_in_order(tmp_path: Path) -> None:
    async with _running(tmp_path, credit_nanos=400_000) as gateway:

        async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
            await start_events(writer)
            with contextlib.suppress(ConnectionError):
                for event in text_events(["word "] * 5000)[:-4]:
                    await send_chunk(writer, event)
                await request.hang_up()

        gateway.model_server.behaviour = behave
        events = read_events(await respond(gateway, stream=True))
        assert _kinds(events)[-4:] == [
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "incomplete",
        ]
        last = events[-1]["response"]
        assert last["incomplete_details"] == {"reason": "max_output_tokens"}
        text = "".join(event.get("delta", "") for event in events)
        assert last["output"][0]["content"][0]["text"] == text
        assert last["output"][0]["status"] == "incomplete"
        (event,) = await gateway.events()
        assert last["usage"]["output_tokens"] == event.output_tokens
        assert last["usage"]["cost_nanos"] == event.charge_nanos <= 400_000


async def test_a_refusal_before_the_stream_is_an_ordinary_error(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:

        async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
            await send_json(writer, 400, {"error": {"code": 400, "message": "secret cause"}})

        gateway.model_server.behaviour = behave
        replies: list[Reply] = [await respond(gateway), await respond(gateway, stream=True)]
        for reply in replies:
            assert reply.status == 400
            assert reply.error["type"] == "invalid_request_error"
        assert [event.charge_nanos for event in await gateway.events()] == [0, 0]


async def test_garbage_is_a_clear_failure_and_free(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:
        for event in (b"data: [1]\n\n", b"event: x\ndata: {\n\n", b'data: {"type":1}\n\n'):
            gateway.model_server.behaviour = sends(event)
            reply = await respond(gateway, stream=True)
            assert (reply.status, reply.error["code"]) == (502, "upstream_error")
        assert [event.charge_nanos for event in await gateway.events()] == [0, 0, 0]


async def test_a_stream_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_stream, "ITEMS_MAX", 3)
    monkeypatch.setattr(response_stream, "TEXT_CHARS_MAX", 10)
    items = [
        named({"type": "response.output_item.added", "item": {**message(""), "id": f"msg_{n}"}})
        for n in range(4)
    ]
    async with _running(tmp_path) as gateway:
        for events in (items, text_events(["four"] * 4)):
            for size in (1, len(events)):
                pieces = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
                gateway.model_server.behaviour = sends(*pieces)
                reply = await respond(gateway, stream=True)
                assert b"response.completed" not in reply.body
                assert b'"upstream_error"' in reply.body
                assert reply.body.endswith(b"!CUT")


async def test_a_revoked_key_ends_its_stream(tmp_path: Path) -> None:
    async with _running(tmp_path) as gateway:

        async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
            await start_events(writer)
            for event in text_events(["a", "b"])[:6]:
                await send_chunk(writer, event)
            await request.hang_up()

        gateway.model_server.behaviour = behave
        reader, writer = await _ask(gateway)
        await reader.readuntil(b'"delta":"b"')
        assert gateway.key is not None
        await gateway.api_keys.revoke(ACCOUNT, gateway.key.view.id, CALLER)
        rest = await reader.read()
        writer.close()
        assert b'"type":"response.failed"' in rest
        assert b'"invalid_api_key"' in rest
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens) == ("cut", 2)
