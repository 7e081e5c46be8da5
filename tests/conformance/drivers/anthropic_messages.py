"""Drives Anthropic's official Python SDK."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
from drivers.loop import (
    CITY_SCHEMA,
    QUESTION,
    WEATHER,
    Job,
    Told,
    red_png_bytes,
    responses_usage,
    serve,
    status_refusal,
)

TOOL: Any = {"name": "get_weather", "description": "Weather.", "input_schema": CITY_SCHEMA}
ASKED: Any = [{"role": "user", "content": QUESTION}]
OUTPUT_TOKENS = 24


def _client(job: Job) -> anthropic.Anthropic:
    retries = job.get("retries", anthropic.DEFAULT_MAX_RETRIES)
    return anthropic.Anthropic(base_url=job["base_url"], api_key=job["key"], max_retries=retries)


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def _usage(usage: Any) -> list[int]:
    """Tokens in and out; Anthropic states what was cached beside the rest of the input."""
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    read, wrote = responses_usage(usage)
    return [read + cached, wrote]


def models(job: Job) -> Told:
    """The list in Anthropic's shape, and one of it."""
    client = _client(job)
    listed = [model.id for model in client.models.list()]
    assert client.models.retrieve(listed[0]).id == listed[0]
    return {"models": listed}


def chat(job: Job) -> Told:
    """A whole answer."""
    answer = _client(job).messages.create(
        model=job["model"], messages=ASKED, max_tokens=OUTPUT_TOKENS
    )
    return {"text": _text(answer), "usage": _usage(answer.usage)}


def stream(job: Job) -> Told:
    """A streamed answer, by the SDK's own helper."""
    with _client(job).messages.stream(
        model=job["model"], messages=ASKED, max_tokens=OUTPUT_TOKENS
    ) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == _text(message)
    return {"text": text, "usage": _usage(message.usage)}


def hang_up(job: Job) -> Told:
    """A stream that is left after its first words."""
    with _client(job).messages.stream(
        model=job["model"], messages=ASKED, max_tokens=OUTPUT_TOKENS
    ) as stream:
        return {"text": next(iter(stream.text_stream))}


def tool(job: Job) -> Told:
    """A call of a tool, and the answer to its result."""
    client = _client(job)
    fixed: Any = {"model": job["model"], "max_tokens": OUTPUT_TOKENS, "tools": [TOOL]}
    first = client.messages.create(messages=ASKED, **fixed)
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": WEATHER}
    turns = [
        *ASKED,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = client.messages.create(messages=turns, **fixed)
    return {"tool": _json(call.input), "text": _text(second)}


def tool_stream(job: Job) -> Told:
    """A call of a tool that comes in pieces."""
    with _client(job).messages.stream(
        model=job["model"], messages=ASKED, max_tokens=OUTPUT_TOKENS, tools=[TOOL]
    ) as stream:
        content = stream.get_final_message().content
    return {"tool": _json(next(block for block in content if block.type == "tool_use").input)}


def _json(value: Any) -> str:
    return f'{{"city": "{value["city"]}"}}'


def image(job: Job) -> Told:
    """A question about an image."""
    data = base64.b64encode(red_png_bytes()).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    asked: Any = [{"role": "user", "content": parts}]
    answer = _client(job).messages.create(
        model=job["model"], messages=asked, max_tokens=OUTPUT_TOKENS
    )
    return {"text": _text(answer)}


def count(job: Job) -> Told:
    """How many tokens a prompt has; free of charge."""
    counted = _client(job).messages.count_tokens(model=job["model"], messages=ASKED)
    return {"usage": [counted.input_tokens, 0]}


def reasoning(job: Job) -> Told:
    """What the model thought before it spoke."""
    answer = _client(job).messages.create(
        model=job["model"],
        messages=ASKED,
        max_tokens=2048,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    thoughts = [block.thinking for block in answer.content if block.type == "thinking"]
    return {"text": _text(answer), "reasoning": "".join(thoughts), "usage": _usage(answer.usage)}


if __name__ == "__main__":
    serve(
        {
            "models": models,
            "chat": chat,
            "stream": stream,
            "hang_up": hang_up,
            "tool": tool,
            "tool_stream": tool_stream,
            "image": image,
            "reasoning": reasoning,
            "count": count,
        },
        status_refusal,
    )
