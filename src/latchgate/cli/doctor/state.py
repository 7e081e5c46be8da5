"""The server that runs, or what the last one left: database, journal, clocks, upstreams, books."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from latchgate import __version__
from latchgate.cli.doctor import machine
from latchgate.cli.doctor.check import FAILED, FINE, WARNING, Check
from latchgate.data_directory import DataDirectory
from latchgate.domain.errors import LatchgateError
from latchgate.http.control_client import NobodyListens, NotOurServer, RemoteRefusal, ask
from latchgate.services.health_checks import books, kept, live

if TYPE_CHECKING:
    from latchgate.cli.place import Place
    from latchgate.config import Settings

Answer = dict[str, Any]


def examine(place: Place, settings: Settings) -> Iterator[Check]:
    """Every check of what runs and of what is kept."""
    try:
        status = ask(place.socket, "status", {})
    except NobodyListens:
        yield _port(settings)
        yield machine.files(None)
        yield from _without_server(place, settings)
        return
    except (NotOurServer, RemoteRefusal) as failure:
        says = f"the control socket gives no sensible answer: {failure}; restart the server"
        yield Check("server", FAILED, says)
        return
    yield _server(status)
    yield machine.files(status["pid"])
    try:
        condition = ask(place.socket, "doctor", {})
    except RemoteRefusal as refusal:
        yield Check("database", FAILED, f"{refusal.public} See the server's log.")
        return
    yield from live(condition)
    yield from kept(condition)
    try:
        yield books(place.perform("audit"))
    except LatchgateError as refusal:
        yield Check("books", FAILED, f"{refusal.public} See the server's log.")


def _server(status: Answer) -> Check:
    says = f"version {status['version']} runs, process {status['pid']}"
    if status["version"] != __version__:
        return Check("server", WARNING, f"{says}; this is {__version__}: restart it")
    return Check("server", FINE, says)


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


# ── what is kept ────────────────────────────────────────────────────────────────────────────────
def _without_server(place: Place, settings: Settings) -> Iterator[Check]:
    data = DataDirectory(place.data_dir)
    if not settings.storage.url and not data.database.exists():
        yield Check("database", FINE, "not there yet; latchgate serve makes it")
        return
    try:
        condition, report = asyncio.run(_look(settings, data))
    except LatchgateError as refusal:
        says = f"{refusal.public} Check storage.url, and that PostgreSQL runs and lets us in."
        yield Check("database", FAILED, says)
        return
    yield from kept(condition)
    if report is not None:
        yield books(report)


async def _look(settings: Settings, data: DataDirectory) -> tuple[Answer, Answer | None]:
    """Read what is there, without settling or upgrading anything as a start would."""
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415 - where no server runs only

    from latchgate.services.condition import audit_alone, examine  # noqa: PLC0415
    from latchgate.services.vault import Vault  # noqa: PLC0415
    from latchgate.storage.store import Store, unavailable  # noqa: PLC0415

    def open_credential(sealed: bytes) -> str:
        if not data.vault_key.is_file():
            raise ValueError("there is no vault.key")
        return Vault(data.vault_key.read_bytes()).open(sealed)

    store = Store(data.database, settings.storage.url)
    try:
        condition = await examine(store, open_credential, data.journal)
        if not condition.is_current:
            return dataclasses.asdict(condition), None
        report = await audit_alone(store, data.journal)
    except OperationalError as error:
        raise unavailable(error) from error
    finally:
        store.close()
    return dataclasses.asdict(condition), {
        "agrees": not report.findings,
        "findings": list(report.findings),
    }
