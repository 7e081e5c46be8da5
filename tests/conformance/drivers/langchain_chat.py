"""Drives LangChain's ChatOpenAI and OpenAIEmbeddings; ``responses`` is another mode."""

from __future__ import annotations

import json
import sys
from typing import Any

from drivers.loop import (
    CITY_SCHEMA,
    QUESTION,
    WEATHER,
    Job,
    Told,
    red_png,
    serve,
    status_refusal,
)
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

IS_RESPONSES = "responses" in sys.argv[1:]
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": CITY_SCHEMA},
}
PLACE = {"title": "Place", "description": "A place.", **CITY_SCHEMA}


def _model(job: Job, **more: Any) -> ChatOpenAI:
    if "retries" in job:
        more["max_retries"] = job["retries"]
    if IS_RESPONSES:
        more |= {"use_responses_api": True, "store": False}
    return ChatOpenAI(
        base_url=f"{job['base_url']}/v1", api_key=job["key"], model=job["model"], **more
    )


def _usage(message: Any) -> list[int]:
    found = message.usage_metadata
    return [found["input_tokens"], found["output_tokens"]]


def chat(job: Job) -> Told:
    """A whole answer."""
    answer = _model(job, max_tokens=8).invoke(QUESTION)
    return {"text": answer.text, "usage": _usage(answer)}


def stream(job: Job) -> Told:
    """A streamed answer. With an address of one's own it must be told to ask for the usage."""
    whole: Any = None
    for chunk in _model(job, max_tokens=8, stream_usage=True).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    return {"text": whole.text, "usage": _usage(whole)}


def stream_silent(job: Job) -> Told:
    """A streamed answer as by default: the usage is not asked for."""
    pieces = [chunk.text for chunk in _model(job, max_tokens=8).stream(QUESTION)]
    return {"text": "".join(pieces)}


def hang_up(job: Job) -> Told:
    """A stream that is left after its first words."""
    stream = _model(job).stream(QUESTION)
    for chunk in stream:
        if chunk.text:
            text = chunk.text
            stream.close()  # type: ignore[attr-defined]
            return {"text": text}
    raise AssertionError("the stream ended")


def tool(job: Job) -> Told:
    """A call of a tool, and the answer to its result."""
    model = _model(job).bind_tools([TOOL])
    asked = HumanMessage(QUESTION)
    first = model.invoke([asked])
    call = first.tool_calls[0]
    second = model.invoke([asked, first, ToolMessage(WEATHER, tool_call_id=call["id"])])
    return {"tool": json.dumps(call["args"]), "text": second.text}


def tool_stream(job: Job) -> Told:
    """A call of a tool that comes in pieces."""
    whole: Any = None
    for chunk in _model(job).bind_tools([TOOL]).stream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    return {"tool": json.dumps(whole.tool_calls[0]["args"])}


def image(job: Job) -> Told:
    """A question about an image."""
    parts: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": red_png()}},
    ]
    return {"text": _model(job).invoke([HumanMessage(parts)]).text}


def schema(job: Job) -> Told:
    """An answer of a given shape."""
    answer: Any = _model(job).with_structured_output(PLACE, method="json_schema").invoke(QUESTION)
    return {"text": answer["city"]}


def embed(job: Job) -> Told:
    """Two texts. It sends token ids by default, as OpenAI's own models read them; here, texts."""
    embeddings = OpenAIEmbeddings(
        base_url=f"{job['base_url']}/v1",
        api_key=job["key"],
        model=job["model"],
        check_embedding_ctx_length=False,
    )
    return {"vectors": [len(vector) for vector in embeddings.embed_documents(["tide", "moon"])]}


def refusal(error: Exception) -> Told | None:
    """The SDK's errors; a response that fails in mid-stream is a ValueError that quotes it."""
    if isinstance(error, ValueError) and str(error).startswith("ResponseError("):
        return {"message": str(error)}
    return status_refusal(error)


if __name__ == "__main__":
    serve(
        {
            "chat": chat,
            "stream": stream,
            "stream_silent": stream_silent,
            "hang_up": hang_up,
            "tool": tool,
            "tool_stream": tool_stream,
            "image": image,
            "schema": schema,
            "embed": embed,
        },
        refusal,
    )
