"""A model server that says what it is told to, and costs as little as possible.

It speaks OpenAI's chat completions over a bare protocol. A prompt may carry ``events=200`` and
``pause_ms=20``: so many events of text, so long between two of them. Every event leaves in a write
of its own, as those of a real model do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httptools

from latchgate.bench.serving import Factory, run_server

MODEL = "bench-model"
PROMPT_TOKENS, OUTPUT_TOKENS = 12, 8
USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "total_tokens": PROMPT_TOKENS + OUTPUT_TOKENS,
}

_ASKS_STREAM = re.compile(rb'"stream": ?true')
_SCRIPT = re.compile(rb"events=(\d+) pause_ms=(\d+)")
_HEAD_EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Script:
    """What a stream says: how many events of text, and how long between two of them."""

    events: int
    pause_ms: int


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _common(kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": kind,
        "created": 1741569952,
        "model": MODEL,
    }


def _whole() -> bytes:
    body = _json(
        _common("chat.completion")
        | {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello! How can I help you today?"},
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE,
        }
    )
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    more = {"system_fingerprint": "fp_44709d6fcb", "choices": [choice]}
    return _chunk(_json(_common("chat.completion.chunk") | more))


_WHOLE = _whole()
_OPENING = _HEAD_EVENTS + _event({"role": "assistant", "content": ""})
#: Not always the same word: a gateway may take that for a model that has gone astray.
_TEXT = tuple(_event({"content": f" {word}"}) for word in ("that", "this", "some", "more"))
_ENDING = (
    _event({}, "stop"),
    _chunk(_json(_common("chat.completion.chunk") | {"choices": [], "usage": USAGE})),
    _chunk(b"[DONE]") + b"0\r\n\r\n",
)


class _Stream:
    """One answer in events."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, script: Script
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._left = script.events
        self._pause_s = script.pause_ms / 1000
        transport.write(_OPENING)
        loop.call_soon(self._say)

    def _say(self) -> None:
        if self._transport.is_closing():
            return
        if self._left:
            self._left -= 1
            self._transport.write(_TEXT[self._left & 3])
            if self._pause_s:
                self._loop.call_later(self._pause_s, self._say)
            else:
                self._loop.call_soon(self._say)
            return
        for event in _ENDING:
            self._transport.write(event)


class MockUpstream(asyncio.Protocol):
    """One connection. The parser is told nothing but the body and its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, script: Script) -> None:
        self._loop = loop
        self._script = script
        self._body: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what has come; what is no HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, body: bytes) -> None:
        """Gather."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        body = b"".join(self._body)
        self._body.clear()
        if _ASKS_STREAM.search(body) is None:
            self._transport.write(_WHOLE)
            return
        asked = _SCRIPT.search(body)
        script = Script(int(asked[1]), int(asked[2])) if asked else self._script
        _Stream(self._loop, self._transport, script)


def _build(loop: asyncio.AbstractEventLoop, *, script: Script) -> Factory:
    return lambda: MockUpstream(loop, script)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve, and print the port."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--events", type=int, default=64, help="events of text in a stream")
    parser.add_argument("--pause-ms", type=int, default=0, help="between two of them")
    given = parser.parse_args(argv)
    run_server(partial(_build, script=Script(given.events, given.pause_ms)), given.port)


if __name__ == "__main__":
    main()
