"""Checks of a chat's messages and tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from latchgate.gateway.fields import (
    array,
    kind_of,
    known_keys,
    mapping,
    missing,
    refuse,
    shallow,
    wrong_type,
)
from latchgate.gateway.images import check_image
from latchgate.gateway.schemas import check_schema

MESSAGES_MAX = 10_000
PARTS_MAX = 1_000
TOOLS_MAX = 128

_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_KEYS = frozenset(
    {
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "refusal",
        "annotations",
        "audio",
        "function_call",
        "reasoning",
        "reasoning_content",
    }
)
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_messages(messages: Any, param: str) -> None:
    """Raise unless ``messages`` is a conversation that every model server can take."""
    array(messages, param, length_max=MESSAGES_MAX)
    if not messages:
        raise refuse(f"'{param}' needs at least one message.", "empty_array", param)
    shallow(messages, param)
    called: set[str] = set()
    for index, message in enumerate(messages):
        _check_message(message, f"{param}[{index}]", called)


def _check_message(message: Any, param: str, called: set[str]) -> None:
    if not isinstance(message, dict):
        raise wrong_type(message, param, "an object")
    known_keys(message, _MESSAGE_KEYS, param)
    role = message.get("role")
    if role not in _ROLES:
        raise refuse(
            f"Invalid value for '{param}.role': it is one of {', '.join(_ROLES)}.",
            "invalid_value",
            f"{param}.role",
        )
    tool_calls = message.get("tool_calls")
    if tool_calls is not None:
        called.update(_check_tool_calls(tool_calls, f"{param}.tool_calls"))
    tool_call_id = message.get("tool_call_id")
    if role == "tool" and not (isinstance(tool_call_id, str) and tool_call_id in called):
        raise refuse(
            f"'{param}.tool_call_id' names no tool call of a message before it.",
            "invalid_value",
            f"{param}.tool_call_id",
        )
    _check_content(message.get("content"), f"{param}.content", may_be_null=bool(tool_calls))


def _check_content(content: Any, param: str, *, may_be_null: bool) -> None:
    if isinstance(content, str) or (content is None and may_be_null):
        return
    if not isinstance(content, list):
        raise refuse(
            f"Invalid value for '{param}': expected a string or an array of parts, but got "
            f"{kind_of(content)} instead.",
            "invalid_value",
            param,
        )
    array(content, param, length_max=PARTS_MAX)
    for index, part in enumerate(content):
        where = f"{param}[{index}]"
        if not isinstance(part, dict):
            raise wrong_type(part, where, "an object")
        if part.get("type") == "image_url":
            check_image(part.get("image_url"), f"{where}.image_url")
            continue
        if part.get("type") not in ("text", "refusal"):
            raise refuse(
                f"'{where}' is neither text nor an image.", "unsupported_parameter", f"{where}.type"
            )
        if not isinstance(part.get(part["type"]), str):
            raise wrong_type(part.get(part["type"]), f"{where}.{part['type']}", "a string")


def _check_tool_calls(tool_calls: Any, param: str) -> list[str]:
    array(tool_calls, param, length_max=TOOLS_MAX)
    return [_check_tool_call(call, f"{param}[{i}]") for i, call in enumerate(tool_calls)]


def _check_tool_call(call: Any, param: str) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    is_whole = (
        isinstance(function, dict)
        and isinstance(call.get("id"), str)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )
    if not is_whole:
        raise refuse(
            f"'{param}' needs an id, and a function with a name and arguments as text.",
            "invalid_value",
            param,
        )
    tool_call_id: str = call["id"]
    return tool_call_id


def check_tools(tools: Any, param: str) -> None:
    """Raise unless each tool is a function with a plain name and a bounded schema."""
    array(tools, param, length_max=TOOLS_MAX)
    for index, tool in enumerate(tools):
        _check_tool(tool, f"{param}[{index}]")


def _check_tool(tool: Any, param: str) -> None:
    mapping(tool, param)
    shallow(tool, param)
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise refuse(f"'{param}' is not a function.", "invalid_value", f"{param}.type")
    name = function.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise refuse(
            f"Invalid '{param}.function.name': 1 to 64 of letters, digits, _ and -.",
            "invalid_value",
            f"{param}.function.name",
        )
    parameters = function.get("parameters")
    if parameters is not None:
        check_schema(parameters, f"{param}.function.parameters", "invalid_function_parameters")


def check_tool_choice(choice: Any, param: str) -> None:
    """Raise unless it is a word or names a function."""
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise refuse(
                f"Invalid value for '{param}': none, auto, required, or a function.",
                "invalid_value",
                param,
            )
        return
    mapping(choice, param)
    shallow(choice, param, depth_max=6)


def check_response_format(value: Any, param: str) -> None:
    """Raise unless it is text, a JSON object, or a bounded JSON schema."""
    mapping(value, param)
    kind = value.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise refuse(
            f"Invalid value for '{param}.type': text, json_object or json_schema.",
            "invalid_value",
            f"{param}.type",
        )
    if kind == "json_schema":
        wrapped = value.get("json_schema")
        if not isinstance(wrapped, dict) or "schema" not in wrapped:
            raise missing(f"{param}.json_schema.schema")
        check_schema(wrapped["schema"], f"{param}.json_schema.schema", "invalid_json_schema")
    shallow(value, param)


def images_of(messages: list[dict[str, Any]]) -> Iterator[str]:
    """The address of every image in checked messages."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if part.get("type") == "image_url":
                    yield part["image_url"]["url"]
