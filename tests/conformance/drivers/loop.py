"""What every driver shares: jobs come as lines of JSON on stdin, results leave as such.

A driver's own part is a table of what its client can do. It runs in the client's environment and
knows nothing of Latchgate: it says what the client's user would see.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import os
import struct
import sys
import traceback
import zlib
from collections.abc import Callable
from typing import Any

Job = dict[str, Any]
Told = dict[str, Any]
Doing = Callable[[Job], Any]

QUESTION = "When does the tide come in?"
CITY_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = "It is sunny in Bern."


def serve(table: dict[str, Doing], refusal: Callable[[Exception], Told | None]) -> None:
    """Do jobs until stdin ends; ``refusal`` reads the client's own errors."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    for line in sys.stdin:
        job = json.loads(line)
        try:
            told = table[job["do"]](job)
            if inspect.isawaitable(told):
                told = asyncio.run(_wait(told))
        except Exception as error:  # noqa: BLE001 - whatever a client raises is what we ask for
            told = _told(error, refusal)
        answers.write(json.dumps(told) + "\n")
        answers.flush()


async def _wait(told: Any) -> Any:
    return await told


def _told(error: Exception, refusal: Callable[[Exception], Told | None]) -> Told:
    found = refusal(error)
    if found is None:
        return {"crash": traceback.format_exc()}
    return {"refused": {"kind": type(error).__name__, **found}}


def status_refusal(error: Exception) -> Told | None:
    """What an error of a Stainless-made SDK, or one that wraps it, says."""
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) and not hasattr(error, "body"):
        return None
    body = getattr(error, "body", None)
    inside = body.get("error", body) if isinstance(body, dict) else {}
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    code = getattr(error, "code", None) or (inside or {}).get("code")
    return {
        "status": status if isinstance(status, int) else None,
        "code": code if isinstance(code, str) else None,
        "message": str(error),
        "retry_after": headers.get("retry-after"),
    }


def chat_usage(usage: Any) -> list[int]:
    """A chat's usage: tokens in and out."""
    return [usage.prompt_tokens, usage.completion_tokens]


def responses_usage(usage: Any) -> list[int]:
    """A response's usage, or a message's: tokens in and out."""
    return [usage.input_tokens, usage.output_tokens]


def red_png(size: int = 16) -> str:
    """A red square, as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(red_png_bytes(size)).decode()}"


def red_png_bytes(size: int = 16) -> bytes:
    """A red square."""

    def part(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (b"\0" + b"\xff\0\0" * size) * size
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    pieces = (part(b"IHDR", head), part(b"IDAT", zlib.compress(rows)), part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)
