"""The usual chat call, read in one go: what most apps send, most of the time.

A typed decoder checks in C what ``chat.parse_chat`` checks field by field. It takes fewer bodies
than that, never others: what it does not take, for whatever reason, goes the long way, which also
words the errors.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from latchgate.gateway.chat import MODEL_CHARS_MAX, TAG_CHARS_MAX, TOKENS_ASKED_MAX, ChatCall
from latchgate.gateway.messages import MESSAGES_MAX

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


_decode = msgspec.json.Decoder(_UsualChat).decode
_encode = msgspec.json.Encoder().encode


def find_usual_chat(body: bytes) -> ChatCall | None:
    """The call, checked; None for one that is not usual, or not right."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    options = found.stream_options
    if options is not None and not found.stream:
        return None
    messages = _encode(found.messages)
    raw = {"model": b"", "messages": messages}
    if found.stream:
        raw["stream"] = b"true"
    if found.temperature is not None:
        raw["temperature"] = _encode(found.temperature)
    if found.top_p is not None:
        raw["top_p"] = _encode(found.top_p)
    if found.max_completion_tokens is not None:
        raw["max_completion_tokens"] = b""
    return ChatCall(
        model=found.model,
        is_stream=found.stream,
        wants_usage=options is not None and options.include_usage,
        choices=1,
        output_tokens_asked=found.max_completion_tokens or found.max_tokens,
        prompt_bytes=len(messages),
        messages=len(found.messages),
        has_tools=False,
        _raw=raw,
    )
