"""Responses: the fields that the endpoint takes, and what admission must know of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from latchgate.gateway import fields
from latchgate.gateway.dialects import response_items
from latchgate.gateway.dialects.chat import CHAT_FIELDS
from latchgate.gateway.dialects.response_draft import Draft, ResponsesBody
from latchgate.gateway.kept import AccountResponses, KeptResponse
from latchgate.gateway.offers import ModelEntry
from latchgate.gateway.prompt import (
    TOKENS_ASKED_MAX,
    FieldsBody,
    FieldTable,
    FindModel,
    Prompt,
    decode_object,
    model_name,
    require,
)
from latchgate.gateway.schemas import check_schema

INSTRUCTIONS_CHARS_MAX = 10_000_000
TOOL_CALLS_MAX = 1_000
INCLUDES_MAX = 20
FORMAT_NAME_CHARS_MAX = 64

_INCLUDES = (
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
)
_FORMAT_KEYS = frozenset({"type", "name", "schema", "strict", "description"})


def _check_text(value: Any, param: str) -> None:
    fields.mapping(value, param)
    fields.known_keys(value, ("format", "verbosity"), param)
    if value.get("verbosity") is not None:
        fields.one_of("low", "medium", "high")(value["verbosity"], f"{param}.verbosity")
    shape = value.get("format")
    if shape is None:
        return
    where = f"{param}.format"
    fields.mapping(shape, where)
    fields.known_keys(shape, _FORMAT_KEYS, where)
    kind = shape.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise fields.refuse(
            f"Invalid value for '{where}.type': text, json_object or json_schema.",
            "invalid_value",
            f"{where}.type",
        )
    if kind == "json_schema":
        for name in ("name", "schema"):
            if shape.get(name) is None:
                raise fields.missing(f"{where}.{name}")
        fields.string(FORMAT_NAME_CHARS_MAX)(shape["name"], f"{where}.name")
        check_schema(shape["schema"], f"{where}.schema", "invalid_json_schema")
    if shape.get("strict") is not None:
        fields.boolean(shape["strict"], f"{where}.strict")
    fields.shallow(shape, where)


def _check_reasoning(value: Any, param: str) -> None:
    fields.mapping(value, param)
    words = {
        "effort": ("none", "minimal", "low", "medium", "high", "xhigh"),
        "summary": ("auto", "concise", "detailed"),
        "generate_summary": ("auto", "concise", "detailed"),
        "context": ("auto", "current_turn", "all_turns"),
    }
    fields.known_keys(value, words, param)
    for key, word in value.items():
        if word is not None:
            fields.one_of(*words[key])(word, f"{param}.{key}")


def _check_include(value: Any, param: str) -> None:
    fields.array(value, param, length_max=INCLUDES_MAX)
    for index, name in enumerate(value):
        fields.one_of(*_INCLUDES)(name, f"{param}[{index}]")


def _check_tags(value: Any, param: str) -> None:
    """What a client says to its own platform: bounded, and not looked at."""
    fields.mapping(value, param)
    fields.shallow(value, param, depth_max=4)


def _check_background(value: Any, param: str) -> None:
    fields.boolean(value, param)
    if value:
        raise fields.refuse(
            "Responses are not made in the background here: leave 'background' out, or stream.",
            "unsupported_parameter",
            param,
        )


_SHARED = (
    "model", "stream", "temperature", "top_p", "top_logprobs", "parallel_tool_calls", "user",
    "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier",
)  # fmt: skip
RESPONSES_FIELDS: dict[str, fields.Check] = {
    **{name: CHAT_FIELDS[name] for name in _SHARED},
    "input": response_items.check_input,
    "instructions": fields.string(INSTRUCTIONS_CHARS_MAX),
    "max_output_tokens": fields.integer(1, TOKENS_ASKED_MAX),
    "tools": response_items.check_tools,
    "tool_choice": response_items.check_tool_choice,
    "text": _check_text,
    "reasoning": _check_reasoning,
    "include": _check_include,
    "truncation": fields.one_of("auto", "disabled"),
    "max_tool_calls": fields.integer(1, TOOL_CALLS_MAX),
    "previous_response_id": fields.string(response_items.ID_CHARS_MAX),
    "background": _check_background,
    "stream_options": _check_tags,
    "client_metadata": _check_tags,
    "prompt_cache_retention": fields.one_of("in_memory", "in-memory", "24h"),
}
_TABLE = FieldTable(
    checks=RESPONSES_FIELDS,
    # Tags, what is for built-in tools only, and what the platform does itself.
    not_forwarded=frozenset(
        {
            "user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier",
            "previous_response_id", "background", "stream_options", "client_metadata",
            "max_tool_calls", "prompt_cache_retention",
        }
    ),
    unsupported=frozenset(
        {"conversation", "prompt", "context_management", "moderation", "background_options"}
    ),
)  # fmt: skip


def peek_responses(
    body: bytes, find_model: FindModel, memory: AccountResponses | None = None
) -> tuple[ModelEntry, Prompt]:
    """The model that a body asks for, and the checked call. Raises NotFound, InvalidRequest.

    ``memory`` are the responses of the caller's account, one of which this may go on from.
    """
    raw = decode_object(body)
    previous = _find_previous(raw, memory)
    has_model = "model" in raw and bytes(raw["model"]) != b"null"
    if previous is not None and not has_model:
        raw["model"] = msgspec.Raw(msgspec.json.encode(previous.model))
    model = find_model(model_name(raw))
    prompt = parse_responses(raw, memory, previous, extra_fields=model.extra_fields)
    if prompt.images and not model.takes_images:
        raise fields.refuse(
            "This model takes only text: leave the images out, or call a model that takes them.",
            "unsupported_parameter",
            "input",
        )
    return model, prompt


def _find_previous(
    raw: Mapping[str, msgspec.Raw], memory: AccountResponses | None
) -> KeptResponse | None:
    if "previous_response_id" not in raw:
        return None
    response_id = _TABLE.check({"previous_response_id": raw["previous_response_id"]})
    name = response_id["previous_response_id"]
    if name is None or memory is None:
        return None
    return memory.get(name, param="previous_response_id")


def parse_responses(
    raw: Mapping[str, msgspec.Raw],
    memory: AccountResponses | None = None,
    previous: KeptResponse | None = None,
    *,
    extra_fields: frozenset[str] = frozenset(),
) -> Prompt:
    """Check a call's fields. Raises InvalidRequest, ``param`` naming the field."""
    values = _TABLE.check(raw, extra_fields)
    require(values, "model", "input")
    is_stream = values.get("stream") or False
    if values.get("stream_options") is not None and not is_stream:
        raise fields.refuse(
            "'stream_options' goes with 'stream': true only.", "invalid_value", "stream_options"
        )
    items = _conversation(values["input"], previous)
    values["input"] = items
    forwarded = _TABLE.forwarded(raw, values)
    images = list(response_items.images_of(items))
    sizes = (len(forwarded.get(name, b"")) for name in ("input", "instructions", "tools", "text"))
    draft = Draft(values, items, memory)
    return Prompt(
        model=values["model"],
        is_stream=is_stream,
        wants_usage=True,
        choices=1,
        output_tokens_asked=values.get("max_output_tokens"),
        prompt_bytes=sum(sizes) - sum(map(len, images)),
        messages=len(items) + 1,
        has_tools=bool(values.get("tools") or (values.get("text") or {}).get("format")),
        outgoing=ResponsesBody(
            FieldsBody(forwarded, "max_output_tokens", {"store": b"false"}), draft
        ),
        images=len(images),
        input_param="input",
        values=values,
        error_event=draft.error_event,
    )


def _conversation(
    value: str | list[dict[str, Any]], previous: KeptResponse | None
) -> list[dict[str, Any]]:
    """All that the model reads: what was kept of the conversation, and what is new."""
    kept = [] if previous is None else response_items.recalled(msgspec.json.decode(previous.items))
    items = kept + response_items.as_items(value)
    if not items:
        raise fields.refuse("'input' needs at least one item.", "empty_array", "input")
    if len(items) > response_items.ITEMS_MAX:
        raise fields.refuse(
            f"The conversation has more than {response_items.ITEMS_MAX} items.",
            "array_above_max_length",
            "input",
        )
    response_items.check_outputs_have_calls(items, "input")
    return items
