"""Checks of the messages, the system prompt and the tools of Anthropic's Messages API.

What would cost more than tokens, or could not be bounded before the call runs, is refused: tools
that the server itself runs, PDFs, files by reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from latchgate.domain.errors import InvalidRequest
from latchgate.gateway import fields
from latchgate.gateway.images import check_image_address, check_image_data
from latchgate.gateway.schemas import check_schema

MESSAGES_MAX = 10_000
BLOCKS_MAX = 1_000
TOOLS_MAX = 512
NAME_CHARS_MAX = 128
ID_CHARS_MAX = 256
TITLE_CHARS_MAX = 2_000
#: The most that the description of one of Anthropic's own client tools adds, in tokens.
CLIENT_TOOL_TOKENS = 1024

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
#: Anthropic's own tools that the client runs: the model knows their schemas.
_CLIENT_TOOL = re.compile(r"(bash|text_editor|memory|computer)_\d{8}", re.ASCII)
_TOOL_KEYS = frozenset(
    {
        "type",
        "name",
        "description",
        "input_schema",
        "cache_control",
        "strict",
        "eager_input_streaming",
        "defer_loading",
        "allowed_callers",
        "input_examples",
    }
)
_CHOICES = ("auto", "any", "none", "tool")

Check = Callable[[dict[str, Any], str], None]


def check_messages(messages: Any, param: str) -> None:
    """Raise unless ``messages`` is a conversation that every model server can take."""
    fields.array(messages, param, length_max=MESSAGES_MAX)
    if not messages:
        raise fields.refuse(f"'{param}' needs at least one message.", "empty_array", param)
    fields.shallow(messages, param)
    called: set[str] = set()
    for index, message in enumerate(messages):
        _check_message(message, f"{param}[{index}]", called)


def _check_message(message: Any, param: str, called: set[str]) -> None:
    fields.mapping(message, param)
    fields.known_keys(message, ("role", "content"), param)
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise fields.refuse(
            f"Invalid value for '{param}.role': it is one of user, assistant, system.",
            "invalid_value",
            f"{param}.role",
        )
    content = message.get("content")
    if content is None:
        raise fields.missing(f"{param}.content")
    check_blocks(content, f"{param}.content", _ALLOWED[role])
    if isinstance(content, list):
        for index, block in enumerate(content):
            if block["type"] == "tool_use":
                called.add(block["id"])
            elif block["type"] == "tool_result" and block["tool_use_id"] not in called:
                where = f"{param}.content[{index}].tool_use_id"
                raise fields.refuse(
                    f"'{where}' names no tool_use of a message before it.", "invalid_value", where
                )


def check_system(value: Any, param: str) -> None:
    """A text, or blocks of text."""
    check_blocks(value, param, ("text",))
    fields.shallow(value, param)


def check_blocks(content: Any, param: str, allowed: tuple[str, ...]) -> None:
    """Raise unless content is a text, or a list of blocks of the allowed types."""
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise fields.wrong_type(content, param, "a string or an array of blocks")
    fields.array(content, param, length_max=BLOCKS_MAX)
    for index, block in enumerate(content):
        where = f"{param}[{index}]"
        fields.mapping(block, where)
        kind = block.get("type")
        if kind not in allowed:
            raise fields.refuse(
                f"Invalid value for '{where}.type': what may stand here is {', '.join(allowed)}.",
                "unsupported_parameter" if isinstance(kind, str) else "invalid_value",
                f"{where}.type",
            )
        keys, check = _BLOCKS[kind]
        fields.known_keys(block, keys, where)
        check_cache_control(block.get("cache_control"), f"{where}.cache_control")
        check(block, where)


def check_cache_control(value: Any, param: str) -> None:
    """Null, or a mark for the upstream's prompt cache."""
    if value is not None:
        fields.mapping(value, param, size_max=8)
        fields.shallow(value, param, depth_max=3)


def _text_of(block: dict[str, Any], key: str, param: str, *, chars_max: int = 0) -> str:
    value = block.get(key)
    if value is None:
        raise fields.missing(f"{param}.{key}")
    if not isinstance(value, str):
        raise fields.wrong_type(value, f"{param}.{key}", "a string")
    if chars_max:
        fields.string(chars_max)(value, f"{param}.{key}")
    return value


def _check_text(block: dict[str, Any], param: str) -> None:
    _text_of(block, "text", param)


def _check_thinking(block: dict[str, Any], param: str) -> None:
    _text_of(block, "thinking", param)
    if block.get("signature") is not None:
        _text_of(block, "signature", param)


def _check_redacted(block: dict[str, Any], param: str) -> None:
    _text_of(block, "data", param)


def _check_image(block: dict[str, Any], param: str) -> None:
    where = f"{param}.source"
    source: Any = block.get("source")
    fields.mapping(source, where)
    match source.get("type"):
        case "base64":
            fields.known_keys(source, ("type", "media_type", "data"), where)
            _text_of(source, "media_type", where, chars_max=64)
            _text_of(source, "data", where)
            check_image_data(image_url(block), where)
        case "url":
            fields.known_keys(source, ("type", "url"), where)
            check_image_address(_text_of(source, "url", where), where)
        case _:
            raise _not_here(f"{where}.type", "an image's source is base64 or url")


