"""The store: runs plain synchronous functions inside transactions, and alone commits.

    await store.read(fn, …)    fn(conn, …) over one picture of the database; it cannot write
    await store.write(fn, …)   fn(conn, …) inside one transaction, one at a time
    await store.copy_to(…)     the whole database, for a backup

Under it is one of two engines: SQLite (``sqlite.py``), a file in the data directory, or PostgreSQL
(``postgres.py``), where the configuration names one. On either the functions are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from latchgate.domain.errors import Conflict
from latchgate.storage.sqlite import SQLite

if TYPE_CHECKING:
    from latchgate.storage.copies import DatabaseCopy

P = ParamSpec("P")
R = TypeVar("R")

READERS = 2


class Database(Protocol):
    """One engine. ``write`` is called from one thread, ``read`` from a few."""

    def write(self, fn: Callable[[Connection], R]) -> R:
        """Run ``fn`` in a transaction: commit if it returns, undo if it raises."""

    def read(self, fn: Callable[[Connection], R]) -> R:
        """Run ``fn`` over one consistent picture, where writing fails."""

    def copy_to(self, folder: Path) -> DatabaseCopy:
        """Write what is committed by now into files in ``folder``; writers go on meanwhile."""

    def close(self) -> None:
        """Close every connection; nothing runs any more."""


class Store:
    """Transactions over one database: the SQLite file ``path``, or PostgreSQL's at ``url``.

    On PostgreSQL ``is_alone`` keeps other stores that ask for the same from writing there.
    """

    def __init__(self, path: Path, url: str = "", *, is_alone: bool = False) -> None:
        self._database = _postgres(url, is_alone=is_alone) if url else SQLite(path)
        self._write_threads = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    async def write(
        self, fn: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(conn, …)`` in a writing transaction: commit if it returns, undo if it raises.

        PostgreSQL may have it run again from its beginning, so ``fn`` changes nothing but rows.
        Raises SQLAlchemyError when the database can't be reached; a transaction whose connection
        was lost at its very end may have been done.
        """

        def work(conn: Connection) -> R:
            return fn(conn, *args, **kwargs)

        transaction = partial(self._database.write, work)
        return await asyncio.get_running_loop().run_in_executor(self._write_threads, transaction)

    async def read(
        self, fn: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``fn(conn, …)`` over one consistent picture of the database; writing in it fails."""

        def work(conn: Connection) -> R:
            return fn(conn, *args, **kwargs)

        transaction = partial(self._database.read, work)
        return await asyncio.get_running_loop().run_in_executor(self._read_threads, transaction)

    async def copy_to(self, folder: Path) -> DatabaseCopy:
        """Write everything that is committed by now into files in ``folder``, which is empty.

        It takes a connection and a thread of its own, and no other transaction waits for it.
        """
        return await asyncio.to_thread(self._database.copy_to, folder)

    def close(self) -> None:
        """Wait for what runs, then close every connection."""
        self._read_threads.shutdown()
        self._write_threads.shutdown()
        self._database.close()


def unavailable(error: OperationalError) -> Conflict:
    """The refusal of whoever needs a database that can't be reached, or is not ours to use."""
    return Conflict(
        f"The database can't be used: {str(error.orig).strip()}", code="database_unavailable"
    )


def _postgres(url: str, *, is_alone: bool) -> Database:
    from latchgate.storage.postgres import Postgres  # noqa: PLC0415 - most installations need none

    return Postgres(url, readers=READERS, is_alone=is_alone)
