"""Checks of a response's input items and tools, and the shape in which they go upstream.

The items of a conversation are messages, calls of functions, what came of those, and reasoning.
Servers differ in which abbreviations they understand, so what is sent has none: a message says that
it is one, and an assistant's text stands in a part of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from latchgate.domain.errors import InvalidRequest
from latchgate.gateway import fields
from latchgate.gateway.images import check_image
from latchgate.gateway.schemas import check_schema

ITEMS_MAX = 10_000
PARTS_MAX = 1_000
TOOLS_MAX = 128
NAME_CHARS_MAX = 64
ID_CHARS_MAX = 512

_ROLES = ("system", "developer", "user", "assistant")
_ITEM_KEYS = {
    "message": frozenset({"type", "role", "content", "id", "status", "phase"}),
    "function_call": frozenset({"type", "id", "call_id", "name", "arguments", "status"}),
    "function_call_output": frozenset({"type", "id", "call_id", "output", "status"}),
    "reasoning": frozenset({"type", "id", "summary", "content", "encrypted_content", "status"}),
}
_PART_KEYS = {
    "input_text": ("text", frozenset({"type", "text"})),
    "output_text": ("text", frozenset({"type", "text", "annotations", "logprobs"})),
    "refusal": ("refusal", frozenset({"type", "refusal"})),
}
_THOUGHT_KEYS = frozenset({"type", "text"})
_IMAGE_KEYS = frozenset({"type", "image_url", "detail"})
_TOOL_KEYS = frozenset({"type", "name", "description", "parameters", "strict"})
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_input(value: Any, param: str) -> None:
    """Raise unless it is a text, or items that every model server can take."""
    if isinstance(value, str):
        return
    fields.array(value, param, length_max=ITEMS_MAX)
    fields.shallow(value, param)
    for index, item in enumerate(value):
        _check_item(item, f"{param}[{index}]")


def _check_item(item: Any, param: str) -> None:
    if not isinstance(item, dict):
        raise fields.wrong_type(item, param, "an object")
    kind = kind_of(item)
    if kind not in _ITEM_KEYS:
        raise fields.refuse(
            f"'{param}' is neither a message, a function call, its output nor reasoning.",
            "unsupported_parameter",
            f"{param}.type",
        )
    fields.known_keys(item, _ITEM_KEYS[kind], param)
    for key in ("id", "status", "phase"):
        if item.get(key) is not None:
            fields.string(ID_CHARS_MAX)(item[key], f"{param}.{key}")
    _CHECKS[kind](item, param)


def kind_of(item: dict[str, Any]) -> str:
    """An item's type; one with a role and no type is a message."""
    kind = item.get("type")
    return "message" if kind is None and "role" in item else str(kind)


def _check_message(item: dict[str, Any], param: str) -> None:
    if item.get("role") not in _ROLES:
        raise fields.refuse(
            f"Invalid value for '{param}.role': it is one of {', '.join(_ROLES)}.",
            "invalid_value",
            f"{param}.role",
        )
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise fields.wrong_type(content, f"{param}.content", "a string or an array of parts")
    _check_parts(content, f"{param}.content", takes_images=item["role"] != "assistant")


def _check_parts(parts: list[Any], param: str, *, takes_images: bool) -> None:
    fields.array(parts, param, length_max=PARTS_MAX)
    for index, part in enumerate(parts):
        where = f"{param}[{index}]"
        fields.mapping(part, where)
        kind = part.get("type")
        if kind == "input_image" and takes_images:
            fields.known_keys(part, _IMAGE_KEYS, where)
            image = {"url": part.get("image_url"), "detail": part.get("detail")}
            check_image(image, f"{where}.image_url")
            continue
        if kind not in _PART_KEYS:
            raise fields.refuse(
                f"'{where}' is neither text nor an image.", "unsupported_parameter", f"{where}.type"
            )
        name, keys = _PART_KEYS[kind]
        fields.known_keys(part, keys, where)
        if not isinstance(part.get(name), str):
            raise fields.wrong_type(part.get(name), f"{where}.{name}", "a string")


def _check_strings(item: dict[str, Any], param: str, *names: str) -> None:
    for name in names:
        if item.get(name) is None:
            raise fields.missing(f"{param}.{name}")
        if not isinstance(item[name], str):
            raise fields.wrong_type(item[name], f"{param}.{name}", "a string")


def _check_function_call(item: dict[str, Any], param: str) -> None:
    _check_strings(item, param, "call_id", "name", "arguments")


def _check_function_output(item: dict[str, Any], param: str) -> None:
    _check_strings(item, param, "call_id")
    output = item.get("output")
    if isinstance(output, str):
        return
    if not isinstance(output, list):
        raise fields.wrong_type(output, f"{param}.output", "a string or an array of parts")
    _check_parts(output, f"{param}.output", takes_images=False)


