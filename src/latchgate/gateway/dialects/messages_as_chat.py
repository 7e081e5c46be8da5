"""A call of the Messages API, said as a chat completion: for upstreams that speak only that.

What a chat has no word for and an answer does not need is left out: marks for a prompt cache,
thoughts of earlier turns, how much to think.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from latchgate.gateway import fields
from latchgate.gateway.dialects.chat import WITH_USAGE
from latchgate.gateway.dialects.message_blocks import image_url, images_of, is_client_tool
from latchgate.gateway.prompt import FieldsBody

_SAME_NAMES = ("stream", "temperature", "top_p")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
Fields = dict[str, Any]


class ChatBody(FieldsBody):
    """The outgoing body, and how many messages of a chat it has come to."""

    __slots__ = ("fields", "messages")

    def __init__(self, raw: dict[str, bytes], messages: int) -> None:
        super().__init__(raw, "max_tokens", WITH_USAGE if raw.get("stream") == b"true" else {})
        self.fields = raw
        self.messages = messages


def chat_body(values: Fields, extra_fields: frozenset[str]) -> ChatBody:
    """The body of a checked call. Raises InvalidRequest for what a chat can't say.

    ``extra_fields`` are names beyond OpenAI's that the model's upstream says it takes.
    """
    chat: Fields = {
        name: values[name]
        for name in (*_SAME_NAMES, *sorted(extra_fields))
        if values.get(name) is not None
    }
    chat["model"] = values["model"]
    chat["messages"] = [
        *_system_messages(values.get("system")),
        *(said for message in values["messages"] for said in _chat_messages(message)),
    ]
    if values.get("stop_sequences"):
        chat["stop"] = values["stop_sequences"]
    if values.get("tools"):
        chat["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(values["tools"])]
        chat |= _tool_choice(values.get("tool_choice"))
    answer_format = (values.get("output_config") or {}).get("format")
    answer_format = answer_format or values.get("output_format")
    if answer_format:
        schema = {"name": "answer", "schema": answer_format["schema"], "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    raw = {name: msgspec.json.encode(value) for name, value in chat.items()}
    return ChatBody(raw, len(chat["messages"]))


def _system_messages(system: Any) -> Iterator[Fields]:
    text = _text(system) if system else ""
    if text:
        yield {"role": "system", "content": text}


def _chat_messages(message: Fields) -> Iterator[Fields]:
    """One message of ours may be several there: each tool's result is one of its own."""
    content = message["content"]
    if message["role"] == "system":
        yield {"role": "system", "content": _text(content)}
    elif isinstance(content, str):
        yield {"role": message["role"], "content": content}
    elif message["role"] == "assistant":
        yield _assistant_message(content)
    else:
        yield from _user_messages(content)


def _assistant_message(blocks: list[Fields]) -> Fields:
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {
                "name": block["name"],
                "arguments": msgspec.json.encode(block["input"]).decode(),
            },
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    text = "".join(texts)
    if calls:
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": "assistant", "content": text}


def _user_messages(blocks: list[Fields]) -> Iterator[Fields]:
    """Tools' results first, as a chat wants them, then all that the user says besides.

    A tool's result is text there: what else it holds follows as the user's.
    """
    rest: list[Fields] = []
    for block in blocks:
        if block["type"] != "tool_result":
            rest.append(block)
            continue
        content = block.get("content") or ""
        yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": _text(content)}
        rest += images_of(content)
    parts = [part for block in rest for part in _parts(block)]
    if any(part["type"] == "image_url" for part in parts):
        yield {"role": "user", "content": parts}
    elif parts or not blocks:
        yield {"role": "user", "content": "\n\n".join(part["text"] for part in parts)}


def _parts(block: Fields) -> list[Fields]:
    """A user's block as the parts of a chat's message."""
    if block["type"] == "image":
        return [{"type": "image_url", "image_url": {"url": image_url(block)}}]
    if block["type"] == "document" and block["source"]["type"] == "content":
        content = block["source"]["content"]
        if isinstance(content, list):
            return [part for inner in content for part in _parts(inner)]
    return [{"type": "text", "text": _text([block])}]


def _text(content: Any) -> str:
    """All the text of some content."""
    if isinstance(content, str):
        return content
    return "\n\n".join(_block_text(block) for block in content if block["type"] != "image")


def _block_text(block: Fields) -> str:
    match block["type"]:
        case "document":
            source = block["source"]
            told = source["data"] if source["type"] == "text" else _text(source["content"])
            head = [block[key] for key in ("title", "context") if block.get(key)]
            return "\n\n".join([*head, told])
        case "search_result":
            return "\n\n".join([block["title"], block["source"], _text(block["content"])])
    return str(block["text"])


def _tool(tool: Fields, param: str) -> Fields:
    if is_client_tool(tool):
        raise fields.refuse(
            f"'{param}' has no schema, and this model does not know it: give it an input_schema.",
            "unsupported_parameter",
            f"{param}.type",
        )
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: Fields | None) -> Fields:
    if choice is None:
        return {}
    said: Fields = {}
    if choice["type"] == "tool":
        said["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    else:
        said["tool_choice"] = _CHOICES[choice["type"]]
    if choice.get("disable_parallel_tool_use"):
        said["parallel_tool_calls"] = False
    return said
