"""Guards what the doctor says of a server that runs, each fault made for real."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from latchgate.cli.doctor import state
from latchgate.services import health_checks
from tests.cli.doctor.examining import Capture, babble_once, checks_of, expect
from tests.fault.crowd import Crowd, prepare
from tests.support.model_server import ModelServerThread, answers
from tests.support.server import ServerProcess


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[ServerProcess, Crowd]]:
    """A running server with an upstream, and somebody who can call it."""
    with ModelServerThread(answers()) as upstream:
        data = tmp_path / "data"
        secrets = asyncio.run(prepare(data, upstream.base_url))
        with ServerProcess(data, "--no-embedded-model") as server:
            yield server, Crowd(server.port, *secrets)


def _call(crowd: Crowd) -> int:
    return asyncio.run(crowd.call(is_rich=True, is_stream=False)).status


def test_a_running_server_that_is_well(
    busy: tuple[ServerProcess, Crowd], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, crowd = busy
    assert _call(crowd) == 200
    found = checks_of(server.data, capsys)
    assert {outcome for outcome, _ in found.values()} == {"ok"}, found
    assert {"server", "journal", "drain", "upstream fake", "books", "open files"} <= set(found)
    monkeypatch.setattr(state, "__version__", "99.0")
    expect(checks_of(server.data, capsys), "server", "warning", "restart it")
    monkeypatch.setattr(health_checks, "POST_S_MAX", 0.0)
    expect(checks_of(server.data, capsys), "drain", "warning", "is its disk busy?")


def test_a_running_server_with_few_files_and_a_full_disk(
    busy: tuple[ServerProcess, Crowd], capsys: Capture
) -> None:
    server, crowd = busy
    assert server.process is not None
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (512, hard))
    expect(checks_of(server.data, capsys), "open files", "warning", "LimitNOFILE")
    assert _call(crowd) == 200  # there is money on lease now, and only the journal is asked
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8, resource.RLIM_INFINITY))
    assert _call(crowd) == 503
    expect(checks_of(server.data, capsys), "journal", "failed", "make room")
    # Charges of before the disk was full are not in the database either.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    while _call(crowd) != 200:
        time.sleep(0.1)
    assert server.cli("audit")["agrees"]
    found = checks_of(server.data, capsys)
    expect(found, "journal", "ok")
    expect(found, "drain", "ok")


def test_a_database_that_takes_no_charges(
    busy: tuple[ServerProcess, Crowd], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, crowd = busy
    assert _call(crowd) == 200
    server.cli("audit")  # which posts it
    with closing(sqlite3.connect(server.data / "latchgate.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # and now nobody else writes
        assert _call(crowd) == 200
        monkeypatch.setattr(health_checks, "DRAIN_LAG_S_MAX", 0.0)
        time.sleep(0.01)
        condition = state.ask(server.data / "control.sock", "doctor", {})
        (check,) = [one for one in health_checks.live(condition) if one.name == "drain"]
        assert (check.outcome, condition["waiting_calls"]) == ("failed", 1)
        assert "drain.failed" in check.says
        other.execute("ROLLBACK")
    expect(checks_of(server.data, capsys), "books", "ok")


def test_what_is_no_server_of_ours(data: Path, capsys: Capture) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(data / "control.sock"))
        (data / "control.sock").chmod(0o600)
        listener.listen()
        thread = babble_once(listener, b"HTTP/1.1 400 Bad Request\r\n")
        expect(checks_of(data, capsys), "server", "failed", "restart the server")
        thread.join()


def test_an_embedded_model_that_dies_again_and_again(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_checks, "RESTARTS_MAX", 1)
    name = "model all-minilm-l6-v2"
    with ServerProcess(tmp_path / "data") as server:
        assert server.process is not None
        expect(checks_of(server.data, capsys), name, "ok")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
        # They are started again soon, and the doctor looks at much else: here, only at them.
        while (check := _embedded(server)[name]).outcome == "ok":
            time.sleep(0.01)
        assert check.outcome == "failed"
        assert "embedded-*.log" in check.says
        while _embedded(server)[name].outcome == "failed":
            time.sleep(0.1)
        found = checks_of(server.data, capsys)
        expect(found, name, "warning", "has died 1 times", "more memory")


def _embedded(server: ServerProcess) -> dict[str, health_checks.Check]:
    condition = state.ask(server.data / "control.sock", "doctor", {})
    checks = map(health_checks.of_embedded, condition["embedded"])
    return {check.name: check for check in checks}
