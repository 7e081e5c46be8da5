"""The server that runs, or what the last one left: database, journal, clocks, upstreams, books."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from latchgate import __version__
from latchgate.cli.doctor import machine
from latchgate.cli.doctor.check import FAILED, FINE, WARNING, Check
from latchgate.data_directory import DataDirectory
from latchgate.domain.errors import LatchgateError
from latchgate.http.control_client import NobodyListens, NotOurServer, RemoteRefusal, ask

if TYPE_CHECKING:
    from latchgate.cli.place import Place
    from latchgate.config import Settings

Answer = dict[str, Any]
DRAIN_LAG_S_MAX = 60.0
POST_S_MAX = 1.0
#: How far clocks may be apart, in seconds.
CLOCKS_APART_S = 2.0
AHEAD_S_MAX = 60.0
#: No clock of a machine that this can run on is before it (2024).
EARLIEST_S = 1_704_067_200
RESTARTS_MAX = 3
_SECOND_US = 1_000_000


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
    yield from _live(condition)
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


# ── a server that runs ──────────────────────────────────────────────────────────────────────────
def _live(condition: Answer) -> Iterator[Check]:
    if condition["journal_failure"]:
        says = (
            f"it can't be written, and paid calls are refused: {condition['journal_failure']};"
            " make room, or mend the disk: the server goes on by itself"
        )
        yield Check("journal", FAILED, says)
    else:
        yield Check("journal", FINE, "charges reach the disk")
    lag_s, waiting = condition["drain_lag_s"], condition["waiting_calls"]
    says = f"{waiting} calls wait for the database, the first for {lag_s:.0f} s"
    if lag_s > DRAIN_LAG_S_MAX:
        says += "; the log says why they are not posted (drain.failed)"
        yield Check("drain", FAILED, says)
    elif condition["last_post_s"] > POST_S_MAX:
        says += f"; the last batch took {condition['last_post_s']:.1f} s: is its disk busy?"
        yield Check("drain", WARNING, says)
    else:
        yield Check("drain", FINE, says)
    for model in condition["embedded"]:
        yield _embedded(model)


def _embedded(model: Answer) -> Check:
    name = f"model {model['model']}"
    if not model["is_up"]:
        says = "its process does not run: see embedded-*.log in the data directory"
        return Check(name, FAILED, f"{says}, and whether there is memory")
    if model["restarts"] >= RESTARTS_MAX:
        says = f"it has died {model['restarts']} times: see embedded-*.log in the data directory"
        return Check(name, WARNING, f"{says}, and give the machine more memory")
    return Check(name, FINE, "it runs")


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


def kept(condition: Answer) -> Iterator[Check]:
    """The database, the clocks, the journals of the dead, and the upstreams."""
    yield _database(condition)
    yield _clock(condition)
    if condition["unposted_calls"]:
        says = f"{condition['unposted_calls']} calls of a server that was killed are in its journal"
        yield Check("recovery", WARNING, f"{says} only: start the server, which posts them")
    for upstream in condition["upstreams"]:
        name = f"upstream {upstream['name']}"
        problem = upstream["problem"]
        yield Check(name, FAILED if problem else FINE, problem or "it answers, and takes its key")


def _database(condition: Answer) -> Check:
    name, revision, newest = "database", condition["revision"], condition["newest_revision"]
    if condition["damage"]:
        says = f"it is damaged: {condition['damage']}; restore a backup (latchgate restore)"
        return Check(name, FAILED, says)
    if revision == newest:
        return Check(name, FINE, f"schema {revision}, the newest")
    if revision is None or revision < newest:
        says = f"schema {revision}, and this version's is {newest}: back up, then start the server"
        return Check(name, WARNING, f"{says}, which brings it up to date")
    says = f"schema {revision} is of a newer version than this one, which knows {newest}"
    return Check(name, FAILED, f"{says}: run the newer version")


def _clock(condition: Answer) -> Check:
    name, now_s = "clock", time.time()
    newest_us, other_us = condition["newest_us"], condition["database_now_us"]
    if now_s < EARLIEST_S or (newest_us or 0) / _SECOND_US > now_s + AHEAD_S_MAX:
        said = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now_s))
        says = f"it says {said} UTC, which is before what has happened already: set it, by NTP"
        return Check(name, FAILED, says)
    apart_s = 0.0 if other_us is None else abs(other_us / _SECOND_US - now_s)
    if apart_s > CLOCKS_APART_S:
        says = f"PostgreSQL's is {apart_s:.0f} s from this machine's: set both by NTP"
        return Check(name, WARNING, says)
    return Check(name, FINE, "it goes forward")


def books(answer: Answer) -> Check:
    """What the audit says."""
    if not answer["agrees"]:
        says = f"{len(answer['findings'])} disagreements: latchgate audit names them"
        return Check("books", FAILED, says)
    return Check("books", FINE, "journal, postings and balances agree")
