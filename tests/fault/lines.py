"""A client's raw lines to a gateway: each byte is sent and read by the test itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.gateway import Gateway
from tests.support.model_server import Received, chunk, send_chunk, start_events

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def hang(request: Received, writer: asyncio.StreamWriter) -> None:
    """A model that says three words, where they can be heard, and then thinks for ever."""
    if request.body.get("stream"):
        await start_events(writer)
        for _ in range(3):
            await send_chunk(writer, chunk({"content": "word "}))
    await request.hang_up()


def head_of(method: str, path: str, secret: str, *lines: str) -> bytes:
    """A request's head."""
    fields = ("host: localhost", f"authorization: Bearer {secret}", *lines)
    return "\r\n".join((f"{method} {path} HTTP/1.1", *fields, "", "")).encode()


def chat_of(secret: str, *lines: str, **fields: Any) -> tuple[bytes, bytes]:
    """The head and the body of a chat call."""
    body = json.dumps({**CHAT, **fields}).encode()
    json_lines = ("content-type: application/json", f"content-length: {len(body)}")
    return head_of("POST", "/v1/chat/completions", secret, *json_lines, *lines), body


@dataclass
class Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass
class Lines:
    """The connections of one test."""

    gateway: Gateway
    opened: list[Line] = field(default_factory=list)

    async def dial(self, data: bytes) -> Line:
        """A new connection, on which this is said."""
        line = Line(*await asyncio.open_connection("127.0.0.1", self.gateway.port))
        self.opened.append(line)
        line.writer.write(data)
        return line

    async def stream(self, secret: str) -> Line:
        """A stream that has got its three words."""
        line = await self.dial(b"".join(chat_of(secret, stream=True)))
        for _ in range(3):
            await line.reader.readuntil(b"word ")
        return line

    async def let_in(self, secret: str) -> tuple[Line, bytes]:
        """A call whose head was read, and whose body is awaited; the line and the body."""
        head, body = chat_of(secret, "expect: 100-continue", stream=True)
        line = await self.dial(head)
        assert await line.reader.readuntil(b"\r\n\r\n") == CONTINUE
        return line, body


@asynccontextmanager
async def lines_to(gateway: Gateway) -> AsyncIterator[Lines]:
    """Lines that are closed at the end."""
    lines = Lines(gateway)
    try:
        yield lines
    finally:
        for line in lines.opened:
            line.writer.close()
            with suppress(OSError):
                await line.writer.wait_closed()


async def until(is_so: Callable[[], object]) -> None:
    """Look again and again, until it is so."""
    while not is_so():  # noqa: ASYNC110 - the gateway has no event for it
        await asyncio.sleep(0.005)


async def settled(gateway: Gateway) -> None:
    """Wait until no call runs and nothing is held, and post what was charged."""
    await until(
        lambda: not (gateway.engine.purse.held_nanos_all() or gateway.directory.running_calls)
    )
    drain = gateway.engine.drain
    await drain.flush()
    while drain.waiting_calls:  # charges that the disk did not have yet
        await asyncio.sleep(0.005)
        await drain.flush()