def _check_reasoning(item: dict[str, Any], param: str) -> None:
    for name in ("summary", "content"):
        texts = item.get(name)
        if texts is None:
            continue
        fields.array(texts, f"{param}.{name}", length_max=PARTS_MAX)
        for index, text in enumerate(texts):
            where = f"{param}.{name}[{index}]"
            fields.mapping(text, where)
            fields.known_keys(text, _THOUGHT_KEYS, where)
            _check_strings(text, where, "text")
    encrypted = item.get("encrypted_content")
    if encrypted is not None and not isinstance(encrypted, str):
        raise fields.wrong_type(encrypted, f"{param}.encrypted_content", "a string")


_CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "message": _check_message,
    "function_call": _check_function_call,
    "function_call_output": _check_function_output,
    "reasoning": _check_reasoning,
}


def check_tools(tools: Any, param: str) -> None:
    """Raise unless each tool is a function with a plain name and a bounded schema."""
    fields.array(tools, param, length_max=TOOLS_MAX)
    for index, tool in enumerate(tools):
        where = f"{param}[{index}]"
        fields.mapping(tool, where)
        if tool.get("type") != "function":
            raise fields.refuse(
                f"'{where}' is no function, and functions are the only tools here: leave it out.",
                "unsupported_parameter",
                f"{where}.type",
            )
        fields.known_keys(tool, _TOOL_KEYS, where)
        name = tool.get("name")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            raise fields.refuse(
                f"Invalid '{where}.name': 1 to {NAME_CHARS_MAX} of letters, digits, _ and -.",
                "invalid_value",
                f"{where}.name",
            )
        if tool.get("description") is not None and not isinstance(tool["description"], str):
            raise fields.wrong_type(tool["description"], f"{where}.description", "a string")
        if tool.get("strict") is not None:
            fields.boolean(tool["strict"], f"{where}.strict")
        if tool.get("parameters") is not None:
            check_schema(tool["parameters"], f"{where}.parameters", "invalid_function_parameters")


def check_tool_choice(choice: Any, param: str) -> None:
    """Raise unless it is a word, names a function, or allows some of them."""
    if isinstance(choice, str):
        fields.one_of("none", "auto", "required")(choice, param)
        return
    fields.mapping(choice, param)
    match choice:
        case {"type": "function", "name": str()}:
            fields.known_keys(choice, ("type", "name"), param)
        case {"type": "allowed_tools", "mode": "auto" | "required", "tools": list(tools)} if all(
            isinstance(tool, dict) and isinstance(tool.get("name"), str) for tool in tools
        ):
            fields.known_keys(choice, ("type", "mode", "tools"), param)
            fields.shallow(choice, param, depth_max=4)
        case _:
            raise fields.refuse(
                f"Invalid value for '{param}': none, auto, required, a function, or allowed tools.",
                "invalid_value",
                param,
            )


def as_items(value: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checked input as items without abbreviations."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    return [_in_full(item) for item in value if not _is_hollow(item)]


def recalled(items: list[Any]) -> list[dict[str, Any]]:
    """Kept items as input. What an upstream has said in a way of its own stays behind."""
    known = []
    for item in items:
        if isinstance(item, dict) and kind_of(item) in _ITEM_KEYS:
            bare = {name: item[name] for name in item if name in _ITEM_KEYS[kind_of(item)]}
            if isinstance(bare.get("content"), list):
                bare["content"] = [_bare_part(part) for part in bare["content"]]
            with suppress(InvalidRequest):
                _check_item(bare, "previous_response_id")
                known.append(bare)
    return as_items(known)


def _bare_part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    _, keys = _PART_KEYS.get(str(part.get("type")), ("", _THOUGHT_KEYS))
    return {name: part[name] for name in part if name in keys}


def _is_hollow(item: dict[str, Any]) -> bool:
    """Reasoning of which there is only a name: nothing here remembers what it stands for."""
    has_substance = item.get("encrypted_content") or item.get("content")
    return kind_of(item) == "reasoning" and not has_substance


def _in_full(item: dict[str, Any]) -> dict[str, Any]:
    kind = kind_of(item)
    full = {"type": kind, **{key: value for key, value in item.items() if value is not None}}
    if kind == "message" and item["role"] == "assistant":
        content = item["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        full["content"] = [_said(part) for part in parts]
    elif kind == "reasoning":
        full = {"summary": [], **full}
    return full


def _said(part: dict[str, Any]) -> dict[str, Any]:
    if "refusal" in part:
        return part
    return {"type": "output_text", "text": part["text"], "annotations": []}


def check_outputs_have_calls(items: list[dict[str, Any]], param: str) -> None:
    """Raise where a function's output belongs to no call before it."""
    called: set[str] = set()
    for item in items:
        if item["type"] == "function_call":
            called.add(item["call_id"])
        elif item["type"] == "function_call_output" and item["call_id"] not in called:
            raise fields.refuse(
                f"'{param}' has an output of the function call '{item['call_id'][:100]}', and no "
                "such call before it.",
                "invalid_value",
                param,
            )


def images_of(items: list[dict[str, Any]]) -> Iterator[str]:
    """The address of every image in checked items."""
    for item in items:
        content = item.get("content")
        if item["type"] == "message" and isinstance(content, list):
            for part in content:
                if part["type"] == "input_image":
                    yield part["image_url"]
