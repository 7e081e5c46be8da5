"""What an upstream's answer says: its usage, its text, its refusals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from latchgate.domain.errors import InvalidRequest, LatchgateError, UpstreamFailed
from latchgate.domain.usage import Usage
from latchgate.upstream.error_words import error_words

_CONTEXT_SIGNS = (b"context_length_exceeded", b"exceed_context_size", b"maximum context length")


class _Details(msgspec.Struct):
    cached_tokens: Any = 0


class _Usage(msgspec.Struct):
    """Loosely typed: what a strange server says must not fail the parse of the whole answer."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _Details | None = None


#: A raw field that may be missing. (``Raw | None`` would take nothing but null.)
_NULL = msgspec.Raw(b"null")


class _Text(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: msgspec.Raw = _NULL


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None
    text: Any = None


class Piece(msgspec.Struct):
    """The parts of a chat completion, or of a chunk of one, that matter here."""

    choices: list[_Choice] = []
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL

    @property
    def has_usage(self) -> bool:
        """Whether it states its usage; many chunks state a null."""
        return not _is_null(self.usage)

    @property
    def has_error(self) -> bool:
        """Whether it is an error that comes in place of an answer."""
        return not _is_null(self.error)

    def find_usage(self) -> Usage | None:
        """The usage that it states; one whose numbers are no numbers comes back as not sane."""
        if not self.has_usage:
            return None
        try:
            stated = _decode_usage(self.usage)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Usage(-1, 0, -1)
        details = stated.prompt_tokens_details
        return Usage(
            _count(stated.prompt_tokens),
            _count(details.cached_tokens or 0) if details is not None else 0,
            _count(stated.completion_tokens),
        )

    def text_bytes(self) -> int:
        """How many bytes of text, thought or tool call it carries."""
        size = 0
        for choice in self.choices:
            said = choice.delta or choice.message
            size += _size(choice.text) if said is None else _text_bytes(said)
        return size


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode = msgspec.json.Decoder(Piece).decode


class _Counted(msgspec.Struct):
    """A usage as sane servers state it."""

    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _CountedDetails | None = None


class _CountedDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Whole(msgspec.Struct):
    """All that is asked of a whole answer whose usage is there."""

    usage: msgspec.Raw
    error: msgspec.Raw = _NULL


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


def read_usage(data: bytes) -> tuple[Usage | None, bytes]:
    """The usage that a whole completion states, and its JSON. Raises UpstreamFailed for garbage.

    Where the usage is as it should be, the rest is not looked at.
    """
    try:
        whole = _decode_whole(data)
        text = bytes(whole.usage)
        stated = _decode_counted(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        piece = parse_piece(data)
        _check_no_error(piece.error)
        return piece.find_usage(), bytes(piece.usage)
    _check_no_error(whole.error)
    details = stated.prompt_tokens_details
    cached = 0 if details is None else details.cached_tokens or 0
    return Usage(stated.prompt_tokens, cached, stated.completion_tokens), text


class _Read(msgspec.Struct):
    """The usage of embeddings: nothing is written."""

    prompt_tokens: int


_decode_read = msgspec.json.Decoder(_Read).decode


def read_embedding_usage(data: bytes) -> tuple[Usage | None, bytes]:
    """The usage that an answer of embeddings states, and its JSON. Raises UpstreamFailed."""
    try:
        text = bytes(_decode_whole(data).usage)
        return Usage(_decode_read(text).prompt_tokens, 0, 0), text
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        _check_no_error(parse_piece(data).error)
        return None, b""


def _check_no_error(error: msgspec.Raw) -> None:
    """Raise UpstreamFailed for an error that says 200."""
    if not _is_null(error):
        raise garbled(f"an error that says 200: {bytes(error)[:300].decode('utf-8', 'replace')}")


@dataclass(frozen=True, slots=True)
class Plain:
    """What a chunk of plain events carries."""

    pieces: int
    text_bytes: int
    #: Every event states its usage as null, as OpenAI's do where usage was asked for.
    has_usage_nulls: bool


#: Where the text of an event stands: a chat's, and a text completion's.
CONTENT = re.compile(rb'"content": ?"([^"]*)"')
TEXT = re.compile(rb'"text": ?"([^"]*)"')
#: What makes a chunk worth a closer look: an escape, or more than a piece of text.
_NOT_PLAIN = (b"\\", b"\r", b'"usage":{', b'"usage": {', b'"error"', b"tool_calls", b"reasoning")


def find_plain(chunk: bytes, text: re.Pattern[bytes] = CONTENT) -> Plain | None:
    """What a chunk carries, if it is whole events of nothing but text; else None.

    ``text`` finds an event's text. Most of a stream is plain: this tells without parsing it.
    """
    if not (chunk.endswith(b"\n\n") and chunk.startswith(b'data: {"')):
        return None
    for sign in _NOT_PLAIN:
        if sign in chunk:
            return None
    events = chunk.count(b"\n\n")
    texts = text.findall(chunk)
    if len(texts) != events or (events > 1 and not _has_one_each(chunk, text)):
        return None
    empty = texts.count(b"")
    nulls = chunk.count(b'"usage":null')
    return Plain(events - empty, sum(map(len, texts)), nulls == events)


def _has_one_each(chunk: bytes, text: re.Pattern[bytes]) -> bool:
    """Whether each event of a chunk has one text, and none has what another one lacks."""
    return all(
        event.startswith(b'data: {"') and len(text.findall(event)) == 1
        for event in chunk.split(b"\n\n")[:-1]
    )


def parse_piece(data: bytes) -> Piece:
    """Read a completion or a chunk. Raises UpstreamFailed when it is neither."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None


#: What is said of a stream that ends before its end, once some of it has arrived.
BROKE_OFF = "The model's server broke off. What had arrived is charged, the rest is not."


def garbled(internal: str) -> UpstreamFailed:
    """The refusal for an answer that makes no sense."""
    return UpstreamFailed(
        "The model's server gave an answer that makes no sense. Try again.", internal=internal
    )


def refusal(status: int, body: bytes, input_param: str) -> LatchgateError:
    """What an upstream's error means to our caller. Its names go to our log, its text nowhere.

    ``input_param`` is the caller's field that has what the model reads.
    """
    internal = error_words(status, body)
    match status:
        case 400 | 413 | 422 if any(sign in body for sign in _CONTEXT_SIGNS):
            return InvalidRequest(
                "The prompt is longer than this model's context window. Send a shorter one.",
                code="context_length_exceeded",
                param=input_param,
            )
        case 400 | 404 | 413 | 422:
            return InvalidRequest(
                "The model's server did not accept this request: one of its parameters has a "
                "value that this model cannot take.",
                internal=internal,
            )
        case 401 | 403:
            return UpstreamFailed(
                "The model's server refused this platform's credential; its operator has to mend "
                "that. Nothing was charged.",
                code="upstream_auth_failed",
                internal=internal,
            )
        case 408 | 504:
            return UpstreamFailed(
                "The model's server did not answer in time. Try again later.",
                status=504,
                code="upstream_timeout",
                internal=internal,
            )
        case 429 | 503 | 529:
            return UpstreamFailed(
                "The model's server is busy. Try again in a moment.",
                status=503,
                code="server_is_overloaded",
                internal=internal,
            )
    return UpstreamFailed(
        "The model's server failed to answer. Nothing was charged; try again.", internal=internal
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _text_bytes(text: _Text) -> int:
    size = _size(text.content) + _size(text.reasoning_content) + _size(text.reasoning)
    return size + (0 if _is_null(text.tool_calls) else len(bytes(text.tool_calls)))


def _is_null(raw: msgspec.Raw) -> bool:
    return bytes(raw) == b"null"


def _size(part: object) -> int:
    return len(part.encode("utf-8", "replace")) if isinstance(part, str) else 0
