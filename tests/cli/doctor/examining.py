"""Asks the doctor, and makes faults for him to find."""

from __future__ import annotations

import datetime as dt
import json
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from latchgate.cli.main import main

Capture = pytest.CaptureFixture[str]
Found = dict[str, tuple[str, str]]
DAY = dt.timedelta(days=1)


def checks_of(data: Path, capsys: Capture) -> Found:
    """Each check's outcome and sentence by its name; the exit code says whether one has failed."""
    capsys.readouterr()
    code = main(["doctor", "--data", str(data), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == (0 if answer["well"] else 1)
    has_failed = any(check["outcome"] == "failed" for check in answer["checks"])
    assert answer["well"] == (not has_failed)
    return {check["check"]: (check["outcome"], check["says"]) for check in answer["checks"]}


def expect(found: Found, name: str, outcome: str, *words: str) -> None:
    """A check has ended so, and its sentence has these words."""
    assert name in found, sorted(found)
    assert found[name][0] == outcome, found[name]
    for word in words:
        assert word in found[name][1], found[name]


def change(data: Path, statement: str, *values: object) -> None:
    """Change the database of a directory that no server has."""
    with closing(sqlite3.connect(data / "latchgate.db")) as conn, conn:
        assert conn.execute(statement, values).rowcount > 0


def certificate(folder: Path, ends_in: dt.timedelta) -> dict[str, str]:
    """A certificate and its key, as settings; it ends so long from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - 100 * DAY)
        .not_valid_after(now + ends_in)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "chain.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(secret)
    names = {"certificate": folder / "chain.pem", "key": folder / "key.pem"}
    return {f"LATCHGATE_SERVER_TLS_{name.upper()}": str(path) for name, path in names.items()}


def babble_once(listener: socket.socket, said: bytes) -> threading.Thread:
    """Whoever connects hears this, whatever he says."""

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(said)
        connection.close()

    listener.settimeout(60)
    thread = threading.Thread(target=answer)
    thread.start()
    return thread
