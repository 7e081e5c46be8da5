"""What goes out at the end of the loop's turn.

A write that wakes somebody costs several times one that does not, and is most of what a small call
costs the kernel. Requests and whole answers that come about in one turn of the loop go out together
at its end: where the other side is one process on the same machine, one of them wakes it for all.
"""

from __future__ import annotations

import asyncio


class Outbox:
    """Writes that wait for the end of the turn. Used from one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def add(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write it when this turn has done what it has to do; not if the transport ends first."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        """Write what waits: for who is about to write past it, or to close."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
