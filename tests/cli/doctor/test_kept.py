"""Guards what the doctor says of what is kept where no server runs, each fault made for real."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import ssl
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from latchgate.services import health_checks
from latchgate.storage.schema import migrate, newest_revision
from latchgate.storage.store import Store
from latchgate.upstream import probe
from tests.cli.doctor.examining import (
    DAY,
    Capture,
    babble_once,
    certificate,
    change,
    checks_of,
    expect,
)
from tests.storage.earlier import VAULT_KEY, fill
from tests.support.model_server import ModelServerThread, Received, answers, send_json
from tests.support.postgres import PostgresServer


def test_a_newer_and_an_older_schema(data: Path, capsys: Capture) -> None:
    change(data, "UPDATE alembic_version SET version_num = '9999'")
    expect(checks_of(data, capsys), "database", "failed", "run the newer version")
    change(data, "UPDATE alembic_version SET version_num = '0001'")
    expect(checks_of(data, capsys), "database", "warning", "back up")
    with closing(sqlite3.connect(data / "latchgate.db")) as conn:
        kept = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    assert kept == ("0001",), "it only looks"


@pytest.mark.parametrize("place", [0, 8192])
def test_a_damaged_database(place: int, data: Path, capsys: Capture) -> None:
    with (data / "latchgate.db").open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 4096)
    expect(checks_of(data, capsys), "database", "failed", "damaged", "latchgate restore")


def test_a_clock_that_was_set_back(data: Path, capsys: Capture) -> None:
    tomorrow_us = int((time.time() + 86_400) * 1_000_000)
    change(data, "UPDATE epochs SET ended_us = ?", tomorrow_us)
    expect(checks_of(data, capsys), "clock", "failed", "NTP")


def test_books_that_disagree(data: Path, capsys: Capture) -> None:
    change(data, "UPDATE ledger_accounts SET balance_nanos = 5 WHERE id = 'revenue'")
    expect(checks_of(data, capsys), "books", "failed", "latchgate audit")


def test_a_port_that_is_taken(data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        monkeypatch.setenv("LATCHGATE_SERVER_PORT", str(listener.getsockname()[1]))
        expect(checks_of(data, capsys), "port", "failed", "--port")


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """What a killed server has left: a call in the journal only, and an upstream's sealed key."""
    folder = tmp_path / "crashed"
    (folder / "journal").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "vault.key").write_bytes(VAULT_KEY)

    async def make() -> None:
        store = Store(folder / "latchgate.db")
        await store.write(migrate, to=newest_revision() or "")
        await store.write(fill, folder / "journal")
        store.close()

    asyncio.run(make())
    for path in folder.iterdir():
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


def test_calls_that_a_killed_server_has_left_and_another_vault_key(
    crashed: Path, capsys: Capture
) -> None:
    change(crashed, "UPDATE upstreams SET base_url = 'http://127.0.0.1:1/v1' WHERE name = 'far'")
    found = checks_of(crashed, capsys)
    expect(found, "recovery", "warning", "1 calls", "start the server")
    expect(found, "upstream far", "failed", "127.0.0.1:1 can't be reached")
    expect(found, "books", "ok")
    (crashed / "vault.key").write_bytes(b"w" * 32)
    expect(checks_of(crashed, capsys), "upstream far", "failed", "vault.key", "backup")
    (crashed / "vault.key").unlink()
    expect(checks_of(crashed, capsys), "upstream far", "failed", "vault.key")
    assert not (crashed / "vault.key").exists()


async def _refuse_key(_request: Received, writer: asyncio.StreamWriter) -> None:
    await send_json(writer, 401, {})


async def _break(_request: Received, writer: asyncio.StreamWriter) -> None:
    await send_json(writer, 503, {})


async def _babble(_request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ready\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("behaviour", "outcome", "word"),
    [
        (answers(), "ok", "takes its key"),
        (_refuse_key, "failed", "refuses its key (401)"),
        (_break, "failed", "answers 503"),
        (_babble, "failed", "can't be reached"),
    ],
)
def test_an_upstream_that_answers_in_its_way(
    behaviour: Any, outcome: str, word: str, crashed: Path, capsys: Capture
) -> None:
    with ModelServerThread(behaviour) as upstream:
        change(crashed, "UPDATE upstreams SET base_url = ? WHERE name = 'far'", upstream.base_url)
        expect(checks_of(crashed, capsys), "upstream far", outcome, word)


def test_an_upstream_that_is_silent_or_has_no_tls(
    crashed: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_S", 1.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        change(crashed, "UPDATE upstreams SET base_url = ? WHERE name = 'far'", url)
        expect(checks_of(crashed, capsys), "upstream far", "failed", "does not answer within")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        change(crashed, "UPDATE upstreams SET base_url = ? WHERE name = 'far'", url)
        thread = babble_once(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        expect(checks_of(crashed, capsys), "upstream far", "failed", "does not speak TLS")
        thread.join()


def test_an_upstream_whose_certificate_nobody_knows(crashed: Path, capsys: Capture) -> None:
    files = certificate(crashed.parent, 90 * DAY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.values())
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        url = f"https://localhost:{listener.getsockname()[1]}/v1"
        change(crashed, "UPDATE upstreams SET base_url = ? WHERE name = 'far'", url)

        def shake_hands() -> None:
            with suppress(OSError):
                context.wrap_socket(listener.accept()[0], server_side=True).close()

        listener.settimeout(60)
        thread = threading.Thread(target=shake_hands)
        thread.start()
        expect(checks_of(crashed, capsys), "upstream far", "failed", "is not accepted")
        thread.join()


def test_a_postgresql_that_is_away_and_one_that_is_there(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer
) -> None:
    monkeypatch.setenv("LATCHGATE_STORAGE_URL", "postgresql://latchgate@127.0.0.1:1/latchgate")
    expect(checks_of(data, capsys), "database", "failed", "storage.url")
    with postgres.database() as url:
        monkeypatch.setenv("LATCHGATE_STORAGE_URL", url)
        found = checks_of(data, capsys)
        expect(found, "database", "warning", "start the server")
        expect(found, "clock", "ok")
        monkeypatch.setattr(health_checks, "CLOCKS_APART_S", -1.0)
        expect(checks_of(data, capsys), "clock", "warning", "by NTP")
