"""A call from inside the house: the console's own, which comes over no connection to the gateway.

It takes the very way of every other call, from peek to settle. Only what is answered goes another
way: pieces wait here for whoever serves the page, who takes them as fast as his browser reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from latchgate import fibers
from latchgate.domain.errors import Conflict, InvalidKey
from latchgate.gateway.head import Head
from latchgate.gateway.request import GatewayRequest

if TYPE_CHECKING:
    from latchgate.domain.errors import LatchgateError
    from latchgate.gateway.protocol import GatewayProtocol

#: How much of a stream may wait for its reader before no more is read from the model server.
WAITING_BYTES_MAX = 64 * 1024
CALLED_PATH = "/v1/chat/completions"


class InsideRequest(GatewayRequest):
    """A whole request without a connection, and the answer to it."""

    __slots__ = ("_error", "_is_full", "_pieces", "_waiting_bytes", "_woken")

    def __init__(
        self,
        handler: Callable[[GatewayRequest], Awaitable[None]],
        *,
        app: str,
        body: bytes,
        request_id: str,
        started_us: int,
        ip: str,
    ) -> None:
        head = Head("POST", CALLED_PATH, b"", {}, keep_alive=True, ip=ip)
        head.app, head.is_json = app, True
        # Of a connection it has but the loop: whatever would write to one is told anew below.
        nowhere = SimpleNamespace(loop=asyncio.get_running_loop())
        super().__init__(cast("GatewayProtocol", nowhere), head, request_id, started_us, handler)
        self.body, self.more_body = body, False
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._is_full = False
        self._woken = asyncio.Event()
        self._error: LatchgateError | None = None

    # ── for whoever asks ────────────────────────────────────────────────────────────────────────
    async def begin(self) -> None:
        """Run the call up to the first piece of its answer. Raises what it is refused with.

        Whoever is cancelled in here has hung up.
        """
        fibers.run(self.run())
        try:
            while not (self._pieces or self.response_complete):
                await self._wake_up()
        except asyncio.CancelledError:
            self.hang_up()
            raise
        if self._error is not None:
            raise self._error

    async def pieces(self) -> AsyncIterator[bytes]:
        """The answer, piece by piece. A reader who leaves has hung up."""
        try:
            while True:
                if self._pieces:
                    yield self._take()
                elif self.response_complete:
                    return
                else:
                    await self._wake_up()
        finally:
            self.hang_up()

    def hang_up(self, reason: LatchgateError | None = None) -> None:
        """End the call; what has come is charged. The reader is told the reason."""
        if self.disconnected or self.response_complete:
            return
        if reason is not None:
            self.send_error(reason)
        self.response_complete = True
        self._woken.set()
        self.on_lost()

    def _take(self) -> bytes:
        taken, self._pieces, self._waiting_bytes = b"".join(self._pieces), [], 0
        self._regulate()
        return taken

    async def _wake_up(self) -> None:
        self._woken.clear()
        await self._woken.wait()

    # ── for the call ────────────────────────────────────────────────────────────────────────────
    def send(self, status: int, body: bytes, *_lines: bytes) -> None:
        """Take a whole answer."""
        del status  # refusals come by ``send_error``
        self.end_stream(body)

    def send_error(self, error: LatchgateError) -> None:
        """Take a refusal, or the last event of a stream that has begun."""
        if self.disconnected or self.response_complete:
            return
        if isinstance(error, InvalidKey):  # there is none: what has ended is its account's entry
            error = Conflict(
                "Your account was changed while the call ran. Reload the page, and try again."
            )
        if self.response_started:
            self.end_stream(self.error_event(error))
        else:
            self._error = error
            self.end_stream(b"")

    def start_stream(self, *_lines: bytes) -> None:
        """Let the answer begin."""
        self.response_started = True

    def write(self, data: bytes) -> None:
        """Take a piece of a stream."""
        if self.disconnected or self.response_complete:
            return
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        self._regulate()
        self._woken.set()

    def end_stream(self, data: bytes) -> None:
        """Take the last piece; the call is over."""
        if data:
            self.write(data)
        self.response_complete = True
        self._woken.set()

    def abort(self) -> None:
        """End an answer that broke off."""
        self.end_stream(b"")

    def _regulate(self) -> None:
        """Slow the model server down while the reader is slow."""
        is_full = self._waiting_bytes > WAITING_BYTES_MAX
        if is_full != self._is_full and self.on_flow is not None:
            self.on_flow(is_full)
        self._is_full = is_full
