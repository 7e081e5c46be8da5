"""Peek: what admission must know of a chat call, and the body that goes upstream.

The body is read once, into the raw text of each of its fields. Fields are checked against an
allowlist with bounds; the body that goes upstream is put together again from what was checked, so
that what was bounded is what is sent, whatever two JSON parsers think of doubled keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from latchgate.domain.errors import InvalidRequest, LatchgateError
from latchgate.gateway import fields, messages

TOKENS_ASKED_MAX = 2**31
CHOICES_MAX = 128
MODEL_CHARS_MAX = 200
TAG_CHARS_MAX = 512
TOKEN_ID_DIGITS_MAX = 7
#: How a prompt is counted where its model's server does not: a published rule.
BYTES_PER_PROMPT_TOKEN = 4
#: What a chat template may add to a prompt that has tools or a response format, in tokens.
TOOL_TOKENS = 1024


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


_FIELDS: dict[str, fields.Check] = {
    "model": fields.string(MODEL_CHARS_MAX),
    "messages": messages.check_messages,
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
    "tools": messages.check_tools,
    "tool_choice": messages.check_tool_choice,
    "parallel_tool_calls": fields.boolean,
    "response_format": messages.check_response_format,
    "reasoning_effort": fields.one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "verbosity": fields.one_of("low", "medium", "high"),
    "user": fields.string(TAG_CHARS_MAX),
    "safety_identifier": fields.string(TAG_CHARS_MAX),
    "prompt_cache_key": fields.string(512),
    "metadata": _check_metadata,
    "store": fields.boolean,
    "service_tier": fields.one_of("auto", "default"),
}

#: Checked, but not the model server's business: tags, and a tier that would be at its prices.
_NOT_FORWARDED = frozenset(
    {"user", "safety_identifier", "prompt_cache_key", "metadata", "store", "service_tier"}
)
#: OpenAI's, but nothing that a model here can do.
_UNSUPPORTED = frozenset({"audio", "modalities", "prediction", "web_search_options", "functions"})

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Outgoing(Protocol):
    """Writes the body that goes upstream, from what was checked."""

    def write(self, model: str, output_tokens: int) -> bytes:
        """The body, under the upstream's own name for the model, its output bounded."""


class _Fields:
    """An outgoing body that is put together from the text of its fields."""

    __slots__ = ("_raw", "is_stream")

    def __init__(self, raw: dict[str, bytes], *, is_stream: bool) -> None:
        self._raw = raw
        self.is_stream = is_stream

    def write(self, model: str, output_tokens: int) -> bytes:
        """The body: bounded output, and usage always asked for."""
        raw = self._raw
        raw["model"] = msgspec.json.encode(model)
        limit_name = "max_completion_tokens" if "max_completion_tokens" in raw else "max_tokens"
        raw[limit_name] = b"%d" % output_tokens
        if self.is_stream:
            raw["stream_options"] = b'{"include_usage":true}'
        pairs = (b'"%b":%b' % (name.encode(), value) for name, value in raw.items())
        return b"{" + b",".join(pairs) + b"}"


@dataclass(slots=True)
class ChatCall:
    """A checked chat call."""

    model: str
    is_stream: bool
    wants_usage: bool
    choices: int
    output_tokens_asked: int | None
    prompt_bytes: int
    messages: int
    has_tools: bool
    outgoing: Outgoing

    def input_tokens_max(self, *, message_tokens: int, context_tokens: int) -> int:
        """A proven bound: no tokenizer makes more tokens than bytes, no model takes more than fits.

        ``message_tokens`` is the most that the model's template adds around one message.
        """
        template_tokens = message_tokens * (self.messages + 1) + TOOL_TOKENS * self.has_tools
        return min(self.prompt_bytes + template_tokens, context_tokens)

    @property
    def input_tokens_usual(self) -> int:
        """What the prompt usually comes to: our own count where there is no other."""
        return -(-self.prompt_bytes // BYTES_PER_PROMPT_TOKEN)


def parse_chat(
    raw: dict[str, msgspec.Raw], *, extra_fields: frozenset[str] = frozenset()
) -> ChatCall:
    """Check a chat call's fields. Raises InvalidRequest, ``param`` naming the field.

    ``extra_fields`` are names beyond OpenAI's that the model's upstream says it takes.
    """
    values = {name: _checked(name, raw[name], extra_fields) for name in raw}
    for name in ("model", "messages"):
        if values.get(name) is None:
            raise messages.missing(name)
    is_stream = values.get("stream") or False
    if values.get("stream_options") is not None and not is_stream:
        raise fields.refuse(
            "'stream_options' goes with 'stream': true only.", "invalid_value", "stream_options"
        )
    asked = values.get("max_completion_tokens") or values.get("max_tokens")
    forwarded = {
        name: _as_checked(text, values[name])
        for name, text in raw.items()
        if name not in _NOT_FORWARDED and values[name] is not None
    }
    if "max_completion_tokens" in forwarded:
        forwarded.pop("max_tokens", None)
    return ChatCall(
        model=values["model"],
        is_stream=is_stream,
        wants_usage=bool((values.get("stream_options") or {}).get("include_usage")),
        choices=values.get("n") or 1,
        output_tokens_asked=asked,
        prompt_bytes=sum(
            len(forwarded.get(name, b"")) for name in ("messages", "tools", "response_format")
        ),
        messages=len(values["messages"]),
        has_tools=bool(values.get("tools") or values.get("response_format")),
        outgoing=_Fields(forwarded, is_stream=is_stream),
    )


def _as_checked(text: msgspec.Raw, value: Any) -> bytes:
    """A field's JSON: of a list or an object only what was checked, with no key twice."""
    return msgspec.json.encode(value) if isinstance(value, dict | list) else bytes(text)


def model_name(raw: dict[str, msgspec.Raw]) -> str:
    """The model that a body names. Raises InvalidRequest."""
    value = _decode(raw["model"], "model") if "model" in raw else None
    if value is None:
        raise messages.missing("model")
    fields.string(MODEL_CHARS_MAX)(value, "model")
    name: str = value
    return name


def decode_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The raw text of each field of a JSON object. Raises InvalidRequest."""
    if not body.strip():
        raise messages.missing("model")
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise InvalidRequest(
            "The request's body is not a JSON object.", code="invalid_type"
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise _invalid_json() from None


def _checked(name: str, raw: msgspec.Raw, extra_fields: frozenset[str]) -> Any:
    check = _FIELDS.get(name)
    if check is None and name in _UNSUPPORTED:
        raise fields.refuse(
            f"Unsupported parameter: '{name}' is not something that this model can do.",
            "unsupported_parameter",
            name,
        )
    if check is None and name not in extra_fields:
        raise fields.refuse(f"Unknown parameter: '{name[:100]}'.", "unknown_parameter", name[:100])
    value = _decode(raw, name)
    if value is not None:  # null is as good as absent for every optional field
        (check or fields.shallow)(value, name)
    return value


def _decode(raw: msgspec.Raw, name: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if isinstance(error, RecursionError):
            raise fields.refuse(
                f"Invalid '{name}': nested too deeply.", "invalid_value", name
            ) from None
        raise _invalid_json() from None


def _invalid_json() -> LatchgateError:
    return InvalidRequest(
        "The request's body is not valid JSON. Check for missing quotes, commas and brackets.",
        code="invalid_json",
    )
