"""Text completions, the older endpoint: a prompt of plain text that the model goes on with."""

from __future__ import annotations

from typing import Any

from latchgate.gateway import fields
from latchgate.gateway.dialects.chat import CHAT_FIELDS, WITH_USAGE
from latchgate.gateway.offers import ModelEntry
from latchgate.gateway.prompt import (
    FieldsBody,
    FieldTable,
    FindModel,
    Prompt,
    decode_object,
    model_name,
    require,
)

SUFFIX_CHARS_MAX = 100_000
#: What this endpoint writes where its caller does not say (OpenAI's default).
OUTPUT_TOKENS_USUAL = 16


def _check_prompt(value: Any, param: str) -> None:
    """One text, or one text in a list: several prompts in one call are several calls."""
    if isinstance(value, list):
        if len(value) != 1:
            raise fields.refuse(
                f"Invalid '{param}': one prompt for each call.", "unsupported_parameter", param
            )
        value = value[0]
    if not isinstance(value, str):
        raise fields.wrong_type(value, param, "a string")


_SHARED = (
    "model", "stream", "stream_options", "max_tokens", "n", "temperature", "top_p",
    "presence_penalty", "frequency_penalty", "stop", "seed", "logit_bias", "user",
)  # fmt: skip
_TABLE = FieldTable(
    checks={
        **{name: CHAT_FIELDS[name] for name in _SHARED},
        "prompt": _check_prompt,
        "suffix": fields.string(SUFFIX_CHARS_MAX),
        "logprobs": fields.integer(0, 5),
        "echo": fields.boolean,
    },
    not_forwarded=frozenset({"user"}),
    unsupported=frozenset({"best_of"}),
)


def peek_completions(body: bytes, find_model: FindModel) -> tuple[ModelEntry, Prompt]:
    """The model that a body asks for, and the checked call. Raises NotFound, InvalidRequest."""
    raw = decode_object(body)
    model = find_model(model_name(raw))
    values = _TABLE.check(raw, model.extra_fields)
    require(values, "prompt")
    is_stream = values.get("stream") or False
    if values.get("stream_options") is not None and not is_stream:
        raise fields.refuse(
            "'stream_options' goes with 'stream': true only.", "invalid_value", "stream_options"
        )
    forwarded = _TABLE.forwarded(raw, values)
    return model, Prompt(
        model=model.name,
        is_stream=is_stream,
        wants_usage=bool((values.get("stream_options") or {}).get("include_usage")),
        choices=values.get("n") or 1,
        output_tokens_asked=values.get("max_tokens") or OUTPUT_TOKENS_USUAL,
        prompt_bytes=len(forwarded["prompt"]) + len(forwarded.get("suffix", b"")),
        messages=1,
        has_tools=False,
        outgoing=FieldsBody(forwarded, "max_tokens", WITH_USAGE if is_stream else {}),
        input_param="prompt",
        values=values,
    )
