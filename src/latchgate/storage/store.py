"""The store: runs plain synchronous functions inside transactions, and alone commits.

    await store.read(fn, …)    fn(conn, …) on a connection that cannot write
    await store.write(fn, …)   fn(conn, …) inside BEGIN IMMEDIATE … COMMIT, one at a time

SQLite here is one writer thread with one connection and a few reading ones. A WAL-reset
corruption is reported for SQLite before 3.51.3 when several connections write and checkpoint
(https://sqlite.org/wal.html), so exactly one connection does either.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

P = ParamSpec("P")
R = TypeVar("R")

READERS = 2
BUSY_TIMEOUT_MS = 5_000
#: Pages of the WAL (4 KiB each) that gather before they are brought into the database: a page that
#: changes often meanwhile is written once.
CHECKPOINT_PAGES = 4_000


class Store:
    """Transactions over one SQLite file; only the holder of the data directory opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _engine(path, writes=True)
        self._write_threads = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._reader = threading.local()
        self._reading: list[Engine] = []
        self._reading_lock = threading.Lock()

    async def write(
        self, fn: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(conn, …)`` in a writing transaction: commit if it returns, undo if it raises."""

        def transaction() -> R:
            with self._engine.begin() as conn:
                return fn(conn, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._write_threads, transaction)

    async def read(
        self, fn: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(conn, …)`` over one consistent picture of the database; writing in it fails."""

        def transaction() -> R:
            with self._reading_engine().begin() as conn:
                return fn(conn, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._read_threads, transaction)

    def _reading_engine(self) -> Engine:
        engine: Engine | None = getattr(self._reader, "engine", None)
        if engine is None:
            engine = _engine(self.path, writes=False)
            self._reader.engine = engine
            with self._reading_lock:
                self._reading.append(engine)
        return engine

    def close(self) -> None:
        """Wait for what runs, then close every connection, the writing one last."""
        self._read_threads.shutdown()
        self._write_threads.shutdown()
        for engine in self._reading:
            engine.dispose()
        self._engine.dispose()


def _engine(path: Path, *, writes: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
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