def _check_document(block: dict[str, Any], param: str) -> None:
    where = f"{param}.source"
    source: Any = block.get("source")
    fields.mapping(source, where)
    match source.get("type"):
        case "text":
            fields.known_keys(source, ("type", "media_type", "data"), where)
            _text_of(source, "data", where)
            if source.get("media_type") not in (None, "text/plain"):
                raise _not_here(f"{where}.media_type", "a text is text/plain")
        case "content":
            fields.known_keys(source, ("type", "content"), where)
            check_blocks(source.get("content"), f"{where}.content", ("text", "image"))
        case _:
            raise _not_here(f"{where}.type", "a document's source is text or content")
    for key in ("title", "context"):
        if block.get(key) is not None:
            _text_of(block, key, param)


def _check_search_result(block: dict[str, Any], param: str) -> None:
    _text_of(block, "source", param, chars_max=TITLE_CHARS_MAX)
    _text_of(block, "title", param, chars_max=TITLE_CHARS_MAX)
    check_blocks(block.get("content"), f"{param}.content", ("text",))


def _check_tool_use(block: dict[str, Any], param: str) -> None:
    _text_of(block, "id", param, chars_max=ID_CHARS_MAX)
    _text_of(block, "name", param, chars_max=NAME_CHARS_MAX)
    fields.mapping(block.get("input"), f"{param}.input", size_max=1000)


def _check_tool_result(block: dict[str, Any], param: str) -> None:
    _text_of(block, "tool_use_id", param, chars_max=ID_CHARS_MAX)
    if block.get("is_error") is not None:
        fields.boolean(block["is_error"], f"{param}.is_error")
    if block.get("content") is not None:
        check_blocks(
            block["content"], f"{param}.content", ("text", "image", "document", "search_result")
        )


def _not_here(param: str, why: str) -> InvalidRequest:
    return fields.refuse(
        f"Invalid value for '{param}': {why}, and nothing else is taken here.",
        "unsupported_parameter",
        param,
    )


#: What each type of block may have, and its check. SDKs send blocks back as they came.
_BLOCKS: dict[str, tuple[frozenset[str], Check]] = {
    kind: (frozenset({"type", "cache_control", *keys}), check)
    for kind, keys, check in (
        ("text", ("text", "citations"), _check_text),
        ("thinking", ("thinking", "signature"), _check_thinking),
        ("redacted_thinking", ("data",), _check_redacted),
        ("image", ("source",), _check_image),
        ("document", ("source", "title", "context", "citations"), _check_document),
        ("search_result", ("source", "title", "content", "citations"), _check_search_result),
        ("tool_use", ("id", "name", "input", "caller"), _check_tool_use),
        ("tool_result", ("tool_use_id", "content", "is_error"), _check_tool_result),
    )
}
_ALLOWED = {
    "user": ("text", "image", "document", "search_result", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
}


def check_tools(tools: Any, param: str) -> None:
    """Raise unless each tool is one that the client runs, with a plain name and bounded schema."""
    fields.array(tools, param, length_max=TOOLS_MAX)
    for index, tool in enumerate(tools):
        _check_tool(tool, f"{param}[{index}]")


def _check_tool(tool: Any, param: str) -> None:
    fields.mapping(tool, param)
    fields.shallow(tool, param)
    name = tool.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise fields.refuse(
            f"Invalid '{param}.name': 1 to {NAME_CHARS_MAX} of letters, digits, _ and -.",
            "invalid_value",
            f"{param}.name",
        )
    check_cache_control(tool.get("cache_control"), f"{param}.cache_control")
    if is_client_tool(tool):
        return
    if tool.get("type") not in (None, "custom"):
        raise _not_here(f"{param}.type", "a tool is run by the client")
    fields.known_keys(tool, _TOOL_KEYS, param)
    if tool.get("description") is not None:
        _text_of(tool, "description", param)
    if tool.get("input_schema") is None:
        raise fields.missing(f"{param}.input_schema")
    check_schema(tool["input_schema"], f"{param}.input_schema", "invalid_function_parameters")


def is_client_tool(tool: dict[str, Any]) -> bool:
    """Whether a tool is one of Anthropic's own that the client runs, without a schema."""
    kind = tool.get("type")
    return isinstance(kind, str) and _CLIENT_TOOL.fullmatch(kind) is not None


def check_tool_choice(choice: Any, param: str) -> None:
    """Raise unless it says how tools are chosen, or names one."""
    fields.mapping(choice, param)
    fields.known_keys(choice, ("type", "name", "disable_parallel_tool_use"), param)
    kind = choice.get("type")
    if kind not in _CHOICES:
        raise fields.refuse(
            f"Invalid value for '{param}.type': it is one of {', '.join(_CHOICES)}.",
            "invalid_value",
            f"{param}.type",
        )
    if kind == "tool":
        _text_of(choice, "name", param, chars_max=NAME_CHARS_MAX)
    if choice.get("disable_parallel_tool_use") is not None:
        fields.boolean(choice["disable_parallel_tool_use"], f"{param}.disable_parallel_tool_use")


def image_url(block: dict[str, Any]) -> str:
    """A checked image's address: what it holds by value becomes a ``data:`` URL."""
    source = block["source"]
    if source["type"] == "url":
        return str(source["url"])
    return f"data:{source['media_type']};base64,{source['data']}"


def images_of(content: Any) -> Iterator[dict[str, Any]]:
    """Every image in checked content, those inside of other blocks too."""
    if not isinstance(content, list):
        return
    for block in content:
        if block["type"] == "image":
            yield block
        elif block["type"] == "tool_result":
            yield from images_of(block.get("content"))
        elif block["type"] == "document":
            yield from images_of(block["source"].get("content"))
