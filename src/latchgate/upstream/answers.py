"""What an upstream's answer says: its usage, its text, its refusals."""

from __future__ import annotations

from typing import Any

import msgspec

from latchgate.domain.errors import InvalidRequest, LatchgateError, UpstreamFailed
from latchgate.domain.usage import Usage

_CONTEXT_SIGNS = (b"context_length_exceeded", b"exceed_context_size", b"maximum context length")


class _Details(msgspec.Struct):
    cached_tokens: Any = 0


class _Usage(msgspec.Struct):
    """Loosely typed: what a strange server says must not fail the parse of the whole answer."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _Details | None = None


class _Text(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: msgspec.Raw | None = None


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None


_NULL = msgspec.Raw(b"null")


class Piece(msgspec.Struct):
    """The parts of a chat completion, or of a chunk of one, that matter here."""

    choices: list[_Choice] = []
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw | None = None

    @property
    def has_usage(self) -> bool:
        """Whether it states its usage; many chunks state a null."""
        return bytes(self.usage) != b"null"

    def find_usage(self) -> Usage | None:
        """The usage that it states; one whose numbers are no numbers comes back as not sane."""
        if not self.has_usage:
            return None
        try:
            stated = _decode_usage(self.usage)
        except msgspec.ValidationError:
            return Usage(-1, 0, -1)
        details = stated.prompt_tokens_details
        return Usage(
            _count(stated.prompt_tokens),
            _count(details.cached_tokens or 0) if details is not None else 0,
            _count(stated.completion_tokens),
        )

    def text_bytes(self) -> int:
        """How many bytes of text, thought or tool call it carries."""
        return sum(_text_bytes(choice.delta or choice.message) for choice in self.choices)


_decode_usage = msgspec.json.Decoder(_Usage).decode
_decode = msgspec.json.Decoder(Piece).decode


def parse_piece(data: bytes) -> Piece:
    """Read a completion or a chunk. Raises UpstreamFailed when it is neither."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbled(str(error)) from None


def garbled(internal: str) -> UpstreamFailed:
    """The refusal for an answer that makes no sense."""
    return UpstreamFailed(
        "The model's server gave an answer that makes no sense. Try again.", internal=internal
    )


def refusal(status: int, body: bytes) -> LatchgateError:
    """What an upstream's error means to our caller. Its text stays in our log."""
    internal = f"upstream status {status}: {body[:300].decode('utf-8', 'replace')}"
    match status:
        case 400 | 413 | 422 if any(sign in body for sign in _CONTEXT_SIGNS):
            return InvalidRequest(
                "The prompt is longer than this model's context window. Send a shorter one.",
                code="context_length_exceeded",
                param="messages",
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


def _text_bytes(text: _Text | None) -> int:
    if text is None:
        return 0
    parts = (text.content, text.reasoning_content, text.reasoning)
    size = sum(len(part.encode("utf-8", "replace")) for part in parts if isinstance(part, str))
    return size + (len(text.tool_calls) if text.tool_calls is not None else 0)
