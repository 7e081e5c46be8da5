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
    chunk,
    completion,
    send_chunk,
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
