"""Drives the official Python SDK's newer half: responses."""

from __future__ import annotations

from typing import Any

import openai
from drivers.loop import (
    CITY_SCHEMA,
    QUESTION,
    WEATHER,
    Job,
    Told,
    red_png,
    responses_usage,
    serve,
    status_refusal,
)
from drivers.openai_chat import models
from pydantic import BaseModel

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather.",
    "parameters": CITY_SCHEMA,
    "strict": True,
}


class Place(BaseModel):
    """What a structured answer is asked to be."""

    city: str


def _responses(job: Job) -> Any:
    retries = job.get("retries", openai.DEFAULT_MAX_RETRIES)
    base_url = f"{job['base_url']}/v1"
    return openai.OpenAI(base_url=base_url, api_key=job["key"], max_retries=retries).responses


def chat(job: Job) -> Told:
    """A whole answer."""
    answer = _responses(job).create(
        model=job["model"], input=QUESTION, max_output_tokens=8, store=False
    )
    return {"text": answer.output_text, "usage": responses_usage(answer.usage)}


def stream(job: Job) -> Told:
    """A streamed answer: its events must begin and end as documented."""
    text, kinds, last = "", [], None
    for event in _responses(job).create(
        model=job["model"], input=QUESTION, max_output_tokens=8, store=False, stream=True
    ):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        last = event
    assert kinds[0] == "response.created", kinds
    assert kinds[-1] in ("response.completed", "response.incomplete"), kinds
    assert text == last.response.output_text
    return {"text": text, "usage": responses_usage(last.response.usage)}


def hang_up(job: Job) -> Told:
    """A stream that is left after its first words."""
    stream = _responses(job).create(model=job["model"], input=QUESTION, stream=True, store=False)
    for event in stream:
        if event.type == "response.output_text.delta":
            stream.close()
            return {"text": event.delta}
    raise AssertionError("the stream ended")


def tool(job: Job) -> Told:
    """A call of a tool, and the answer to its result."""
    responses = _responses(job)
    asked: Any = [{"role": "user", "content": QUESTION}]
    first = responses.create(model=job["model"], input=asked, tools=[TOOL], store=False)
    call = next(item for item in first.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}
    second = responses.create(
        model=job["model"], input=[*asked, *first.output, result], tools=[TOOL], store=False
    )
    return {"tool": call.arguments, "text": second.output_text}


def tool_stream(job: Job) -> Told:
    """A call of a tool that comes in pieces; the SDK's own helper puts them together."""
    with _responses(job).stream(
        model=job["model"], input=QUESTION, tools=[TOOL], store=False
    ) as stream:
        output = stream.get_final_response().output
    return {"tool": next(item for item in output if item.type == "function_call").arguments}


def image(job: Job) -> Told:
    """A question about an image."""
    parts = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": red_png(), "detail": "low"},
    ]
    asked = [{"role": "user", "content": parts}]
    answer = _responses(job).create(model=job["model"], input=asked, store=False)
    return {"text": answer.output_text}


def schema(job: Job) -> Told:
    """An answer of a given shape, parsed by the SDK."""
    answer = _responses(job).parse(
        model=job["model"], input=QUESTION, text_format=Place, store=False
    )
    return {"text": answer.output_parsed.city}


def reasoning(job: Job) -> Told:
    """What the model thought before it spoke."""
    answer = _responses(job).create(
        model=job["model"], input=QUESTION, reasoning={"effort": "low"}, store=False
    )
    thoughts = [item for item in answer.output if item.type == "reasoning"]
    parts = [part for item in thoughts for part in [*(item.content or []), *item.summary]]
    return {
        "text": answer.output_text,
        "reasoning": "".join(part.text for part in parts),
        "usage": responses_usage(answer.usage),
    }


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
            "reasoning": reasoning,
        },
        status_refusal,
    )
