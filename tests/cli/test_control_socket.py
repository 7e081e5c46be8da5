"""The control socket takes one line, gives one line, and is nobody else's."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from latchgate.cli.main import NOT_OURS, main
from latchgate.domain.errors import Conflict
from latchgate.http.control import LINE_BYTES_MAX, ControlSocket
from latchgate.http.control_client import NobodyListens, NotOurServer, RemoteRefusal, ask


async def _handle(verb: str, args: dict[str, Any]) -> dict[str, Any]:
    if verb == "refuse":
        raise Conflict("A key is live.", code="live_key_exists", param="name")
    if verb == "break":
        raise RuntimeError("sk-lg-secret")
    return {"verb": verb, **args}


def _with_server(path: Path, story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        control = ControlSocket(path, _handle)
        await control.start()
        try:
            await story()
        finally:
            await control.close()

    asyncio.run(run())


async def _send(path: Path, line: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    found: dict[str, Any] = json.loads(answer)
    return found


def test_a_command_and_its_answer_pass_through(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def story() -> None:
        answer = await asyncio.to_thread(ask, path, "echo", {"name": "é\n", "count": 2**60})
        assert answer == {"verb": "echo", "name": "é\n", "count": 2**60}

    _with_server(path, story)
    assert not path.exists(), "a closed server leaves no socket behind"


def test_only_its_owner_may_open_it(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("left over by a crash")

    async def story() -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in tmp_path.iterdir()] == ["control.sock"]

    _with_server(path, story)


def test_a_refusal_arrives_as_it_was_said(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def story() -> None:
        with pytest.raises(RemoteRefusal) as caught:
            await asyncio.to_thread(ask, path, "refuse", {})
        refusal = caught.value
        assert (refusal.public, refusal.code, refusal.param) == (
            "A key is live.",
            "live_key_exists",
            "name",
        )
        assert refusal.status == 409

    _with_server(path, story)


def test_a_command_that_breaks_ends_alone_and_says_nothing_of_the_inside(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def story() -> None:
        with pytest.raises(RemoteRefusal) as caught:
            await asyncio.to_thread(ask, path, "break", {})
        assert caught.value.status == 500
        assert "secret" not in str(caught.value)
        assert await asyncio.to_thread(ask, path, "echo", {})

    _with_server(path, story)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"hello\n",
        b"[]\n",
        b'{"verb": "echo"}\n',
        b'{"verb": 1, "args": {}}\n',
        b'{"verb": "echo", "args": []}\n',
        b'{"verb": "echo", "args": {}, "more": 1}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"verb": "' + b"x" * (LINE_BYTES_MAX + 1) + b'", "args": {}}\n',
    ],
    ids=lambda line: repr(line[:30]),
)
def test_junk_is_refused(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def story() -> None:
        answer = await _send(path, line)
        assert answer["error"]["type"] == "invalid_request_error"
        assert answer["status"] == 400

    _with_server(path, story)


def test_a_path_longer_than_the_system_takes_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    path = folder / "control.sock"

    async def story() -> None:
        assert await asyncio.to_thread(ask, path, "echo", {})

    _with_server(path, story)


def test_no_server_is_told_from_a_strange_one(tmp_path: Path) -> None:
    with pytest.raises(NobodyListens):
        ask(tmp_path / "no" / "control.sock", "echo", {})
    path = tmp_path / "control.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    with pytest.raises(NobodyListens):
        ask(path, "echo", {})  # bound, but not listening: what a crash leaves behind
    listener.listen()

    def be_strange() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.sendall(b"<html>hello</html>\n")
            connection.close()

    strange = threading.Thread(target=be_strange)
    strange.start()
    try:
        with pytest.raises(NotOurServer):
            ask(path, "echo", {})
        assert main(["account", "list", "--data", str(tmp_path)]) == NOT_OURS
    finally:
        strange.join()
        listener.close()
