"""The checks of ``latchgate doctor``: one sentence each, and what to do when it is wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latchgate.cli.place import Place
from latchgate.domain.errors import LatchgateError
from latchgate.http.control_client import NobodyListens, NotOurServer, RemoteRefusal, ask

if TYPE_CHECKING:
    from latchgate.config import Settings

FINE, WARNING, FAILED = "ok", "warning", "failed"
PYTHON_MIN = (3, 11)
#: STRICT tables came with it.
SQLITE_MIN = (3, 37, 0)
DISK_BYTES_MIN = 256 * 1024 * 1024
SYNCS = 20
SYNC_SLOW_MS = 20.0
OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO
SECRET_FILES = ("*pepper*", "*.key", "*secret*")


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    name: str
    outcome: str
    says: str


def examine(place: Place) -> list[Check]:
    """Run every check that can be run; none changes anything."""
    checks = [_python(), _sqlite(), *_data_dir(place.data_dir)]
    try:
        settings = place.read_settings().settings
    except LatchgateError as refusal:
        return [*checks, Check("configuration", FAILED, refusal.public)]
    checks.append(Check("configuration", FINE, "every setting is valid"))
    checks.append(_exposure(settings))
    if settings.embedded.enabled:
        checks.append(_weights(settings))
    if settings.embedded.enabled and settings.embedded.embeddings_enabled:
        checks.append(_embeddings(settings))
    return [*checks, *_server(place, settings)]


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON_MIN:
        return Check("Python", FAILED, f"{found}; 3.11 or newer is needed")
    return Check("Python", FINE, found)


def _sqlite() -> Check:
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        return Check("SQLite", FAILED, f"{sqlite3.sqlite_version}; 3.37 or newer is needed")
    return Check("SQLite", FINE, sqlite3.sqlite_version)


def _data_dir(data_dir: Path) -> Iterator[Check]:
    name = "data directory"
    if not data_dir.exists():
        yield Check(name, WARNING, f"{data_dir} is not there yet; latchgate serve makes it")
        return
    if not data_dir.is_dir() or not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        yield Check(name, FAILED, f"{data_dir} is not a directory that we may read and write")
        return
    yield _private(name, data_dir, wanted="0700")
    for path in sorted(path for shape in SECRET_FILES for path in data_dir.glob(shape)):
        yield _private(path.name, path, wanted="0600")
    yield _disk(data_dir)
    yield _sync(data_dir)


def _private(name: str, path: Path, *, wanted: str) -> Check:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS_MAY:
        says = f"other users may open {path} ({mode:04o}): chmod {wanted} {path}"
        return Check(name, FAILED, says)
    return Check(name, FINE, f"{path}, for its owner only")


def _disk(data_dir: Path) -> Check:
    free = shutil.disk_usage(data_dir).free
    says = f"{free / 2**30:.1f} GiB free"
    if free < DISK_BYTES_MIN:
        return Check("disk", FAILED, f"{says}; make room, for charges must be written down")
    return Check("disk", FINE, says)


def _sync(data_dir: Path) -> Check:
    """The time of one ``fdatasync``: what every answer waits for when the journal syncs always."""
    times_ms = []
    with tempfile.TemporaryFile(dir=data_dir) as probe:
        for _ in range(SYNCS):
            os.write(probe.fileno(), bytes(512))
            started_s = time.perf_counter()
            os.fdatasync(probe.fileno())
            times_ms.append((time.perf_counter() - started_s) * 1000)
    median_ms = sorted(times_ms)[SYNCS // 2]
    says = f"fdatasync takes {median_ms:.1f} ms"
    if median_ms > SYNC_SLOW_MS:
        return Check("disk speed", WARNING, f"{says}; every answer waits for one")
    return Check("disk speed", FINE, says)


def _exposure(settings: Settings) -> Check:
    server = settings.server
    if server.is_loopback or server.tls_certificate:
        return Check("exposure", FINE, f"listens on {server.host}")
    says = f"{server.host} is reachable from other machines without TLS"
    return Check("exposure", WARNING if server.insecure_http else FAILED, says)


def _weights(settings: Settings) -> Check:
    from latchgate.runtime.weights import find_weights, verify_weights  # noqa: PLC0415

    is_packaged = not settings.embedded.model_path
    try:
        path = find_weights(settings.embedded.model_path)
        verify_weights(path, is_packaged=is_packaged, data_dir=settings.data_dir)
    except LatchgateError as refusal:
        return Check("embedded model", FAILED, refusal.public)
    return Check("embedded model", FINE, f"{path.name}, {path.stat().st_size / 1e6:.0f} MB")


def _embeddings(settings: Settings) -> Check:
    from latchgate.runtime.embedded import find_embeddings_files  # noqa: PLC0415

    name = "embeddings model"
    try:
        weights, _ = find_embeddings_files(data_dir=settings.data_dir)
    except LatchgateError as refusal:
        return Check(name, FAILED, refusal.public)
    for module in ("onnxruntime", "tokenizers"):
        if importlib.util.find_spec(module) is None:
            return Check(name, FAILED, f"{module} is not installed: run make setup")
    return Check(name, FINE, f"{weights.name}, {weights.stat().st_size / 1e6:.0f} MB")


def _server(place: Place, settings: Settings) -> Iterator[Check]:
    try:
        answer = ask(place.socket, "status", {})
    except NobodyListens:
        yield _port(settings)
    except (NotOurServer, RemoteRefusal) as failure:
        yield Check("server", FAILED, f"the control socket gives no sensible answer: {failure}")
        return
    else:
        yield Check("server", FINE, f"version {answer['version']} runs, process {answer['pid']}")
    if place.data_dir.is_dir():
        yield _books(place)


def _port(settings: Settings) -> Check:
    server = settings.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host.strip("[]"), server.port))
        except OSError as failure:
            says = f"{server.host}:{server.port} cannot be listened on: {failure.strerror}"
            return Check("port", FAILED, f"{says}; choose another with --port")
    return Check("port", FINE, f"no server runs; {server.host}:{server.port} is free")


def _books(place: Place) -> Check:
    try:
        answer = place.perform("audit")
    except LatchgateError as refusal:
        return Check("books", FAILED, refusal.public)
    if not answer["agrees"]:
        says = f"{len(answer['findings'])} disagreements: latchgate audit names them"
        return Check("books", FAILED, says)
    return Check("books", FINE, "journal, postings and balances agree")
