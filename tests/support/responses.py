"""A scripted model server's side of responses: as OpenAI says them, and as llama.cpp does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, Reply
from tests.support.model_server import (
    Behaviour,
    Received,
    chunk,
    end_events,
    send_chunk,
    send_json,
    start_events,
    usage_chunk,
)
from tests.support.model_server import usage_of as chat_usage_of

MESSAGE_ID = "msg_up"


def usage_of(read: int, written: int, cached: int = 0) -> dict[str, Any]:
    """A usage object."""
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


USAGE = usage_of(12, 5)


def message(text: str, status: str = "completed") -> dict[str, Any]:
    """An output message."""
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {
        "id": MESSAGE_ID,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }


def response(
    output: list[dict[str, Any]], usage: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """A response as OpenAI says it."""
    return {
        "id": "resp_up",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "up-model",
        "output": output,
        "usage": usage,
        **fields,
    }


def named(event: dict[str, Any]) -> bytes:
    """One event, its type before its data."""
    text = json.dumps(event, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {text}\n\n".encode()


def text_events(
    texts: Iterable[str], usage: dict[str, Any] | None = None, *, is_bare: bool = False
) -> list[bytes]:
    """A stream that writes one message; a bare one has no numbers and no places, as llama.cpp's."""
    whole = "".join(texts)
    place = {"item_id": MESSAGE_ID, "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": ""}
    said: list[dict[str, Any]] = [
        {"type": "response.created", "response": response([], status="in_progress")},
        {"type": "response.in_progress", "response": response([], status="in_progress")},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**message("", "in_progress"), "content": []},
        },
        {"type": "response.content_part.added", **place, "part": empty},
        *({"type": "response.output_text.delta", **place, "delta": text} for text in texts),
        {"type": "response.output_text.done", **place, "text": whole},
        {
            "type": "response.content_part.done",
            **place,
            "part": message(whole)["content"][0],
        },
        {"type": "response.output_item.done", "output_index": 0, "item": message(whole)},
        {"type": "response.completed", "response": response([message(whole)], usage)},
    ]
    events = []
    for number, event in enumerate(said):
        if is_bare:
            gone = ("output_index", "content_index")
            events.append({name: event[name] for name in event if name not in gone})
        else:
            events.append({"type": event["type"], "sequence_number": number, **event})
    if is_bare:
        del events[-1]["response"]["incomplete_details"]
    return [named(event) for event in events]


def sends(*events: bytes) -> Behaviour:
    """A server that says these events, whatever it is asked."""

    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        for event in events:
            await send_chunk(writer, event)
        await end_events(writer)

    return behave


def answers(
    texts: Iterable[str] = ("Hello", " there"),
    usage: dict[str, Any] | None = None,
    *,
    is_bare: bool = False,
) -> Behaviour:
    """A well-behaved server of responses."""
    said = tuple(texts)
    stated = usage or USAGE

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.body.get("stream"):
            await sends(*text_events(said, stated, is_bare=is_bare))(request, writer)
        else:
            await send_json(writer, 200, response([message("".join(said))], stated))

    return behave


def calls_function(name: str, arguments: str) -> Behaviour:
    """A server of chat that calls a function, its arguments in two pieces."""
    half = len(arguments) // 2
    called = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}

    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"role": "assistant", "content": None}))
        await send_chunk(writer, chunk({"tool_calls": [{"index": 0, **called}]}))
        for piece in (arguments[:half], arguments[half:]):
            more = {"index": 0, "function": {"arguments": piece}}
            await send_chunk(writer, chunk({"tool_calls": [more]}))
        await send_chunk(writer, chunk({}, finish="tool_calls"))
        await send_chunk(writer, usage_chunk(chat_usage_of(12, 5)))
        await end_events(writer)

    return behave


async def add_native_model(gateway: Gateway, name: str = "r", **fields: Any) -> None:
    """A model whose upstream speaks responses itself."""
    await gateway.catalog.add_upstream(
        "native",
        base_url=gateway.model_server.base_url,
        api_key="up-key",
        speaks=("chat", "responses"),
    )
    await gateway.catalog.add_model(
        name,
        upstream="native",
        upstream_model="up-model",
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=ModelTerms(100_000, 20_000, 400_000),
        **fields,
    )


async def respond(
    gateway: Gateway, value: Any = "Say hi", *, model: str | None = "r", **fields: Any
) -> Reply:
    """One call with the account's key; ``key`` and ``headers`` go to the request."""
    key, headers = fields.pop("key", None), fields.pop("headers", None)
    body = {"input": value, **({} if model is None else {"model": model}), **fields}
    return await gateway.request("POST", "/v1/responses", body, key=key, headers=headers)


def read_events(reply: Reply) -> list[dict[str, Any]]:
    """A stream's events; each is named as it says, and they are numbered from 0."""
    events = []
    for block in reply.body.decode().split("\n\n"):
        if not block:
            continue
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events
