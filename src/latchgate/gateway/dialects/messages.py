"""Anthropic's Messages API: the fields that it takes, and what admission must know of a call.

Apps that were written for it (Claude Code is one) send fields that come and go with its beta
headers. Those that say how an answer is made are checked and forwarded; those that would have the
server do what is not counted in tokens are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from latchgate.gateway import fields
from latchgate.gateway.dialects import message_blocks
from latchgate.gateway.dialects.messages_as_chat import ChatBody, chat_body
from latchgate.gateway.offers import ModelEntry
from latchgate.gateway.prompt import (
    MODEL_CHARS_MAX,
    TAG_CHARS_MAX,
    TOKENS_ASKED_MAX,
    FieldsBody,
    FieldTable,
    FindModel,
    Outgoing,
    Prompt,
    decode_object,
    model_name,
    require,
)
from latchgate.gateway.schemas import check_schema

STOP_SEQUENCES_MAX = 64
STOP_CHARS_MAX = 1000
TOP_K_MAX = 1_000_000
EDITS_MAX = 16
#: The least that Anthropic's models may be told to think, in tokens.
THINKING_TOKENS_MIN = 1024
_KIND_CHARS_MAX = 64


def _check_stop_sequences(value: Any, param: str) -> None:
    fields.array(value, param, length_max=STOP_SEQUENCES_MAX)
    for index, text in enumerate(value):
        fields.string(STOP_CHARS_MAX)(text, f"{param}[{index}]")


def _check_thinking(value: Any, param: str) -> None:
    fields.mapping(value, param, size_max=8)
    fields.shallow(value, param, depth_max=3)
    fields.string(_KIND_CHARS_MAX)(value.get("type"), f"{param}.type")
    if value.get("budget_tokens") is not None:
        where = f"{param}.budget_tokens"
        fields.integer(THINKING_TOKENS_MIN, TOKENS_ASKED_MAX)(value["budget_tokens"], where)
    elif value["type"] == "enabled":
        raise fields.missing(f"{param}.budget_tokens")


def _check_output_config(value: Any, param: str) -> None:
    fields.mapping(value, param, size_max=16)
    fields.shallow(value, param)
    if value.get("format") is not None:
        _check_format(value["format"], f"{param}.format")


def _check_format(value: Any, param: str) -> None:
    fields.mapping(value, param, size_max=8)
    if value.get("type") != "json_schema":
        raise fields.refuse(
            f"Invalid value for '{param}.type': it is json_schema.",
            "invalid_value",
            f"{param}.type",
        )
    fields.shallow(value, param)
    check_schema(value.get("schema"), f"{param}.schema", "invalid_json_schema")


def _check_context_management(value: Any, param: str) -> None:
    """Edits that leave something out; one that has the server write a summary is not bounded."""
    fields.mapping(value, param, size_max=8)
    fields.shallow(value, param, depth_max=8)
    edits = value.get("edits")
    if edits is None:
        return
    fields.array(edits, f"{param}.edits", length_max=EDITS_MAX)
    for index, edit in enumerate(edits):
        where = f"{param}.edits[{index}]"
        fields.mapping(edit, where)
        kind = edit.get("type")
        if not (isinstance(kind, str) and kind.startswith("clear_")):
            raise fields.refuse(
                f"Invalid value for '{where}.type': only edits that clear something are taken.",
                "unsupported_parameter",
                f"{where}.type",
            )


def _check_tag(value: Any, param: str) -> None:
    fields.mapping(value, param, size_max=16)
    fields.shallow(value, param, depth_max=4)
    if isinstance(value.get("user_id"), str):
        fields.string(TAG_CHARS_MAX)(value["user_id"], f"{param}.user_id")


_PROMPT_FIELDS: dict[str, fields.Check] = {
    "model": fields.string(MODEL_CHARS_MAX),
    "messages": message_blocks.check_messages,
    "system": message_blocks.check_system,
    "tools": message_blocks.check_tools,
    "tool_choice": message_blocks.check_tool_choice,
    "thinking": _check_thinking,
    "cache_control": message_blocks.check_cache_control,
    "context_management": _check_context_management,
    "output_config": _check_output_config,
    "output_format": _check_format,
}
MESSAGES_FIELDS: dict[str, fields.Check] = {
    **_PROMPT_FIELDS,
    "max_tokens": fields.integer(1, TOKENS_ASKED_MAX),
    "stream": fields.boolean,
    "stop_sequences": _check_stop_sequences,
    "temperature": fields.decimal(0, 1),
    "top_p": fields.decimal(0, 1, above_low=True),
    "top_k": fields.integer(0, TOP_K_MAX),
    "metadata": _check_tag,
    "diagnostics": _check_tag,
    "service_tier": fields.one_of("auto", "standard_only"),
}
#: What runs outside of the call, or at other prices than the model's.
_UNSUPPORTED = frozenset(
    {
        "mcp_servers",
        "container",
        "inference_geo",
        "speed",
        "fallbacks",
        "fallback_credit_token",
        "billing_policy",
        "compaction",
        "thread",
    }
)
_TABLE = FieldTable(
    checks=MESSAGES_FIELDS,
    not_forwarded=frozenset({"metadata", "diagnostics", "service_tier"}),
    unsupported=_UNSUPPORTED,
)
_COUNT_TABLE = FieldTable(checks=_PROMPT_FIELDS, unsupported=_UNSUPPORTED)


class MessagesBody(FieldsBody):
    """An outgoing body whose thinking stays within an output that was lowered."""

    __slots__ = ("_thinking",)

    def __init__(self, raw: dict[str, bytes], thinking: dict[str, Any] | None) -> None:
        super().__init__(raw, "max_tokens", {})
        self._thinking = thinking or {}

    def write(self, model: str, output_tokens: int) -> bytes:
        """The body, under the upstream's own name for the model, its output bounded."""
        budget_tokens = self._thinking.get("budget_tokens")
        if budget_tokens is None or budget_tokens < output_tokens:
            return super().write(model, output_tokens)
        # Anthropic's servers refuse a budget that is not below max_tokens.
        raw = {name: text for name, text in self._raw.items() if name != "thinking"}
        if output_tokens > THINKING_TOKENS_MIN:
            thinking = {**self._thinking, "budget_tokens": output_tokens - 1}
            raw["thinking"] = msgspec.json.encode(thinking)
        return MessagesBody(raw, None).write(model, output_tokens)


