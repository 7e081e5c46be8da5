"""The control socket: how the command line speaks to a running server.

A Unix socket in the data directory that only its owner may open (0600). One command a connection:
one line of JSON in, ``{"verb": …, "args": {…}}``, and one line out, ``{"ok": …}`` or
``{"error": {…}}``, after which the server closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from latchgate.domain.errors import InvalidRequest, LatchgateError

SOCKET_NAME = "control.sock"
LINE_BYTES_MAX = 1024 * 1024
READ_TIMEOUT_S = 10
#: Commands that run at once; more wait.
COMMANDS_MAX = 8

Handle = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]

log = structlog.get_logger(__name__)


class ControlSocket:
    """Listens at ``path`` and gives every command to ``handle``."""

    def __init__(self, path: Path, handle: Handle) -> None:
        self.path = path
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._slots = asyncio.Semaphore(COMMANDS_MAX)

    async def start(self) -> None:
        """Listen. Only the process that holds the data directory may: it takes over the path."""
        listener = _bound(self.path)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=LINE_BYTES_MAX
        )

    async def close(self) -> None:
        """Stop listening, let the commands that run finish, and take the socket away."""
        if self._server is None:
            return
        self.path.unlink(missing_ok=True)
        self._server.close()
        for _ in range(COMMANDS_MAX):
            await self._slots.acquire()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._slots:
            answer = await self._answer(reader)
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            verb, args = await _read_command(reader)
            return {"ok": await self._handle(verb, args)}
        except LatchgateError as refusal:
            return {**refusal.envelope(), "status": refusal.status}
        except Exception:
            log.exception("a command from the control socket broke")
            broken = LatchgateError("The server could not do that; its log says why.")
            return {**broken.envelope(), "status": broken.status}


async def _read_command(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            line = await reader.readline()
        command = json.loads(line)
    except (TimeoutError, ValueError, RecursionError):  # too long a line is a ValueError, too
        raise InvalidRequest("A command is one line of JSON.", code="invalid_json") from None
    match command:
        case {"verb": str(verb), "args": dict(args)} if len(command) == 2:  # noqa: PLR2004
            return verb, args
    raise InvalidRequest('A command is {"verb": text, "args": {…}}.', code="invalid_type")


def _bound(path: Path) -> socket.socket:
    """A socket bound at ``path``, which was never open to anybody else, not even for a moment."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # By the open folder: the system takes only about a hundred bytes of an address.
            listener.bind(f"/proc/self/fd/{folder}/{fresh.name}")
        finally:
            os.close(folder)
        fresh.chmod(0o600)
        fresh.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener
