"""PostgreSQL: transactions that act as though alone, and are run again where they were not.

A writing transaction is SERIALIZABLE. When it and another process's can't both have been alone,
PostgreSQL undoes one of them, and its function is called again. A reading one is REPEATABLE READ
and READ ONLY. A connection that is lost while it idles is replaced unnoticed; one that is lost in a
transaction fails it, and the next one connects anew.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg.errors import LockNotAvailable
from psycopg.types.numeric import IntLoader
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.pool import ConnectionPoolEntry

    from latchgate.storage.copies import DatabaseCopy

R = TypeVar("R")

#: How often a transaction is run before its conflict is passed on, and how long it waits between.
ATTEMPTS_MAX = 10
PAUSE_S = 0.005
#: serialization_failure, deadlock_detected
CONFLICTS = frozenset({"40001", "40P01"})
#: What the advisory lock of the database's only writer is called ("latch").
ALONE = 0x6C61746368
#: How long a new writer waits for it: PostgreSQL may not have noticed yet that the last one died.
ALONE_WAIT_MS = 3_000
CONNECT_TIMEOUT_S = 5
#: How long what we have sent may stay unacknowledged before the connection counts as lost.
SILENCE_MAX_MS = 10_000
#: A commit is on PostgreSQL's disk when it returns, whatever its configuration says.
_DURABLE = """SELECT set_config('synchronous_commit', 'on', false)
              WHERE current_setting('synchronous_commit') = 'off'"""


class Postgres:
    """One database on a PostgreSQL server: a connection that writes, and a few that read."""

    def __init__(self, url: str, *, readers: int, is_alone: bool) -> None:
        self._url = url
        self._writing = _engine(url, "SERIALIZABLE", connections=1, is_alone=is_alone)
        self._reading = _engine(url, "REPEATABLE READ", connections=readers).execution_options(
            postgresql_readonly=True
        )

    def write(self, fn: Callable[[Connection], R]) -> R:
        """Run ``fn`` in a SERIALIZABLE transaction, again if it met another one, at most so often.

        Raises OperationalError when it met others each time.
        """
        attempt = 1
        while True:
            try:
                with self._writing.begin() as conn:
                    return fn(conn)
            except DBAPIError as error:
                if attempt == ATTEMPTS_MAX or not _is_conflict(error):
                    raise
            time.sleep(PAUSE_S * attempt * random.random())  # noqa: S311 - nothing is secret here
            attempt += 1

    def read(self, fn: Callable[[Connection], R]) -> R:
        """Run ``fn`` over one snapshot."""
        with self._reading.begin() as conn:
            return fn(conn)

    def copy_to(self, folder: Path) -> DatabaseCopy:
        """Copy every table in one snapshot, over a connection of its own."""
        from latchgate.storage.copies import copy_postgres  # noqa: PLC0415 - rarely needed

        source = _engine(self._url, "REPEATABLE READ", connections=1).execution_options(
            postgresql_readonly=True
        )
        try:
            with source.begin() as conn:
                return copy_postgres(conn, folder)
        finally:
            source.dispose()

    def close(self) -> None:
        """Close every connection."""
        self._reading.dispose()
        self._writing.dispose()


def _is_conflict(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in CONFLICTS


def _engine(url: str, isolation: str, *, connections: int, is_alone: bool = False) -> Engine:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        isolation_level=isolation,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text may stand in a log
        connect_args={
            "application_name": "latchgate",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": SILENCE_MAX_MS,
        },
    )

    @event.listens_for(engine, "connect")
    def configure(connection: psycopg.Connection, _entry: ConnectionPoolEntry) -> None:
        # Every NUMERIC that we ever read is a sum of integers.
        connection.adapters.register_loader("numeric", IntLoader)
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(_DURABLE)
            if is_alone:
                _be_alone(cursor)

    return engine


def _be_alone(cursor: psycopg.Cursor) -> None:
    """Take the lock of the only writer; the connection's end gives it back."""
    cursor.execute(f"SET LOCAL lock_timeout = {ALONE_WAIT_MS}")
    try:
        cursor.execute(f"SELECT pg_advisory_lock({ALONE})")
    except LockNotAvailable:
        raise psycopg.OperationalError("another Latchgate writes to this database") from None