def peek_messages(body: bytes, find_model: FindModel) -> tuple[ModelEntry, Prompt]:
    """The model that a body asks for, and the checked call. Raises NotFound, InvalidRequest."""
    raw = decode_object(body)
    model = find_model(model_name(raw))
    values = _TABLE.check(raw, model.extra_fields)
    require(values, "messages", "max_tokens")
    forwarded = _TABLE.forwarded(raw, values)
    if "messages" in model.target.speaks:
        native = MessagesBody(forwarded, values.get("thinking"))
        return model, _prompt(model, values, native, forwarded)
    chat = chat_body(values, model.extra_fields)
    return model, _prompt(model, values, chat, chat.fields)


def peek_count(body: bytes, find_model: FindModel) -> tuple[ModelEntry, Prompt]:
    """The same for a prompt that is only to be counted."""
    raw = decode_object(body)
    model = find_model(model_name(raw))
    values = _COUNT_TABLE.check(raw, model.extra_fields)
    require(values, "messages")
    forwarded = _COUNT_TABLE.forwarded(raw, values)
    return model, _prompt(model, values, FieldsBody(forwarded, None, {}), forwarded)


def _prompt(
    model: ModelEntry, values: dict[str, Any], outgoing: Outgoing, sent: Mapping[str, bytes]
) -> Prompt:
    """A checked call; ``sent`` are the fields that go upstream, in whichever dialect."""
    messages = values["messages"]
    images = [image for one in messages for image in message_blocks.images_of(one["content"])]
    if images and not model.takes_images:
        raise fields.refuse(
            "This model takes only text: leave the images out, or call a model that takes them.",
            "unsupported_parameter",
            "messages",
        )
    tools = values.get("tools") or []
    read = ("messages", "system", "tools", "output_config", "output_format", "response_format")
    size = sum(len(sent.get(name, b"")) for name in read)
    size += message_blocks.CLIENT_TOOL_TOKENS * sum(map(message_blocks.is_client_tool, tools))
    return Prompt(
        model=model.name,
        is_stream=values.get("stream") or False,
        wants_usage=True,
        choices=1,
        output_tokens_asked=values.get("max_tokens"),
        prompt_bytes=size - sum(len(message_blocks.image_url(image)) for image in images),
        messages=outgoing.messages if isinstance(outgoing, ChatBody) else len(messages) + 1,
        has_tools=bool(tools or values.get("output_config") or values.get("output_format")),
        outgoing=outgoing,
        images=len(images),
        values=values,
    )
