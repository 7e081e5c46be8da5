"""Chat completions: the fields that the endpoint takes, and what admission must know of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from latchgate.domain.prices import DEFAULT_TIER, PRIORITY_TIER
from latchgate.gateway import fields
from latchgate.gateway.dialects import chat_messages
from latchgate.gateway.dialects.usual_chat import find_usual_chat
from latchgate.gateway.offers import ModelEntry
from latchgate.gateway.prompt import (
    CHOICES_MAX,
    MODEL_CHARS_MAX,
    TAG_CHARS_MAX,
    TOKENS_ASKED_MAX,
    FieldsBody,
    FieldTable,
    FindModel,
    Prompt,
    decode_object,
    model_name,
    require,
)

TOKEN_ID_DIGITS_MAX = 7
#: What every stream asks of its upstream.
WITH_USAGE = {"stream_options": b'{"include_usage":true}'}


def _check_stop(value: Any, param: str) -> None:
    if isinstance(value, str):
        return fields.string(1000)(value, param)
    fields.array(value, param, length_max=4)
    for index, text in enumerate(value):
        fields.string(1000)(text, f"{param}[{index}]")
    return None


def _check_stream_options(value: Any, param: str) -> None:
    fields.mapping(value, param)
    fields.known_keys(value, ("include_usage", "include_obfuscation"), param)
    for key, flag in value.items():
        fields.boolean(flag, f"{param}.{key}")


def _check_logit_bias(value: Any, param: str) -> None:
    fields.mapping(value, param, size_max=1000)
    for key, bias in value.items():
        if not (key.isascii() and key.isdigit() and len(key) <= TOKEN_ID_DIGITS_MAX):
            raise fields.refuse(f"'{param}' has a key that is no token id.", "invalid_value", param)
        fields.decimal(-100, 100)(bias, param)


def _check_metadata(value: Any, param: str) -> None:
    fields.mapping(value, param, size_max=16)
    for key, text in value.items():
        fields.string(64)(key, param)
        fields.string(512)(text, f"{param}.{key}")


CHAT_FIELDS: dict[str, fields.Check] = {
    "model": fields.string(MODEL_CHARS_MAX),
    "messages": chat_messages.check_messages,
    "stream": fields.boolean,
    "stream_options": _check_stream_options,
    "max_tokens": fields.integer(1, TOKENS_ASKED_MAX),
    "max_completion_tokens": fields.integer(1, TOKENS_ASKED_MAX),
    "n": fields.integer(1, CHOICES_MAX),
    "temperature": fields.decimal(0, 2),
    "top_p": fields.decimal(0, 1, above_low=True),
    "presence_penalty": fields.decimal(-2, 2),
    "frequency_penalty": fields.decimal(-2, 2),
    "stop": _check_stop,
    "seed": fields.integer(-(2**63), 2**63 - 1),
    "logprobs": fields.boolean,
    "top_logprobs": fields.integer(0, 20),
    "logit_bias": _check_logit_bias,
    "tools": chat_messages.check_tools,
    "tool_choice": chat_messages.check_tool_choice,
    "parallel_tool_calls": fields.boolean,
    "response_format": chat_messages.check_response_format,
    "reasoning_effort": fields.one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "verbosity": fields.one_of("low", "medium", "high"),
    "user": fields.string(TAG_CHARS_MAX),
    "safety_identifier": fields.string(TAG_CHARS_MAX),
    "prompt_cache_key": fields.string(512),
    "metadata": _check_metadata,
    "store": fields.boolean,
    "service_tier": fields.one_of("auto", DEFAULT_TIER, PRIORITY_TIER),
}

_TABLE = FieldTable(
    checks=CHAT_FIELDS,
    # Tags; and the tier is one of our line and our prices, not of the model server's.
    not_forwarded=frozenset(
        {"user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier"}
    ),
    unsupported=frozenset({"audio", "modalities", "prediction", "web_search_options", "functions"}),
)


def peek_chat(body: bytes, find_model: FindModel) -> tuple[ModelEntry, Prompt]:
    """The model that a body asks for, and the checked call. Raises NotFound, InvalidRequest."""
    usual = find_usual_chat(body)
    if usual is not None:
        return find_model(usual.model), usual
    raw = decode_object(body)
    model = find_model(model_name(raw))
    prompt = parse_chat(raw, extra_fields=model.extra_fields)
    if prompt.images and not model.takes_images:
        raise fields.refuse(
            "This model takes only text: leave the images out, or call a model that takes them.",
            "unsupported_parameter",
            "messages",
        )
    return model, prompt


def parse_chat(
    raw: Mapping[str, msgspec.Raw], *, extra_fields: frozenset[str] = frozenset()
) -> Prompt:
    """Check a chat call's fields. Raises InvalidRequest, ``param`` naming the field.

    ``extra_fields`` are names beyond OpenAI's that the model's upstream says it takes.
    """
    values = _TABLE.check(raw, extra_fields)
    require(values, "model", "messages")
    is_stream = values.get("stream") or False
    if values.get("stream_options") is not None and not is_stream:
        raise fields.refuse(
            "'stream_options' goes with 'stream': true only.", "invalid_value", "stream_options"
        )
    forwarded = _TABLE.forwarded(raw, values)
    is_newer = "max_completion_tokens" in forwarded
    if is_newer:
        forwarded.pop("max_tokens", None)
    images = list(chat_messages.images_of(values["messages"]))
    sizes = (len(forwarded.get(name, b"")) for name in ("messages", "tools", "response_format"))
    return Prompt(
        model=values["model"],
        is_stream=is_stream,
        wants_usage=bool((values.get("stream_options") or {}).get("include_usage")),
        choices=values.get("n") or 1,
        output_tokens_asked=values.get("max_completion_tokens") or values.get("max_tokens"),
        prompt_bytes=sum(sizes) - sum(map(len, images)),
        messages=len(values["messages"]),
        has_tools=bool(values.get("tools") or values.get("response_format")),
        outgoing=FieldsBody(
            forwarded,
            "max_completion_tokens" if is_newer else "max_tokens",
            WITH_USAGE if is_stream else {},
        ),
        images=len(images),
        is_priority=values.get("service_tier") == PRIORITY_TIER,
        values=values,
    )
