"""What an upstream's responses say: their usage, and the plain deltas of their streams."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from latchgate.domain.usage import Usage
from latchgate.upstream.answers import garbled


class _InputDetails(msgspec.Struct):
    cached_tokens: Any = 0


class _Usage(msgspec.Struct):
    """Loosely typed: what a strange server says must not fail the parse of the whole answer."""

    input_tokens: Any = None
    output_tokens: Any = None
    input_tokens_details: _InputDetails | None = None


def parse_answer(data: bytes) -> dict[str, Any]:
    """The object of an answer, or of an event. Raises UpstreamFailed for garbage."""
    try:
        return _decode_answer(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None


def read_usage(usage: Any) -> Usage | None:
    """The usage that a response states; one whose numbers are no numbers comes back as not sane."""
    if usage is None:
        return None
    try:
        stated = msgspec.convert(usage, _Usage)
    except msgspec.ValidationError:
        return Usage(-1, 0, -1)
    details = stated.input_tokens_details
    return Usage(
        _count(stated.input_tokens),
        _count(details.cached_tokens or 0) if details is not None else 0,
        _count(stated.output_tokens),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


_decode_answer = msgspec.json.Decoder(dict[str, Any]).decode


#: How a delta of text begins, in a stream whose events are named.
DELTA_HEAD = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
#: A delta as OpenAI writes it, and as llama.cpp's server does, which leaves out its number and its
#: place. What is written in any other way, or has an escape in it, is parsed.
_DELTA = re.compile(
    re.escape(DELTA_HEAD)
    + rb"""(?:"sequence_number":(0|[1-9][0-9]{0,8}),)?"item_id":"([^"\\\x00-\x1f]*)","""
    rb"""(?:"output_index":(0|[1-9][0-9]{0,8}),"content_index":(0|[1-9][0-9]{0,8}),)?"""
    rb""""delta":"([^"\\\x00-\x1f]*)"(?:,"logprobs":\[\])?"""
    rb"""(?:,"obfuscation":"[^"\\\x00-\x1f]*")?\}\n\n"""
)
#: A plain delta: its number, its item, the item's place, the text's place in it, and the text.
PlainDelta = tuple[bytes | None, bytes, bytes | None, bytes | None, bytes]


def find_plain_deltas(chunk: bytes) -> list[PlainDelta] | None:
    """What a chunk carries, if it is whole deltas of text and nothing else; else None.

    Most of a stream is plain: this tells without parsing it.
    """
    deltas: list[Any] = []
    at, match = 0, _DELTA.match
    while at < len(chunk):
        found = match(chunk, at)
        if found is None:
            return None
        deltas.append(found.groups())
        at = found.end()
    return deltas
