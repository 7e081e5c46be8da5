"""The usual chat call, read in one go: what most apps send, most of the time.

A typed decoder checks in C what ``chat.parse_chat`` checks field by field. It takes fewer bodies
than that, never others: what it does not take, for whatever reason, goes the long way, which also
words the errors.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from latchgate.gateway.dialects.chat_messages import MESSAGES_MAX
from latchgate.gateway.prompt import MODEL_CHARS_MAX, TAG_CHARS_MAX, TOKENS_ASKED_MAX, Prompt

_Tokens = Annotated[int, Meta(ge=1, le=TOKENS_ASKED_MAX)]


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str


class _StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class _UsualChat(msgspec.Struct, forbid_unknown_fields=True):
    model: Annotated[str, Meta(max_length=MODEL_CHARS_MAX)]
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=MESSAGES_MAX)]
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    user: Annotated[str, Meta(max_length=TAG_CHARS_MAX)] | None = None


class _Outgoing(msgspec.Struct, omit_defaults=True):
    """What goes upstream of it: tags stay here, and usage is always asked for."""

    model: str
    messages: msgspec.Raw
    stream: bool = False
    stream_options: msgspec.Raw | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None


_decode = msgspec.json.Decoder(_UsualChat).decode
_encode = msgspec.json.Encoder().encode
_WITH_USAGE = msgspec.Raw(b'{"include_usage":true}')


class _UsualBody:
    """Writes the outgoing body of a usual call."""

    __slots__ = ("_found", "_messages")

    def __init__(self, found: _UsualChat, messages: bytes) -> None:
        self._found = found
        self._messages = messages

    def write(self, model: str, output_tokens: int) -> bytes:
        """The body for the upstream, under its own name for the model."""
        found = self._found
        is_newer = found.max_completion_tokens is not None
        return _encode(
            _Outgoing(
                model,
                msgspec.Raw(self._messages),
                found.stream,
                _WITH_USAGE if found.stream else None,
                None if is_newer else output_tokens,
                output_tokens if is_newer else None,
                found.temperature,
                found.top_p,
            )
        )


def find_usual_chat(body: bytes) -> Prompt | None:
    """The call, checked; None for one that is not usual, or not right."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    options = found.stream_options
    if options is not None and not found.stream:
        return None
    messages = _encode(found.messages)
    return Prompt(
        model=found.model,
        is_stream=found.stream,
        wants_usage=options is not None and options.include_usage,
        choices=1,
        output_tokens_asked=found.max_completion_tokens or found.max_tokens,
        prompt_bytes=len(messages),
        messages=len(found.messages),
        has_tools=False,
        outgoing=_UsualBody(found, messages),
    )
