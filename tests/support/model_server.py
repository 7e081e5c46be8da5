"""A scripted model server on loopback: the one thing outside the machine that tests stand in for.

It speaks HTTP over raw sockets, so that it can also say what no sane server would. What it does is
chosen by ``behaviour``, a coroutine that gets the request and a writer.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Received:
    """One request as the model server got it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    reader: asyncio.StreamReader

    async def hang_up(self) -> None:
        """Wait until the other side closes, as a hanging server would."""
        if await self.reader.read(1) == b"":
            raise ConnectionError


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def completion(
    text: str = "Hello there",
    *,
    usage: dict[str, Any] | None = None,
    model: str = "up-model",
    finish_reason: str = "stop",
) -> dict[str, Any]:
    """A chat completion."""
    answer: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text},
            }
        ],
    }
    if usage is not None:
        answer["usage"] = usage
    return answer


def usage_of(prompt: int, output: int, cached: int = 0) -> dict[str, Any]:
    """A usage object."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def chunk(delta: dict[str, Any], *, finish: str | None = None) -> bytes:
    """One event of a stream."""
    data = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def usage_chunk(usage: dict[str, Any]) -> bytes:
    """The event that carries a stream's usage."""
    data = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up-model",
        "choices": [],
        "usage": usage,
    }
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def send_json(writer: asyncio.StreamWriter, status: int, value: Any) -> None:
    """Send a whole answer."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    writer.write(
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()


async def start_events(writer: asyncio.StreamWriter) -> None:
    """Begin a stream."""
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    await writer.drain()


async def send_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a piece of a stream."""
    writer.write(b"%x\r\n" % len(data) + data + b"\r\n")
    await writer.drain()


async def end_events(writer: asyncio.StreamWriter) -> None:
    """End a stream."""
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def answers(
    text: str = "Hello there", *, usage: dict[str, Any] | None = None, pieces: int = 4
) -> Behaviour:
    """A well-behaved server: streams when asked to, and states its usage when asked to."""
    return sends(text, [f"word{index} " for index in range(pieces)], usage=usage)


def sends(text: str, pieces: Sequence[str], *, usage: dict[str, Any] | None = None) -> Behaviour:
    """A well-behaved server that sends this text whole, and these pieces when it streams."""
    stated = usage or usage_of(12, 5)

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        if not request.body.get("stream"):
            await send_json(writer, 200, completion(text, usage=stated))
            return
        await start_events(writer)
        await send_chunk(writer, chunk({"role": "assistant", "content": None}))
        for piece in pieces:
            await send_chunk(writer, chunk({"content": piece}))
        await send_chunk(writer, chunk({}, finish="stop"))
        if (request.body.get("stream_options") or {}).get("include_usage"):
            await send_chunk(writer, usage_chunk(stated))
        await send_chunk(writer, b"data: [DONE]\n\n")
        await end_events(writer)

    return behave


@dataclass
class ModelServer:
    """A running model server."""

    behaviour: Behaviour = field(default_factory=answers)
    received: list[Received] = field(default_factory=list)
    heard_hang_up: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """What an operator would give ``--base-url``."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, whatever happened."""
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Received(
                    lines[0].split(" ")[1], headers, json.loads(body or b"{}"), reader
                )
                self.received.append(request)
                await self.behaviour(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.heard_hang_up.set()
        finally:
            writer.close()


class ModelServerThread:
    """A model server for a test that has no loop of its own, as those in a browser have none."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._server = ModelServer(behaviour)
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    @property
    def base_url(self) -> str:
        """What an operator would give ``--base-url``."""
        return self._server.base_url

    async def _run(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        await self._server.start()
        self._is_up.set()
        await self._ending.wait()
        await self._server.stop()

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        self._is_up.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and cancel what it is still serving."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
