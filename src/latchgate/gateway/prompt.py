"""Peek: what admission must know of a call to a model, and the body that goes upstream.

A body is read once, into the raw text of each of its fields. Fields are checked against an
endpoint's allowlist with bounds; the body that goes upstream is put together again from what was
checked, so that what was bounded is what is sent, whatever two JSON parsers think of doubled keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from latchgate.domain.errors import InvalidRequest, LatchgateError
from latchgate.gateway import fields
from latchgate.gateway.offers import ModelEntry

TOKENS_ASKED_MAX = 2**31
CHOICES_MAX = 128
MODEL_CHARS_MAX = 200
TAG_CHARS_MAX = 512
#: How a prompt is counted where its model's server does not: a published rule.
BYTES_PER_PROMPT_TOKEN = 4
#: What a chat template may add to a prompt that has tools or a response format, in tokens.
TOOL_TOKENS = 1024
#: The most that an image comes to, in tokens: more than any model of today makes of one.
IMAGE_TOKENS = 16_384

#: Finds the model of a name, for the key that calls. Raises NotFound.
FindModel = Callable[[str], ModelEntry]

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Outgoing(Protocol):
    """Writes the body that goes upstream, from what was checked."""

    def write(self, model: str, output_tokens: int) -> bytes:
        """The body, under the upstream's own name for the model, its output bounded."""


class Prompt(msgspec.Struct):
    """A checked call to a model, as admission sees it."""

    model: str
    is_stream: bool
    #: A stream's client asked for the usage in an event of its own.
    wants_usage: bool
    choices: int
    output_tokens_asked: int | None
    #: The size of all that a model reads, images left out.
    prompt_bytes: int
    messages: int
    has_tools: bool
    outgoing: Outgoing
    images: int = 0
    #: Whether the model writes anything: embeddings have no output to hold or to bound.
    has_output: bool = True
    #: Whether all of the input is read at once, and so fits a context window, or item by item.
    has_window: bool = True
    #: The field that has what the model reads, for refusals that are about it.
    input_param: str = "messages"
    #: It goes ahead of others, at the model's priority price.
    is_priority: bool = False
    #: The checked fields, for whoever has to say them in another dialect; each has its own.
    values: dict[str, Any] = {}
    #: How a stream of this endpoint's says that it broke off, where that is its own.
    error_event: Callable[[LatchgateError], bytes] | None = None

    def input_tokens_max(self, *, message_tokens: int, context_tokens: int) -> int:
        """A proven bound: no tokenizer makes more tokens than bytes, no model takes more than fits.

        ``message_tokens`` is the most that the model's template adds around one message.
        """
        template_tokens = message_tokens * (self.messages + 1) + TOOL_TOKENS * self.has_tools
        tokens_max = self.prompt_bytes + template_tokens + IMAGE_TOKENS * self.images
        return min(tokens_max, context_tokens) if self.has_window else tokens_max

    @property
    def input_tokens_usual(self) -> int:
        """What the prompt usually comes to: our own count where there is no other."""
        return -(-self.prompt_bytes // BYTES_PER_PROMPT_TOKEN)


class FieldsBody:
    """An outgoing body that is put together from the text of its fields.

    ``limit_name`` is the field that bounds the output, if there is any; ``always`` are fields that
    we set.
    """

    __slots__ = ("_always", "_limit_name", "_raw")

    def __init__(
        self, raw: dict[str, bytes], limit_name: str | None, always: Mapping[str, bytes]
    ) -> None:
        self._raw = raw
        self._limit_name = limit_name
        self._always = always

    def write(self, model: str, output_tokens: int) -> bytes:
        """The body, under the upstream's own name for the model, its output bounded."""
        raw = {**self._raw, "model": msgspec.json.encode(model), **self._always}
        if self._limit_name is not None:
            raw[self._limit_name] = b"%d" % output_tokens
        pairs = (b'"%b":%b' % (name.encode(), value) for name, value in raw.items())
        return b"{" + b",".join(pairs) + b"}"


@dataclass(frozen=True, slots=True)
class FieldTable:
    """An endpoint's allowlist: the fields that it takes, their bounds, and what becomes of them."""

    checks: Mapping[str, fields.Check]
    #: Checked, but not the model server's business.
    not_forwarded: frozenset[str] = frozenset()
    #: Real fields of the endpoint's, but nothing that a model here can do.
    unsupported: frozenset[str] = frozenset()

    def check(
        self, raw: Mapping[str, msgspec.Raw], extra_fields: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Every field's value. Raises InvalidRequest, ``param`` naming the field.

        ``extra_fields`` are names beyond these that the model's upstream says it takes.
        """
        return {name: self._checked(name, raw[name], extra_fields) for name in raw}

    def _checked(self, name: str, raw: msgspec.Raw, extra_fields: frozenset[str]) -> Any:
        check = self.checks.get(name)
        if check is None and name in self.unsupported:
            raise fields.refuse(
                f"Unsupported parameter: '{name}' is not something that this model can do.",
                "unsupported_parameter",
                name,
            )
        if check is None and name not in extra_fields:
            name = name[:100]
            raise fields.refuse(f"Unknown parameter: '{name}'.", "unknown_parameter", name)
        value = _decode(raw, name)
        if value is not None:  # null is as good as absent for every optional field
            (check or fields.shallow)(value, name)
        return value

    def forwarded(
        self, raw: Mapping[str, msgspec.Raw], values: Mapping[str, Any]
    ) -> dict[str, bytes]:
        """The JSON of what goes upstream: of lists and objects what was checked, no key twice."""
        return {
            name: msgspec.json.encode(values[name])
            if isinstance(values[name], dict | list)
            else bytes(text)
            for name, text in raw.items()
            if name not in self.not_forwarded and values[name] is not None
        }


def require(values: Mapping[str, Any], *names: str) -> None:
    """Raise InvalidRequest for the first of these fields that is missing or null."""
    for name in names:
        if values.get(name) is None:
            raise fields.missing(name)


def model_name(raw: Mapping[str, msgspec.Raw]) -> str:
    """The model that a body names. Raises InvalidRequest."""
    value = _decode(raw["model"], "model") if "model" in raw else None
    if value is None:
        raise fields.missing("model")
    fields.string(MODEL_CHARS_MAX)(value, "model")
    name: str = value
    return name


def decode_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The raw text of each field of a JSON object. Raises InvalidRequest."""
    if not body.strip():
        raise fields.missing("model")
    try:
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise InvalidRequest(
            "The request's body is not a JSON object.", code="invalid_type"
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise _invalid_json() from None


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
