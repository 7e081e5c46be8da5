"""What an upstream's responses say: their usage, and the plain deltas of their streams."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class PlainDeltas:
    """What a chunk of plain deltas carries: their texts, and their numbers, if they have any."""

    texts: tuple[bytes, ...]
    numbers: tuple[int, ...]


#: How a delta of text begins, in a stream whose events are named.
DELTA_HEAD = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
_TEXT = re.compile(rb'"delta": ?"([^"]*)"')
_NUMBER = re.compile(rb'"sequence_number": ?(\d{1,9})[,}]')
_LINES = 3


def find_plain_deltas(chunk: bytes, item: bytes) -> PlainDeltas | None:
    """What a chunk carries, if it is whole deltas of one item's text and nothing else; else None.

    ``item`` is how the events name it: ``"item_id":"…"``. Most of a stream is plain: this tells
    without parsing it.
    """
    if not (chunk.startswith(DELTA_HEAD) and chunk.endswith(b"}\n\n")):
        return None
    if b"\\" in chunk or b"\r" in chunk:
        return None
    texts = _TEXT.findall(chunk)
    events = len(texts)
    numbers = _NUMBER.findall(chunk)
    is_plain = (
        chunk.count(b"\n\n") == events
        and chunk.count(b"\n") == _LINES * events
        and chunk.count(DELTA_HEAD) == events
        and chunk.count(b'{"') == events  # nothing stands inside of something
        and chunk.count(item) == events
        and chunk.count(b'"type"') == events
        and chunk.count(b'"item_id"') == events
        and chunk.count(b'"delta"') == events
        and chunk.count(b'"sequence_number"') == len(numbers)
        and len(numbers) in (0, events)
    )
    return PlainDeltas(tuple(texts), tuple(map(int, numbers))) if is_plain else None
