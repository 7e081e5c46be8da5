"""The bytes of heads and errors, as SDKs and browsers expect them."""

from __future__ import annotations

import http
import json

import msgspec

from latchgate.domain.errors import LatchgateError

_EXPOSED = (
    "x-request-id, request-id, openai-processing-ms, retry-after, retry-after-ms, x-should-retry, "
    "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, "
    "x-latchgate-cost-nanos, x-latchgate-remaining-nanos, x-latchgate-clamped, x-latchgate-replayed"
)

#: On every answer. Any page may call the API with a key of its own; a cookie is worth nothing here,
#: so credentials are never allowed across origins.
_ALWAYS = (
    "access-control-allow-origin: *\r\n"
    f"access-control-expose-headers: {_EXPOSED}\r\n"
    "cache-control: no-store\r\n"
    "x-content-type-options: nosniff\r\n"
).encode()

JSON = b"content-type: application/json\r\n"
EVENTS = b"content-type: text/event-stream; charset=utf-8\r\nx-accel-buffering: no\r\n"


_RETRY, _NO_RETRY = b"x-should-retry: true\r\n", b"x-should-retry: false\r\n"
_OPENINGS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    + _ALWAYS
    + b"x-request-id: "
    for status in http.HTTPStatus
}
#: A number of Anthropic's own, for servers that are full.
_OPENINGS[529] = _OPENINGS[503].replace(b"503 Service Unavailable", b"529 Overloaded", 1)


def opening(status: int) -> bytes:
    """A status line and the header lines that every answer has; a request id is to follow."""
    return _OPENINGS[status]


def head(status: int, request_id: str, *lines: bytes) -> bytes:
    """An answer's whole head: what every answer has, and ``lines``."""
    return b"".join((opening(status), request_id.encode(), b"\r\n", *lines, b"\r\n"))


def header(name: str, value: str | int) -> bytes:
    """One header line; control characters can't get in."""
    text = str(value).translate({10: " ", 13: " ", 0: " "})
    return f"{name}: {text}\r\n".encode("latin-1", "replace")


def error_lines(error: LatchgateError) -> list[bytes]:
    """The header lines that an error brings along."""
    lines = [header(name, value) for name, value in error.headers.items()]
    if error.should_retry is not None:
        lines.append(_RETRY if error.should_retry else _NO_RETRY)
    if error.status == http.HTTPStatus.UNAUTHORIZED:
        lines.append(b"www-authenticate: Bearer\r\n")
    return lines


def error_status(error: LatchgateError) -> int:
    """The status of a refusal: its own."""
    return error.status


def error_body(error: LatchgateError) -> bytes:
    """The error envelope as JSON."""
    envelope = error.envelope()
    try:
        return msgspec.json.encode(envelope)
    except UnicodeEncodeError:  # half a pair of surrogates, in what a caller's words are quoted
        return json.dumps(envelope).encode()


def error_event(error: LatchgateError) -> bytes:
    """The error envelope as an event in mid-stream."""
    return b"data: " + error_body(error) + b"\n\n"
