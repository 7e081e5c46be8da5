"""The baseline: a proxy that passes bytes on, and knows of HTTP only where a message ends.

What the gateway costs above this is what its keys, its money and its checks cost.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import cast

import httptools

from latchgate.bench.serving import Factory, run_server


class Upstream(asyncio.Protocol):
    """A kept connection to the model server; it carries one call at a time."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        client = self.client
        if client is None:
            self.transport.abort()
            return
        client.transport.write(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            client.transport.abort()

    def on_message_complete(self) -> None:
        """The answer is whole: be free for the next call."""
        if self.client is not None:
            self.client.on_answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Half an answer is none."""
        del exc
        if self.client is not None:
            self.client.transport.abort()

    def pause_writing(self) -> None:
        """The model server reads slowly."""
        if self.client is not None:
            self.client.transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self.client is not None:
            self.client.transport.resume_reading()


class Pool:
    """Idle connections to the model server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self._loop = loop
        self._port = port
        self._idle: deque[Upstream] = deque()

    def find_idle(self) -> Upstream | None:
        """A connection that is open and free."""
        while self._idle:
            upstream = self._idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    async def connect(self) -> Upstream:
        """A new connection."""
        _, upstream = await self._loop.create_connection(Upstream, "127.0.0.1", self._port)
        return upstream

    def put_back(self, upstream: Upstream) -> None:
        """Keep a connection for the next call."""
        upstream.client = None
        upstream.transport.resume_reading()  # the last client may have been slow to the end
        self._idle.append(upstream)


class Client(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on, over a connection that is taken at a call's first byte."""
        if self._upstream is None and self._connecting is None:
            self._upstream = self._pool.find_idle()
            if self._upstream is not None:
                self._upstream.client = self
            else:
                self._connecting = self._loop.create_task(self._connect())
        if self._upstream is not None:
            self._upstream.transport.write(data)
        else:
            self._waiting.append(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    async def _connect(self) -> None:
        try:
            upstream = await self._pool.connect()
        except OSError:
            self.transport.abort()
            return
        self._connecting = None
        self._upstream = upstream
        upstream.client = self
        upstream.transport.writelines(self._waiting)
        self._waiting.clear()

    def on_answered(self, upstream: Upstream) -> None:
        """The answer is whole."""
        self._upstream = None
        self._pool.put_back(upstream)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody listens: end the call."""
        del exc
        if self._connecting is not None:
            self._connecting.cancel()
        if self._upstream is not None:
            self._upstream.client = None
            self._upstream.transport.abort()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._upstream is not None:
            self._upstream.transport.resume_reading()


def _build(loop: asyncio.AbstractEventLoop, *, upstream_port: int) -> Factory:
    pool = Pool(loop, upstream_port)
    return lambda: Client(loop, pool)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve, and print the port."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--upstream-port", type=int, required=True)
    given = parser.parse_args(argv)
    run_server(partial(_build, upstream_port=given.upstream_port), given.port)


if __name__ == "__main__":
    main()
