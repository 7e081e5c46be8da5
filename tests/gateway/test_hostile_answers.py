"""Guards against model servers whose answers are HTTP but lie: about usage, their end, themselves.

Absurd usage gives way to our own count; nothing is ever charged below zero or above the hold.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.hostile import (
    ANSWER,
    CHARGE,
    CHUNKED,
    EVENTS,
    LENGTH,
    OK,
    TERMS,
    check_next,
    check_refused,
    sends,
)
from tests.support.gateway import Gateway, Reply, running_gateway
from tests.support.model_server import (
    Received,
    answers,
    chunk,
    completion,
    send_chunk,
    send_json,
    start_events,
    usage_chunk,
    usage_of,
)

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
#: What our own count makes of four pieces, or of as much text at once: eight bytes a token.
PIECES, TEXT, OWN = 4, "four words of text, and four more", 5
PLACE = b'"USAGE"'

#: As it stands in the answer's JSON.
ABSURD = {
    "below zero": '{"prompt_tokens":-5,"completion_tokens":-7}',
    "a fraction": '{"prompt_tokens":1.5,"completion_tokens":2}',
    "a whole fraction": '{"prompt_tokens":1.0,"completion_tokens":2.0}',
    "a text": '{"prompt_tokens":"12","completion_tokens":"5"}',
    "a list": '{"prompt_tokens":[12],"completion_tokens":{}}',
    "a truth": '{"prompt_tokens":true,"completion_tokens":true}',
    "nothing": '{"prompt_tokens":null,"completion_tokens":null}',
    "empty": "{}",
    "all text": '"many"',
    "all list": "[12, 5]",
    "all number": "12",
    "huge": '{"prompt_tokens":12,"completion_tokens":1000000000001}',
    "beyond 64 bits": '{"prompt_tokens":12,"completion_tokens":123456789012345678901234567890}',
    "beyond floats": '{"prompt_tokens":12,"completion_tokens":1e999}',
    "more cached than there are": (
        '{"prompt_tokens":12,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":13}}'
    ),
    "cached below zero": (
        '{"prompt_tokens":12,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":-1}}'
    ),
    "strange details": '{"prompt_tokens":12,"completion_tokens":5,"prompt_tokens_details":7}',
}


def _answer_with(usage: str, *, is_stream: bool) -> bytes:
    """An answer, whole or streamed, with this text where its usage stands."""
    value: Any = "USAGE"
    if not is_stream:
        body = json.dumps(completion(TEXT, usage=value)).encode()
        body = body.replace(PLACE, usage.encode())
        return OK + LENGTH % len(body) + body
    pieces = chunk({"content": "word "}) * PIECES
    end = usage_chunk(value).replace(PLACE, usage.encode())
    return OK + b"\r\n" + pieces + end + b"data: [DONE]\n\n"


async def _ask(gateway: Gateway, *, is_stream: bool) -> Reply:
    """One call that wants to hear of its usage either way."""
    if is_stream:
        return await gateway.chat(stream=True, stream_options={"include_usage": True})
    return await gateway.chat()


async def _check_counted(gateway: Gateway, *, is_stream: bool) -> None:
    (event,) = await gateway.events()
    assert (event.outcome, event.counted_by) == ("answered", "gateway")
    assert event.output_tokens == (PIECES if is_stream else OWN)
    charge = event.input_tokens * 100 + event.output_tokens * 400
    assert 0 < event.charge_nanos == charge <= event.hold_nanos
    await check_next(gateway, spent=charge)


@BOTH
@pytest.mark.parametrize("name", ABSURD)
async def test_absurd_usage_gives_way_to_our_own_count(
    tmp_path: Path, name: str, *, is_stream: bool
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = sends(_answer_with(ABSURD[name], is_stream=is_stream))
        reply = await _ask(gateway, is_stream=is_stream)
        assert reply.status == 200
        assert is_stream is False or reply.events[-1] == "[DONE]"
        await _check_counted(gateway, is_stream=is_stream)


async def test_usage_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    usage = '{"prompt_tokens":NaN,"completion_tokens":-Infinity}'
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = sends(_answer_with(usage, is_stream=False))
        await check_refused(gateway, await gateway.chat())


@pytest.mark.parametrize("end", [b"data: {nonsense\n\n", b'data: {"error":{"message":"no"}}\n\n'])
@pytest.mark.parametrize("is_at_once", [True, False])
async def test_of_a_broken_stream_just_what_the_client_got_is_paid(
    tmp_path: Path, end: bytes, *, is_at_once: bool
) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        pieces = chunk({"content": "word "}) * PIECES
        if is_at_once:
            await send_chunk(writer, pieces + end)
            return
        await send_chunk(writer, pieces)
        await asyncio.sleep(0.05)
        await send_chunk(writer, end)

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        reply = await gateway.chat(stream=True)
        assert b'"upstream_error"' in reply.body
        (event,) = await gateway.events()
        assert event.outcome == "failed"
        assert event.output_tokens == reply.body.count(b"word ")
        await check_next(gateway, spent=event.input_tokens * 100 + event.output_tokens * 400)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([(10, 1), (10, 3)], (3, "upstream")),
        ([(10, 3), (10, 1)], (1, "upstream")),
        ([(-1, 1), (10, 3)], (3, "upstream")),
        ([(10, 900), (7000, 10**9)], (1, "gateway")),
    ],
)
async def test_usage_that_is_stated_twice_counts_once_and_the_last_one_does(
    tmp_path: Path, counts: list[tuple[int, int]], expected: tuple[int, str]
) -> None:
    usage = b"".join(usage_chunk(usage_of(*pair)) for pair in counts)
    data = OK + b"\r\n" + chunk({"content": "x"}) + usage + b"data: [DONE]\n\n"
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = sends(data)
        assert (await gateway.chat(stream=True)).events[-1] == "[DONE]"
        (event,) = await gateway.events()
        assert (event.output_tokens, event.counted_by) == expected
        await check_next(gateway, spent=event.input_tokens * 100 + event.output_tokens * 400)


@pytest.mark.parametrize("place", range(1, len(chunk({"content": "two "})) - 1, 7))
async def test_a_stream_that_is_cut_in_mid_event_pays_the_whole_events(
    tmp_path: Path, place: int
) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"content": "one "}) + chunk({"content": "two "})[:place])
        writer.close()

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        reply = await gateway.chat(stream=True)
        assert reply.body.endswith(b"!CUT")
        assert json.loads(reply.events[-1])["error"]["code"] == "upstream_error"
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens, event.counted_by) == ("failed", 1, "gateway")
        await check_next(gateway, spent=event.input_tokens * 100 + 400)


@BOTH
@pytest.mark.parametrize(
    ("place", "field"),
    [
        (b'"created": 1', b'"created": 1e999'),
        (b'"created": 1', b'"created": "\xff"'),
        (b'"created": 1', b'"created": "\\ud800"'),
        (b'"total_tokens": 17', b'"total_tokens": "\xff"'),
        (b'"prompt_tokens": 12', b'"prompt_tokens": "\xff"'),
    ],
)
async def test_a_field_that_can_not_be_read_is_no_mistake_of_ours(
    tmp_path: Path, place: bytes, field: bytes, *, is_stream: bool
) -> None:
    """Either the answer passes and is paid, or it is an error and free: not an error that costs."""
    body = (EVENTS if is_stream else ANSWER).replace(place, field)
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = sends(OK + LENGTH % len(body) + body)
        reply = await _ask(gateway, is_stream=is_stream)
        assert b'"internal_error"' not in reply.body
        (event,) = await gateway.events()
        assert (event.charge_nanos > 0) is (b"one " in reply.body or b"Hello" in reply.body)
        await check_next(gateway, spent=event.charge_nanos)


LEFT_OVER = {
    "a line": b"what is this\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-",
    "half an answer": OK + LENGTH % 500 + b'{"choices":',
    "a whole answer": OK + LENGTH % len(ANSWER) + ANSWER.replace(b"Hello", b"NEVER"),
    "a whole refusal": b"HTTP/1.1 500 No\r\n" + LENGTH % 2 + b"{}",
}


@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("name", LEFT_OVER)
async def test_what_comes_behind_an_answers_end_reaches_nobody(
    tmp_path: Path, name: str, *, is_late: bool
) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        first = OK + LENGTH % len(ANSWER) + ANSWER
        writer.write(first if is_late else first + LEFT_OVER[name])
        if is_late:
            await asyncio.sleep(0.05)
            writer.write(LEFT_OVER[name])

    async def slow(_request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)
        await send_json(writer, 200, completion("mine", usage=usage_of(12, 5)))

    async with running_gateway(tmp_path, terms=TERMS, idle_s=0.6) as gateway:
        gateway.model_server.behaviour = behave
        assert (await gateway.chat()).headers["x-latchgate-cost-nanos"] == str(CHARGE)
        await asyncio.sleep(0.3)
        gateway.model_server.behaviour = slow
        second = await gateway.chat()
        assert second.status == 200
        assert second.json["choices"][0]["message"]["content"] == "mine"
        await check_next(gateway, spent=2 * CHARGE)


TOOL_CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
]


@BOTH
async def test_a_tool_call_passes_and_is_counted_as_text(
    tmp_path: Path, *, is_stream: bool
) -> None:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        if not is_stream:
            answer = completion()
            answer["choices"][0]["message"] = {
                "role": "assistant",
                "content": None,
                "tool_calls": TOOL_CALLS,
            }
            await send_json(writer, 200, answer)
            return
        called = chunk({"tool_calls": [{"index": 0, **TOOL_CALLS[0]}]}) + chunk(
            {}, finish="tool_calls"
        )
        writer.write(OK + CHUNKED + b"\r\n")
        await send_chunk(writer, called + b"data: [DONE]\n\n")
        await send_chunk(writer, b"")

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        reply = await gateway.chat(stream=is_stream)
        assert reply.status == 200
        assert b'"call_1"' in reply.body
        (event,) = await gateway.events()
        assert (event.outcome, event.counted_by) == ("answered", "gateway")
        assert event.output_tokens > 0
        gateway.model_server.behaviour = answers()
        await check_next(gateway, spent=event.charge_nanos)
