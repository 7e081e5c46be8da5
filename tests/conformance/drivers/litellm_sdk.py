"""Drives LiteLLM's SDK as a client; ``aider`` as an argument makes the calls that aider makes."""

from __future__ import annotations

import sys
from typing import Any

import litellm
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

IS_AIDER = "aider" in sys.argv[1:]
ASKED: Any = [{"role": "user", "content": QUESTION}]
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": CITY_SCHEMA},
}
#: How aider sets LiteLLM up, and what it gives with every call (its models.py and llm.py).
if IS_AIDER:
    litellm.suppress_debug_info = True
    litellm.drop_params = True
AIDER: dict[str, Any] = {"temperature": 0, "timeout": 600}
AIDER_TURNS: Any = [
    {"role": "system", "content": "Act as an expert software developer."},
    {"role": "user", "content": "I am not sharing any files that you can edit yet."},
    {"role": "assistant", "content": "Ok."},
    {"role": "user", "content": QUESTION},
]


def _ask(job: Job, messages: Any = None, **more: Any) -> Any:
    if "retries" in job:
        more["num_retries"] = job["retries"]
        more["max_retries"] = job["retries"]
    if IS_AIDER:
        more = {**AIDER, **more}
    return litellm.completion(
        model=f"openai/{job['model']}",
        messages=messages or (AIDER_TURNS if IS_AIDER else ASKED),
        api_base=f"{job['base_url']}/v1",
        api_key=job["key"],
        **more,
    )


def models(job: Job) -> Told:
    """The list, as LiteLLM reads it from a server."""
    return {
        "models": litellm.get_valid_models(
            check_provider_endpoint=True,
            custom_llm_provider="openai",
            api_key=job["key"],
            api_base=job["base_url"],
        )
    }


def chat(job: Job) -> Told:
    """A whole answer."""
    answer = _ask(job, max_tokens=8)
    return {"text": answer.choices[0].message.content, "usage": chat_usage(answer.usage)}


def stream(job: Job) -> Told:
    """A streamed answer. aider asks for no usage and counts for itself."""
    more: dict[str, Any] = {} if IS_AIDER else {"stream_options": {"include_usage": True}}
    text, usage = "", None
    for chunk in _ask(job, stream=True, max_tokens=8, **more):
        usage = getattr(chunk, "usage", None) or usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return {"text": text, "usage": None if IS_AIDER else chat_usage(usage)}


def hang_up(job: Job) -> Told:
    """A stream that is left after its first words."""
    stream = _ask(job, stream=True)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            text = chunk.choices[0].delta.content
            stream.completion_stream.close()
            return {"text": text}
    raise AssertionError("the stream ended")


def tool(job: Job) -> Told:
    """A call of a tool, and the answer to its result."""
    message = _ask(job, tools=[TOOL]).choices[0].message
    call = message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": WEATHER}
    second = _ask(job, [*ASKED, message, result], tools=[TOOL])
    return {"tool": call.function.arguments, "text": second.choices[0].message.content}


def tool_stream(job: Job) -> Told:
    """A call of a tool that comes in pieces; LiteLLM puts them together."""
    chunks = list(_ask(job, stream=True, tools=[TOOL]))
    whole: Any = litellm.stream_chunk_builder(chunks)
    return {"tool": whole.choices[0].message.tool_calls[0].function.arguments}


def image(job: Job) -> Told:
    """A question about an image."""
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": red_png()}},
    ]
    answer = _ask(job, [{"role": "user", "content": parts}])
    return {"text": answer.choices[0].message.content}


def schema(job: Job) -> Told:
    """An answer of a given shape."""
    wanted = {"name": "place", "schema": CITY_SCHEMA, "strict": True}
    answer = _ask(job, response_format={"type": "json_schema", "json_schema": wanted})
    return {"text": answer.choices[0].message.content}


def reasoning(job: Job) -> Told:
    """What the model thought before it spoke."""
    answer = _ask(job)
    message = answer.choices[0].message
    return {
        "text": message.content,
        "reasoning": message.reasoning_content,
        "usage": chat_usage(answer.usage),
    }


def embed(job: Job) -> Told:
    """Two texts."""
    answer = litellm.embedding(
        model=f"openai/{job['model']}",
        input=["tide", "moon"],
        api_base=f"{job['base_url']}/v1",
        api_key=job["key"],
        encoding_format="float",
    )
    sizes = [len(item["embedding"]) for item in answer.data]
    return {"vectors": sizes, "usage": [answer.usage.prompt_tokens, 0]}


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
            "embed": embed,
        },
        status_refusal,
    )
