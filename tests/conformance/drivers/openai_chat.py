"""Drives the official Python SDK: chat completions, text completions, embeddings and models."""

from __future__ import annotations

from typing import Any

import openai
from drivers.loop import (
    CITY_SCHEMA,
    QUESTION,
    WEATHER,
    Job,
    Told,
    chat_usage,
    red_png,
    serve,
    status_refusal,
)
from pydantic import BaseModel

TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": CITY_SCHEMA},
}
ASKED: Any = [{"role": "user", "content": QUESTION}]


class Place(BaseModel):
    """What a structured answer is asked to be."""

    city: str


def _client(job: Job) -> openai.OpenAI:
    retries = job.get("retries", openai.DEFAULT_MAX_RETRIES)
    return openai.OpenAI(base_url=f"{job['base_url']}/v1", api_key=job["key"], max_retries=retries)


def models(job: Job) -> Told:
    """The list, and one of it."""
    client = _client(job)
    listed = [model.id for model in client.models.list()]
    assert client.models.retrieve(listed[0]).id == listed[0]
    return {"models": listed}


def chat(job: Job) -> Told:
    """A whole answer."""
    answer = _client(job).chat.completions.create(
        model=job["model"], messages=ASKED, max_completion_tokens=8
    )
    message = answer.choices[0].message
    return {
        "text": message.content,
        "usage": chat_usage(answer.usage),
        "reasoning": getattr(message, "reasoning_content", None),
    }


def stream(job: Job) -> Told:
    """A streamed answer, with the usage asked for."""
    text, thought, usage = "", "", None
    for chunk in _client(job).chat.completions.create(
        model=job["model"],
        messages=ASKED,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thought += getattr(choice.delta, "reasoning_content", None) or ""
    assert usage is not None
    return {"text": text, "usage": chat_usage(usage), "reasoning": thought or None}


def hang_up(job: Job) -> Told:
    """A stream that is left after its first words."""
    stream = _client(job).chat.completions.create(model=job["model"], messages=ASKED, stream=True)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            stream.close()
            return {"text": chunk.choices[0].delta.content}
    raise AssertionError("the stream ended")


def tool(job: Job) -> Told:
    """A call of a tool, and the answer to its result."""
    client = _client(job)
    first = client.chat.completions.create(model=job["model"], messages=ASKED, tools=[TOOL])
    message = first.choices[0].message
    assert message.tool_calls
    call: Any = message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": WEATHER}
    second = client.chat.completions.create(
        model=job["model"], messages=[*ASKED, message, result], tools=[TOOL]
    )
    return {"tool": call.function.arguments, "text": second.choices[0].message.content}


def tool_stream(job: Job) -> Told:
    """A call of a tool that comes in pieces; the SDK's own helper puts them together."""
    with _client(job).chat.completions.stream(
        model=job["model"], messages=ASKED, tools=[TOOL]
    ) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls
    return {"tool": calls[0].function.arguments}


def image(job: Job) -> Told:
    """A question about an image."""
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": red_png(), "detail": "low"}},
    ]
    asked: Any = [{"role": "user", "content": parts}]
    answer = _client(job).chat.completions.create(model=job["model"], messages=asked)
    return {"text": answer.choices[0].message.content}


def schema(job: Job) -> Told:
    """An answer of a given shape, parsed by the SDK."""
    answer = _client(job).chat.completions.parse(
        model=job["model"], messages=ASKED, response_format=Place
    )
    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    return {"text": parsed.city}


def embed(job: Job) -> Told:
    """Two texts; the SDK asks for base64 by itself."""
    answer = _client(job).embeddings.create(model=job["model"], input=["tide", "moon"])
    sizes = [len(item.embedding) for item in answer.data]
    return {"vectors": sizes, "usage": [answer.usage.prompt_tokens, 0]}


def complete(job: Job) -> Told:
    """The older endpoint: a text that goes on."""
    answer = _client(job).completions.create(model=job["model"], prompt=QUESTION, max_tokens=8)
    return {"text": answer.choices[0].text, "usage": chat_usage(answer.usage)}


def complete_stream(job: Job) -> Told:
    """The older endpoint, streamed."""
    text, usage = "", None
    for chunk in _client(job).completions.create(
        model=job["model"],
        prompt=QUESTION,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    ):
        usage = chunk.usage or usage
        text += "".join(choice.text for choice in chunk.choices)
    return {"text": text, "usage": chat_usage(usage)}


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
            "schema": schema,
            "reasoning": stream,
            "embed": embed,
            "complete": complete,
            "complete_stream": complete_stream,
        },
        status_refusal,
    )
