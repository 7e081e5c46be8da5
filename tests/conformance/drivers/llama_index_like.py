"""Drives LlamaIndex's OpenAILike; ``completions`` as an argument is its mode for plain text."""

from __future__ import annotations

import json
import sys
from typing import Any

from drivers.loop import QUESTION, WEATHER, Job, Told, red_png_bytes, serve, status_refusal
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

IS_CHAT = "completions" not in sys.argv[1:]
#: A question is no text that a model would go on with.
PROMPT = QUESTION if IS_CHAT else "The tide comes in twice a day, and then"


class Place(BaseModel):
    """A place."""

    city: str


def get_weather(city: str) -> str:
    """Weather."""
    return f"It is sunny in {city}."


def _model(job: Job, **more: Any) -> OpenAILike:
    if "retries" in job:
        more["max_retries"] = job["retries"]
    return OpenAILike(
        api_base=f"{job['base_url']}/v1",
        api_key=job["key"],
        model=job["model"],
        is_chat_model=IS_CHAT,
        is_function_calling_model=IS_CHAT,
        context_window=2048,
        **more,
    )


def _usage(raw: Any) -> list[int]:
    usage = raw["usage"] if isinstance(raw, dict) else raw.usage
    return [usage.prompt_tokens, usage.completion_tokens]


def chat(job: Job) -> Told:
    """A whole answer."""
    answer = _model(job, max_tokens=8).complete(PROMPT)
    return {"text": answer.text, "usage": _usage(answer.raw)}


def stream(job: Job) -> Told:
    """A streamed answer, with the usage asked for."""
    options = {"stream_options": {"include_usage": True}}
    last: Any = None
    pieces = []
    for last in _model(job, max_tokens=8, additional_kwargs=options).stream_complete(PROMPT):
        pieces.append(last.delta or "")
    return {"text": "".join(pieces), "usage": _usage(last.raw)}


def hang_up(job: Job) -> Told:
    """A stream that is left after its first words."""
    model = _model(job)
    for piece in model.stream_complete(PROMPT):
        if piece.delta:
            text = piece.delta
            model._get_client().close()  # it has no way to leave but to close everything
            return {"text": text}
    raise AssertionError("the stream ended")


def tool(job: Job) -> Told:
    """A call of a tool, and the answer to its result."""
    model = _model(job)
    offered = [FunctionTool.from_defaults(get_weather)]
    asked = ChatMessage(role=MessageRole.USER, content=QUESTION)
    first = model.chat_with_tools(offered, chat_history=[asked])
    call = model.get_tool_calls_from_response(first)[0]
    result = ChatMessage(
        role=MessageRole.TOOL, content=WEATHER, additional_kwargs={"tool_call_id": call.tool_id}
    )
    second = model.chat_with_tools(offered, chat_history=[asked, first.message, result])
    return {"tool": json.dumps(call.tool_kwargs), "text": second.message.content}


def image(job: Job) -> Told:
    """A question about an image."""
    blocks = [TextBlock(text="What is it?"), ImageBlock(image=red_png_bytes())]
    return {"text": _model(job).chat([ChatMessage(blocks=blocks)]).message.content}


def schema(job: Job) -> Told:
    """An answer of a given shape."""
    model = _model(job, should_use_structured_outputs=True)
    answer: Any = model.as_structured_llm(Place).complete(QUESTION)
    return {"text": answer.raw.city}


def embed(job: Job) -> Told:
    """Two texts."""
    embeddings = OpenAILikeEmbedding(
        api_base=f"{job['base_url']}/v1", api_key=job["key"], model_name=job["model"]
    )
    vectors = embeddings.get_text_embedding_batch(["tide", "moon"])
    return {"vectors": [len(vector) for vector in vectors]}


if __name__ == "__main__":
    serve(
        {
            "chat": chat,
            "stream": stream,
            "hang_up": hang_up,
            "tool": tool,
            "image": image,
            "schema": schema,
            "embed": embed,
        },
        status_refusal,
    )
