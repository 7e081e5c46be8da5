"""What an upstream says that speaks Anthropic's messages: its usage, its text, its events.

The protocol is that of https://platform.claude.com/docs/en/build-with-claude/streaming: a message
begins with what was read, its blocks come in deltas, and a ``message_delta`` near the end says what
was written.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from latchgate.domain.usage import Usage
from latchgate.upstream.answers import Plain, garbled

_ABSURD = Usage(-1, 0, -1)
_COUNTERS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)
#: A raw field that may be missing. (``Raw | None`` would take nothing but null.)
_NULL = msgspec.Raw(b"null")


class Message(msgspec.Struct):
    """The parts of a whole answer that matter here."""

    type: Any = None
    content: msgspec.Raw = _NULL
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL

    @property
    def is_error(self) -> bool:
        """Whether it is an error that comes in place of an answer."""
        return self.type == "error" or not is_null(self.error)

    def text_bytes(self) -> int:
        """How many bytes of text, thought or tool input it carries."""
        try:
            content = msgspec.json.decode(self.content)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise garbled(str(error)) from None
        return sum(map(block_bytes, content)) if isinstance(content, list) else 0


class _Delta(msgspec.Struct):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None


class MessageEvent(msgspec.Struct):
    """One event of a stream, loosely typed: what is strange must not fail the parse."""

    type: Any = None
    index: Any = None
    message: msgspec.Raw = _NULL
    content_block: msgspec.Raw = _NULL
    delta: _Delta | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL

    @property
    def is_error(self) -> bool:
        """Whether it says that the upstream has failed."""
        return self.type == "error" or not is_null(self.error)

    def text_bytes(self) -> int:
        """How many bytes of text, thought or tool input it carries."""
        if not is_null(self.content_block):
            return block_bytes(decode_object(self.content_block))
        delta = self.delta
        if delta is None:
            return 0
        return _size(delta.text) + _size(delta.thinking) + _size(delta.partial_json)


_decode_message = msgspec.json.Decoder(Message).decode
_decode_event = msgspec.json.Decoder(MessageEvent).decode


def is_null(raw: msgspec.Raw) -> bool:
    """Whether a part is missing, or null."""
    return bytes(raw) == b"null"


def parse_message(data: bytes) -> Message:
    """Read a whole answer. Raises UpstreamFailed when it is none."""
    try:
        return _decode_message(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None


def parse_event(data: bytes) -> MessageEvent:
    """Read an event's data. Raises UpstreamFailed when it is none."""
    try:
        return _decode_event(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None


def decode_object(raw: msgspec.Raw | bytes) -> dict[str, Any]:
    """A part that has to be an object. Raises UpstreamFailed when it is not."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None
    if not isinstance(value, dict):
        raise garbled("an object was expected")
    return value


def stated_usage(raw: msgspec.Raw) -> object:
    """A usage as it is stated, None for none; what can't be read is as absurd as no object."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "unreadable"


def message_usage(*stated: object) -> Usage:
    """The usage that a message states; counts of a later statement replace those of an earlier one.

    ``input_tokens`` is all that was read: fresh, written to the cache, and read from it. Numbers
    that are no numbers make a usage that is not sane.
    """
    counts: dict[str, Any] = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    for one in stated:
        if isinstance(one, dict):
            counts |= {name: one[name] for name in _COUNTERS if one.get(name) is not None}
    found = [counts.get(name) for name in _COUNTERS]
    if not all(type(count) is int and count >= 0 for count in found):
        return _ABSURD
    fresh, written, cached, output = (int(count) for count in found if count is not None)
    return Usage(fresh + written + cached, cached, output)


def block_bytes(block: object) -> int:
    """How many bytes of text, thought or tool input a content block carries."""
    if not isinstance(block, dict):
        return 0
    size = _size(block.get("text")) + _size(block.get("thinking")) + _size(block.get("name"))
    tool_input = block.get("input")
    return size + (len(msgspec.json.encode(tool_input)) if tool_input else 0)


#: A delta of text or thought as every server writes it, without an escape in it (Anthropic's own
#: pads some with spaces). What is written in any other way is parsed.
_match_plain = re.compile(
    rb'event: content_block_delta\ndata: \{"type": ?"content_block_delta", ?"index": ?\d{1,6}, ?'
    rb'"delta": ?\{"type": ?"(?:text_delta", ?"text|thinking_delta", ?"thinking)": ?'
    rb'"([^"\\\x00-\x1f]*)"\} *\}\n\n'
).match


def find_plain_deltas(chunk: bytes) -> Plain | None:
    """What a chunk carries, if it is whole deltas of nothing but text or thought; else None.

    Most of a stream is plain: this tells without parsing it.
    """
    at = pieces = text_bytes = 0
    while at < len(chunk):
        found = _match_plain(chunk, at)
        if found is None:
            return None
        begin, end = found.span(1)
        text_bytes += end - begin
        pieces += end > begin
        at = found.end()
    return Plain(pieces, text_bytes, has_usage_nulls=False)


def _size(part: object) -> int:
    return len(part.encode("utf-8", "replace")) if isinstance(part, str) else 0
