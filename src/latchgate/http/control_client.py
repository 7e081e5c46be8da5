"""The other end of the control socket, for the command line: blocking, and light to import."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from latchgate.domain.errors import LatchgateError

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 600
ANSWER_BYTES_MAX = 64 * 1024 * 1024


class NobodyListens(Exception):
    """No server runs on this data directory."""


class NotOurServer(Exception):
    """Something answered, or began to, that is not a server of ours."""


class RemoteRefusal(LatchgateError):
    """What the server refused, as it said it."""

    def __init__(self, envelope: dict[str, Any], status: int) -> None:
        super().__init__(
            str(envelope.get("message")),
            code=str(envelope.get("code")),
            param=envelope.get("param"),
        )
        self.status = status
        self.type = str(envelope.get("type"))


def ask(path: Path, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Send one command to the server at ``path`` and return its answer.

    Raises NobodyListens when there is none, NotOurServer when the answer makes no sense, and
    RemoteRefusal with what the server refused.
    """
    line = _exchange(path, json.dumps({"verb": verb, "args": args}).encode() + b"\n")
    try:
        answer = json.loads(line)
    except ValueError:
        raise NotOurServer(f"{path} gave no answer that makes sense") from None
    match answer:
        case {"ok": dict(ok)}:
            return ok
        case {"error": dict(envelope), "status": int(status)}:
            raise RemoteRefusal(envelope, status)
    raise NotOurServer(f"{path} gave no answer that makes sense")


def _exchange(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        _connect(connection, path)
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            connection.sendall(line)
            with connection.makefile("rb") as answer:
                return answer.read(ANSWER_BYTES_MAX)
        except OSError as failure:
            raise NotOurServer(f"{path}: {failure}") from failure


def _connect(connection: socket.socket, path: Path) -> None:
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as failure:
        raise NobodyListens(str(path)) from failure
    try:
        # By the open folder: the system takes only about a hundred bytes of an address.
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    except (FileNotFoundError, ConnectionRefusedError) as failure:
        raise NobodyListens(str(path)) from failure
    except OSError as failure:
        raise NotOurServer(f"{path}: {failure}") from failure
    finally:
        os.close(folder)
