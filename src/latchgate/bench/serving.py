"""Listens on loopback with a bare protocol, for the benchmark's own two servers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

import uvloop

BACKLOG = 4096

#: Makes the protocol of one connection.
Factory = Callable[[], asyncio.Protocol]


def run_server(build: Callable[[asyncio.AbstractEventLoop], Factory], port: int) -> None:
    """Serve until SIGTERM or SIGINT. Prints the port, as ``port`` 0 takes any that is free."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(build, port))


async def _serve(build: Callable[[asyncio.AbstractEventLoop], Factory], port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(build(loop), "127.0.0.1", port, backlog=BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
