"""A playground's answer, read to its end for a page that is drawn in one go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from latchgate.domain.errors import LatchgateError
from latchgate.domain.usage import Usage
from latchgate.upstream.sse import EventScanner, data_of

EVENT_BYTES_MAX = 2 * 1024 * 1024


@dataclass(slots=True)
class Heard:
    """What came of an answer, and what it cost where that was said."""

    text: str = ""
    #: Why it ended: ``stop``, ``length``, or nothing where it broke off.
    ending: str = ""
    usage: Usage | None = None
    charge_nanos: int = 0
    error: LatchgateError | None = None


async def hear(events: AsyncIterator[bytes]) -> Heard:
    """Read the events of a chat completion to their end."""
    heard = Heard()
    async for event in _data(events):
        if "error" in event:
            heard.error = _error(event["error"])
        for choice in event.get("choices") or ():
            said = (choice.get("delta") or {}).get("content")
            heard.text += said if isinstance(said, str) else ""
            heard.ending = choice.get("finish_reason") or heard.ending
        if event.get("usage"):
            _note_usage(heard, event["usage"])
    return heard


async def _data(events: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    scanner = EventScanner(event_bytes_max=EVENT_BYTES_MAX)
    async for piece in events:
        for event in scanner.feed(piece):
            data = data_of(event)
            if data is not None and data.startswith(b"{"):
                yield msgspec.json.decode(data)


def _note_usage(heard: Heard, stated: dict[str, Any]) -> None:
    details = stated.get("prompt_tokens_details") or {}
    heard.usage = Usage(
        stated["prompt_tokens"], details.get("cached_tokens") or 0, stated["completion_tokens"]
    )
    heard.charge_nanos = stated["cost_nanos"]


def _error(stated: dict[str, Any]) -> LatchgateError:
    error = LatchgateError(stated["message"], code=stated["code"], param=stated["param"])
    error.status = 200  # what came before it is shown, and stands
    return error
