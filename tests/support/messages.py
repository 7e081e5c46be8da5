"""A scripted model server that speaks Anthropic's messages, and calls of that kind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, Reply
from tests.support.model_server import (
    Behaviour,
    Received,
    end_events,
    send_chunk,
    send_json,
    start_events,
)

#: USD 0.10 and 0.02 and 0.40 for a million tokens: fresh input, cached input, output.
TERMS = ModelTerms(100_000, 20_000, 400_000)


async def add_messages_model(
    gateway: Gateway, name: str = "claude-x", *, terms: ModelTerms = TERMS, **more: Any
) -> None:
    """A model whose upstream speaks nothing but messages."""
    if "anthropic" not in {upstream.name for upstream in await gateway.catalog.list_upstreams()}:
        await gateway.catalog.add_upstream(
            "anthropic",
            base_url=gateway.model_server.base_url,
            api_key="up-key",
            speaks=["messages"],
        )
    await gateway.catalog.add_model(
        name,
        upstream="anthropic",
        upstream_model="up-model",
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=terms,
        **more,
    )


async def ask(gateway: Gateway, text: str = "Say hi", **fields: Any) -> Reply:
    """One call with the account's key; ``key`` and ``headers`` go to the request."""
    key, headers = fields.pop("key", None), fields.pop("headers", None)
    path = fields.pop("path", "/v1/messages")
    body = {
        "model": "claude-x",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }
    body = {name: value for name, value in body.items() if value is not ...}
    return await gateway.request("POST", path, body, key=key, headers=headers)


def usage_of(fresh: int, output: int, *, cached: int = 0, written: int = 0) -> dict[str, int]:
    """A whole answer's usage."""
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": output,
    }


def message(*blocks: dict[str, Any], usage: Any = None, stop: str = "end_turn") -> dict[str, Any]:
    """A whole answer."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "up-model",
        "content": list(blocks) or [{"type": "text", "text": "Hello there"}],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage if usage is not None else usage_of(8, 5, cached=3, written=1),
    }


def event(kind: str, **fields: Any) -> bytes:
    """One event of a stream."""
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(usage: Any = None) -> bytes:
    """A stream's first event."""
    begun = message(usage=usage if usage is not None else usage_of(8, 1, cached=3, written=1))
    begun |= {"content": [], "stop_reason": None}
    return event("message_start", message=begun)


def block(index: int = 0, **fields: Any) -> bytes:
    """A block begins: one of text, if nothing else is said."""
    begun = fields or {"type": "text", "text": ""}
    return event("content_block_start", index=index, content_block=begun)


def delta(text: str, index: int = 0) -> bytes:
    """A piece of text."""
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": text})


def stop(index: int = 0) -> bytes:
    """A block ends."""
    return event("content_block_stop", index=index)


def end(usage: Any = None, reason: str = "end_turn") -> bytes:
    """The last two events."""
    ended = {"stop_reason": reason, "stop_sequence": None}
    stated = usage if usage is not None else {"output_tokens": 5}
    return event("message_delta", delta=ended, usage=stated) + event("message_stop")


def streams(*pieces: bytes, hangs: bool = False) -> Behaviour:
    """Sends these pieces, each as a chunk of its own; then the end, or nothing more."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        for piece in pieces:
            await send_chunk(writer, piece)
            await asyncio.sleep(0)
        if hangs:
            await request.hang_up()
        await end_events(writer)

    return behave


def speaks_messages(words: int = 4) -> Behaviour:
    """A well-behaved server: streams when it is asked to, and counts when it is asked to."""
    texts = [delta(f"word{index} ") for index in range(words)]
    stream = streams(start(), block(), event("ping"), *texts, stop(), end())

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.path.endswith("/count_tokens"):
            await send_json(writer, 200, {"input_tokens": 42})
        elif request.body.get("stream"):
            await stream(request, writer)
        else:
            await send_json(writer, 200, message())

    return behave


def sends(value: Any, status: int = 200) -> Behaviour:
    """Answers everything with this."""

    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, status, value)

    return behave


def events_of(reply: Reply) -> list[dict[str, Any]]:
    """A stream's events; the name of each must be its type."""
    found = []
    for text in reply.body.decode().removesuffix("!CUT").split("\n\n"):
        if text and not text.startswith(":"):
            name, data = text.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


def text_of(events: list[dict[str, Any]]) -> str:
    """All the text of a stream."""
    return "".join(
        said["delta"].get("text", "") for said in events if said["type"] == "content_block_delta"
    )


def error_of(reply: Reply) -> dict[str, Any]:
    """The inside of an error of Anthropic's shape, which must be whole and name the request."""
    body = reply.json
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == reply.headers["x-request-id"] == reply.headers["request-id"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "message", "details"}
    return error
