"""Says a call of responses as a chat completion, for upstreams that speak only that.

Reasoning is left out, as chat has no place for it in a prompt. What stands at the beginning as
instructions becomes one message, since many templates know one system message only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from latchgate.gateway.dialects.responses import RESPONSES_FIELDS

#: Fields that mean the same in both, under the same name.
_SAME = ("temperature", "top_p", "top_logprobs")
_LOGPROBS = "message.output_text.logprobs"


def chat_body(values: Mapping[str, Any], model: str, output_tokens: int) -> bytes:
    """The body of the chat call; usage is always asked for in streams."""
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(values.get("instructions"), values["input"]),
        "max_tokens": output_tokens,
    }
    body |= {name: values[name] for name in _SAME if values.get(name) is not None}
    # What the upstream says that it takes beyond OpenAI's fields, which it means in chat.
    body |= {name: value for name, value in values.items() if name not in RESPONSES_FIELDS}
    if wants_logprobs(values):
        body["logprobs"] = True
    body |= _tools(values)
    effort = (values.get("reasoning") or {}).get("effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    text = values.get("text") or {}
    if text.get("verbosity") is not None:
        body["verbosity"] = text["verbosity"]
    shape = text.get("format") or {"type": "text"}
    if shape["type"] == "json_schema":
        schema = {name: shape[name] for name in shape if name != "type"}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif shape["type"] == "json_object":
        body["response_format"] = {"type": "json_object"}
    if values.get("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


def wants_logprobs(values: Mapping[str, Any]) -> bool:
    """Whether the client asked how likely each token was."""
    return bool(values.get("top_logprobs")) or _LOGPROBS in (values.get("include") or ())


def _tools(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields about functions; none of them may be there without a function."""
    tools, choice = values.get("tools") or [], values.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        allowed = {tool["name"] for tool in choice["tools"]}
        tools = [tool for tool in tools if tool["name"] in allowed]
        choice = choice["mode"]
    if not tools:
        return {}
    said: dict[str, Any] = {"tools": [_chat_tool(tool) for tool in tools]}
    if isinstance(choice, dict):
        said["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif choice is not None:
        said["tool_choice"] = choice
    if values.get("parallel_tool_calls") is not None:
        said["parallel_tool_calls"] = values["parallel_tool_calls"]
    return said


def _chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": function}


def chat_messages(instructions: str | None, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation's items as a chat's messages."""
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    for item in items:
        match item["type"]:
            case "message":
                _add_message(messages, item)
            case "function_call":
                _add_function_call(messages, item)
            case "function_call_output":
                content = _text_of(item["output"])
                messages.append(
                    {"role": "tool", "tool_call_id": item["call_id"], "content": content}
                )
    return messages


def _add_message(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    role = "system" if item["role"] == "developer" else item["role"]
    content = item["content"]
    if role != "user":
        content = _text_of(content)
    elif isinstance(content, list):
        content = [_chat_part(part) for part in content]
    is_still_beginning = len(messages) == 1 and messages[0]["role"] == "system"
    if role == "system" and is_still_beginning:
        messages[0]["content"] += f"\n\n{content}"
    else:
        messages.append({"role": role, "content": content})


def _add_function_call(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    """Calls that stand together are one message's, and so is the text before them."""
    call = {
        "id": item["call_id"],
        "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"]},
    }
    last = messages[-1] if messages else None
    if last is None or last["role"] != "assistant":
        last = {"role": "assistant", "content": None}
        messages.append(last)
    last.setdefault("tool_calls", []).append(call)


def _chat_part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "input_image":
        image = {"url": part["image_url"]}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    return {"type": "text", "text": part.get("text") or part.get("refusal") or ""}


def _text_of(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)
