"""SQLite: one connection that writes, and one for each thread that reads.

A WAL-reset corruption is reported for SQLite before 3.51.3 when several connections write and
checkpoint (https://sqlite.org/wal.html), so exactly one connection does either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from latchgate.storage.copies import DatabaseCopy

R = TypeVar("R")

BUSY_TIMEOUT_MS = 5_000
#: Pages of the WAL (4 KiB each) that gather before they are brought into the database: a page that
#: changes often meanwhile is written once.
CHECKPOINT_PAGES = 4_000


class SQLite:
    """One file; only the holder of the data directory opens it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = _engine(path, writes=True)
        self._reader = threading.local()
        self._reading: list[Engine] = []
        self._reading_lock = threading.Lock()

    def write(self, fn: Callable[[Connection], R]) -> R:
        """Run ``fn`` inside BEGIN IMMEDIATE … COMMIT."""
        with self._writing.begin() as conn:
            return fn(conn)

    def read(self, fn: Callable[[Connection], R]) -> R:
        """Run ``fn`` on this thread's reading connection."""
        with self._reading_engine().begin() as conn:
            return fn(conn)

    def _reading_engine(self) -> Engine:
        engine: Engine | None = getattr(self._reader, "engine", None)
        if engine is None:
            engine = _engine(self._path, writes=False)
            self._reader.engine = engine
            with self._reading_lock:
                self._reading.append(engine)
        return engine

    def copy_to(self, folder: Path) -> DatabaseCopy:
        """Copy the file over a reading connection of its own, which never checkpoints."""
        from latchgate.storage.copies import copy_sqlite  # noqa: PLC0415 - rarely needed

        source = _engine(self._path, writes=False)
        try:
            with source.connect() as conn:
                return copy_sqlite(conn.connection.driver_connection, folder)  # type: ignore[arg-type]
        finally:
            source.dispose()

    def close(self) -> None:
        """Close every connection, the writing one last: it brings the WAL into the file."""
        for engine in self._reading:
            engine.dispose()
        self._writing.dispose()


def _engine(path: Path, *, writes: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        hide_parameters=True,  # an error's text may stand in a log
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in _pragmas(writes=writes):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _pragmas(*, writes: bool) -> list[str]:
    shared = [f"busy_timeout = {BUSY_TIMEOUT_MS}", "foreign_keys = ON", "temp_store = MEMORY"]
    if writes:
        return [
            *shared,
            "journal_mode = WAL",
            "synchronous = FULL",
            "secure_delete = ON",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        ]
    return [*shared, "query_only = ON", "wal_autocheckpoint = 0"]
