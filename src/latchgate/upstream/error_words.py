"""What of an upstream's error may stand in our log: its names, never its sentences.

Model servers quote in a sentence what they did not like, which is somebody's prompt. What they put
into ``code``, ``type`` and ``param`` are names of theirs.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_NAMES = ("code", "type", "param")
_NAME = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,48}", re.ASCII)
#: A longer body is no error that says its names.
_BODY_BYTES_MAX = 16 * 1024

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def error_words(status: int, body: bytes) -> str:
    """For the log: ``upstream status 400: code context_length_exceeded, 212 bytes``."""
    said = [f"{name} {value}" for name, value in _names(body)]
    return f"upstream status {status}: {', '.join([*said, f'{len(body)} bytes'])}"


def _names(body: bytes) -> list[tuple[str, object]]:
    if len(body) > _BODY_BYTES_MAX:
        return []
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return []
    error = answer.get("error", answer)
    if not isinstance(error, dict):
        return []
    found = ((name, error.get(name)) for name in _NAMES)
    return [(name, value) for name, value in found if _is_name(value)]


def _is_name(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 10**9
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
