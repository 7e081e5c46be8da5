"""A scripted upstream that can do what the embedded model can't: tools, images, thoughts, errors.

It speaks chat completions, text completions and embeddings. What it does follows from what it is
asked: a request with tools is answered by a call of one, a schema by a value of that shape. A model
whose name is in ``PARTS`` plays that part instead.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.model_server import (
    Received,
    chunk,
    completion,
    end_events,
    send_chunk,
    send_json,
    start_events,
    usage_chunk,
)

TEXT = "The tide comes in twice a day."
THOUGHT = "The moon pulls at the sea."
DIMENSIONS = 8
#: As many as the SDKs' own retries bear.
FAILURES_BEFORE_AN_ANSWER = 2
Part = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


async def play(request: Received, writer: asyncio.StreamWriter) -> None:
    """Answer one request."""
    if request.path.endswith("/embeddings"):
        await send_json(writer, 200, _vectors(request.body))
        return
    part = PARTS.get(request.body.get("model", ""))
    if part is not None:
        await part(request, writer)
    elif request.path.endswith("/chat/completions"):
        await _chat(request, writer)
    else:
        await _complete(request, writer)


# ── what it says ────────────────────────────────────────────────────────────────────────────────
def _message(body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer to a chat, as an assistant's message."""
    messages = body["messages"]
    asked = " ".join(_text_of(message) for message in messages if message["role"] == "user")
    tool = _tool_to_call(body, asked)
    if tool is not None:
        arguments = value_of(tool.get("parameters") or {}, asked)
        function = {"name": tool["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
        call = {"id": f"call_{len(messages)}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    wanted = body.get("response_format") or {"type": "text"}
    text = TEXT
    if wanted["type"] == "json_schema":
        text = json.dumps(value_of(wanted["json_schema"]["schema"], asked))
    elif wanted["type"] == "json_object":
        text = json.dumps(dict.fromkeys(re.findall(r"[`'\"](\w+)[`'\"]", asked), "The sea."))
    elif messages[-1]["role"] == "tool":
        text = f"The tool says: {_text_of(messages[-1])}"
    elif images := _images(messages):
        text = f"I see {images} image(s)."
    message = {"role": "assistant", "content": text}
    if body["model"] == "thinker":
        message["reasoning_content"] = THOUGHT
    return message


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def _images(messages: list[dict[str, Any]]) -> int:
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return sum(part.get("type") == "image_url" for part in parts)


def _tool_to_call(body: dict[str, Any], asked: str) -> dict[str, Any] | None:
    """The tool that is chosen, else one that is named, else the first; none after a result."""
    tools = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice")
    if not tools or choice == "none" or body["messages"][-1]["role"] == "tool":
        return None
    if isinstance(choice, dict):
        wanted = choice["function"]["name"]
        return next(tool for tool in tools if tool["name"] == wanted)
    return next((tool for tool in tools if tool["name"] in asked), tools[0])


def value_of(schema: dict[str, Any], asked: str, root: dict[str, Any] | None = None) -> Any:
    """A value of a JSON schema's shape, made of what was asked where that has the kind."""
    root = root if root is not None else schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return value_of((root.get("$defs") or root["definitions"])[name], asked, root)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return value_of(schema["anyOf"][0], asked, root)
    match schema.get("type"):
        case "integer" | "number":
            return int((re.findall(r"\d+", asked) or ["7"])[0])
        case "string":
            return (re.findall(r"[^\x00-\x7f]+", asked) or ["Bern"])[-1]
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            return [value_of(schema.get("items") or {"type": "string"}, asked, root)]
    shapes = schema.get("properties") or {}
    return {name: value_of(shape, asked, root) for name, shape in shapes.items()}


def _usage(prompt: Any, message: dict[str, Any]) -> dict[str, Any]:
    """A usage with all three classes of tokens in it: half of the prompt was cached."""
    read = len(json.dumps(prompt)) // 4 + 1
    text = message.get("content") or json.dumps(message.get("tool_calls"))
    thought = len(message.get("reasoning_content", "").split())
    wrote = len(text.split()) + thought
    return {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "total_tokens": read + wrote,
        "prompt_tokens_details": {"cached_tokens": read // 2},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


def _vectors(body: dict[str, Any]) -> dict[str, Any]:
    asked = body["input"]
    inputs = asked if isinstance(asked, list) and not isinstance(asked[0], int) else [asked]
    data = []
    for index, item in enumerate(inputs):
        seed = sum(item.encode() if isinstance(item, str) else item)
        vector: Any = [((seed * (place + 1)) % 97) / 97 for place in range(DIMENSIONS)]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    read = len(json.dumps(inputs)) // 4 + 1
    usage = {"prompt_tokens": read, "total_tokens": read}
    return {"object": "list", "model": body["model"], "data": data, "usage": usage}


# ── how it says it ──────────────────────────────────────────────────────────────────────────────
async def _chat(request: Received, writer: asyncio.StreamWriter) -> None:
    body = request.body
    message = _message(body)
    usage = _usage(body["messages"], message)
    finish = "tool_calls" if "tool_calls" in message else "stop"
    if not body.get("stream"):
        answer = completion(usage=usage, model=body["model"], finish_reason=finish)
        answer["choices"] = [
            {"index": index, "finish_reason": finish, "message": message}
            for index in range(body.get("n") or 1)
        ]
        await send_json(writer, 200, answer)
        return
    await start_events(writer)
    name = json.dumps(body["model"]).encode()
    deltas = [{"role": "assistant", "content": ""}, *_deltas(message), {}]
    for index, delta in enumerate(deltas, 1):
        event = chunk(delta, finish=finish if index == len(deltas) else None)
        await send_chunk(writer, event.replace(b'"up-model"', name))
    if (body.get("stream_options") or {}).get("include_usage"):
        await send_chunk(writer, usage_chunk(usage))
    await send_chunk(writer, b"data: [DONE]\n\n")
    await end_events(writer)


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message in pieces, as OpenAI's servers cut it."""
    deltas: list[dict[str, Any]] = []
    for name in ("reasoning_content", "content"):
        words = re.findall(r"\S+\s*|\s+", message.get(name) or "")
        deltas += [{name: word} for word in words]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        first = {**call, "index": index, "function": {**function, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        text = function["arguments"]
        for start in range(0, len(text), 6):
            piece = {"index": index, "function": {"arguments": text[start : start + 6]}}
            deltas.append({"tool_calls": [piece]})
    return deltas


async def _complete(request: Received, writer: asyncio.StreamWriter) -> None:
    body = request.body
    usage = _usage(body["prompt"], {"content": TEXT})
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
    choice = {"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}
    if not body.get("stream"):
        await send_json(writer, 200, {**head, "choices": [choice], "usage": usage})
        return
    await start_events(writer)
    words = re.findall(r"\S+\s*", TEXT)
    for word in words:
        is_last = word == words[-1]
        piece = {**choice, "text": word, "finish_reason": "stop" if is_last else None}
        await _event(writer, {**head, "choices": [piece]})
    if (body.get("stream_options") or {}).get("include_usage"):
        await _event(writer, {**head, "choices": [], "usage": usage})
    await send_chunk(writer, b"data: [DONE]\n\n")
    await end_events(writer)


async def _event(writer: asyncio.StreamWriter, data: dict[str, Any]) -> None:
    await send_chunk(writer, b"data: " + json.dumps(data).encode() + b"\n\n")


# ── the parts that models of a name play ────────────────────────────────────────────────────────
def _failing(status: int) -> Part:
    """Answers with an error whose text is nobody else's business."""

    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, status, {"error": {"message": "the secret cause", "type": "x"}})

    return behave


def _recovering() -> Part:
    """Is overloaded twice, and then answers."""
    failures = 0

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal failures
        if failures < FAILURES_BEFORE_AN_ANSWER:
            failures += 1
            await _failing(503)(request, writer)
            return
        failures = 0
        is_chat = request.path.endswith("/chat/completions")
        await (_chat if is_chat else _complete)(request, writer)

    return behave


async def _break_off(request: Received, writer: asyncio.StreamWriter) -> None:
    """Begins a stream, and then says that it has failed."""
    if not request.body.get("stream"):
        await _failing(500)(request, writer)
        return
    await start_events(writer)
    await send_chunk(writer, chunk({"role": "assistant", "content": ""}))
    await send_chunk(writer, chunk({"content": "The tide "}))
    await send_chunk(writer, b'data: {"error":{"message":"the secret cause","type":"x"}}\n\n')
    await end_events(writer)


async def _linger(request: Received, writer: asyncio.StreamWriter) -> None:
    """Says a few words, and then nothing until the other side goes."""
    await start_events(writer)
    if request.path.endswith("/chat/completions"):
        await send_chunk(writer, chunk({"role": "assistant", "content": ""}))
        for word in ("The ", "tide "):
            await send_chunk(writer, chunk({"content": word}))
    else:
        choice = {"index": 0, "text": "The tide ", "logprobs": None, "finish_reason": None}
        await _event(writer, {"id": "cmpl-1", "object": "text_completion", "choices": [choice]})
    await request.hang_up()


PARTS: dict[str, Part] = {
    "breaks": _failing(500),
    "is-full": _failing(503),
    "locks-us-out": _failing(401),
    "breaks-off": _break_off,
    "lingers": _linger,
    "recovers": _recovering(),
}
