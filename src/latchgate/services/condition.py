"""How an installation is: what ``latchgate doctor`` asks of a server, or of what one has left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError

from latchgate.clock import SECOND_US
from latchgate.domain.embedded import EMBEDDED_SCHEME
from latchgate.services.audit import AuditReport, audit
from latchgate.storage.catalog import list_upstreams
from latchgate.storage.journal_file import CloseRecord, scan
from latchgate.storage.leases import list_open_epochs
from latchgate.storage.schema import newest_revision, revision_of
from latchgate.storage.tables import epochs
from latchgate.upstream.probe import probe
from latchgate.upstream.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: Upstreams that are asked, all at once.
UPSTREAMS_MAX = 64


@dataclass(frozen=True, slots=True)
class UpstreamCondition:
    """What is wrong with an upstream, and what to do; empty when nothing is."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What the database and the journals say, and the upstreams."""

    revision: str | None
    newest_revision: str
    #: What SQLite finds damaged in its file; empty when nothing is.
    damage: str
    #: The last moment that the database knows of, and its own clock's; None where there is none.
    newest_us: int | None
    database_now_us: int | None
    #: Calls that only the journals of dead epochs have.
    unposted_calls: int
    upstreams: tuple[UpstreamCondition, ...]

    @property
    def is_current(self) -> bool:
        """Whether the schema is this version's."""
        return self.revision == self.newest_revision


async def examine(
    store: Store,
    open_credential: Callable[[bytes], str],
    journal_folder: Path,
    *,
    living: str | None = None,
) -> Condition:
    """Look at everything; ``living`` is the epoch that goes on. Raises OperationalError."""
    condition, rows = await store.read(_look, journal_folder, living)
    probes = [asyncio.to_thread(probe_row, row, open_credential) for row in rows[:UPSTREAMS_MAX]]
    problems = await asyncio.gather(*probes)
    found = (
        UpstreamCondition(row.name, problem) for row, problem in zip(rows, problems, strict=False)
    )
    return replace(condition, upstreams=tuple(found))


async def audit_alone(store: Store, journal_folder: Path) -> AuditReport:
    """The audit of what no server has open."""
    return await store.read(audit, journal_folder=journal_folder)


def _look(
    conn: Connection, journal_folder: Path, living: str | None
) -> tuple[Condition, Sequence[AnyRow]]:
    """What the database says, and the upstreams that are to be asked."""
    damage, newest = _damage(conn), newest_revision() or ""
    revision = None if damage else revision_of(conn)
    condition = Condition(revision, newest, damage, None, _now_of(conn), 0, ())
    if not condition.is_current:
        return condition, ()  # its tables may be others
    latest = conn.execute(select(func.max(epochs.c.started_us), func.max(epochs.c.ended_us))).one()
    unposted = sum(
        _unposted(journal_folder, epoch_id, offset)
        for epoch_id, offset in list_open_epochs(conn)
        if epoch_id != living
    )
    known_us = max((moment for moment in latest if moment is not None), default=None)
    rows = [row for row in list_upstreams(conn) if not row.base_url.startswith(EMBEDDED_SCHEME)]
    return replace(condition, newest_us=known_us, unposted_calls=unposted), rows


def _damage(conn: Connection) -> str:
    if conn.dialect.name != "sqlite":
        return ""
    try:
        said = conn.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    except DatabaseError as error:
        return str(error.orig)
    return "" if said == "ok" else str(said)


def _now_of(conn: Connection) -> int | None:
    """A database server has a clock of its own."""
    if conn.dialect.name == "sqlite":
        return None
    seconds: float = conn.exec_driver_sql(
        "SELECT extract(epoch FROM clock_timestamp())::double precision"
    ).scalar_one()
    return int(seconds * SECOND_US)


def _unposted(folder: Path, epoch_id: str, offset: int) -> int:
    return sum(
        isinstance(record, CloseRecord) and behind > offset
        for behind, record in scan(folder, epoch_id)
    )


def probe_row(row: AnyRow, open_credential: Callable[[bytes], str]) -> str:
    """What is wrong with an upstream, in a sentence; empty when nothing is. Blocks for seconds."""
    sealed = row.credential_sealed
    try:
        credential = None if sealed is None else open_credential(sealed)
    except ValueError:
        return (
            "its key can't be read with this vault.key: bring vault.key back from a backup, or"
            " remove the upstream and add it anew"
        )
    return probe(Target.parse(row.name, row.base_url, credential))
