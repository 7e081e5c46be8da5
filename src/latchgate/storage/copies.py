"""A copy of a whole database at one moment, in files: what a backup takes, and a restore brings.

SQLite      latchgate.db, by SQLite's own online backup
PostgreSQL  tables/NAME, each as COPY writes it, all in one transaction
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sqlalchemy import Connection, inspect

from latchgate.domain.errors import Conflict, InvalidRequest
from latchgate.storage.schema import READ_REVISION, REVISION_TABLE, migrate

if TYPE_CHECKING:
    from psycopg import Cursor

SQLITE, POSTGRESQL = "sqlite", "postgresql"
DATABASE_FILE = "latchgate.db"
TABLES_FOLDER = "tables"
_BLOCK_BYTES = 1024 * 1024
#: SQLite's pages (4 KiB) that are copied at once, and how long it rests after them.
_STEP_PAGES = 256
_PAUSE_S = 0.01
_EPOCHS = "SELECT id FROM epochs"


@dataclass(frozen=True, slots=True)
class DatabaseCopy:
    """What was copied: from which engine, of which schema, with which epochs' charges."""

    engine: str
    revision: str
    epochs: tuple[str, ...]


def copy_sqlite(source: sqlite3.Connection, folder: Path) -> DatabaseCopy:
    """Write ``latchgate.db`` into ``folder``: everything that is committed as this begins.

    Writers go on meanwhile; it goes by small steps, and each leaves the disk to them for a moment.
    Raises Conflict ``nothing_to_back_up`` for a database that has no schema yet.
    """
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as copy:
        # Nobody relies on the copy after a power cut, and a sync of all of it would hold up theirs.
        copy.execute("PRAGMA synchronous = OFF")
        # One picture for all steps: without it, each commit would have the copying begin anew.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(copy, pages=_STEP_PAGES, progress=_pause)
        source.execute("ROLLBACK")
        try:
            (revision,) = copy.execute(READ_REVISION).fetchone()
        except (sqlite3.OperationalError, TypeError):
            raise _nothing() from None
        epochs = tuple(row[0] for row in copy.execute(_EPOCHS))
    return DatabaseCopy(SQLITE, revision, epochs)


def copy_postgres(conn: Connection, folder: Path) -> DatabaseCopy:
    """Write every table into ``folder``, as ``conn``'s transaction sees it."""
    from psycopg import sql  # noqa: PLC0415 - most installations need none

    tables = _tables(conn)
    if REVISION_TABLE not in tables:
        raise _nothing()
    (folder / TABLES_FOLDER).mkdir(mode=0o700)
    with _cursor(conn) as cursor:
        for name in tables:
            command = sql.SQL("COPY {} TO STDOUT (FORMAT text, HEADER)")
            with (
                (folder / TABLES_FOLDER / name).open("wb") as file,
                cursor.copy(command.format(sql.Identifier(name))) as rows,
            ):
                for piece in rows:
                    file.write(piece)
    revision = conn.exec_driver_sql(READ_REVISION).scalar_one()
    epochs = tuple(conn.exec_driver_sql(_EPOCHS).scalars())
    return DatabaseCopy(POSTGRESQL, revision, epochs)


def _pause(_status: int, _remaining: int, _total: int) -> None:
    time.sleep(_PAUSE_S)


def check_sqlite(path: Path, revision: str) -> None:
    """Raise InvalidRequest unless the file is a whole database of that revision."""
    try:
        with closing(sqlite3.connect(path)) as conn:
            is_whole = conn.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            found = conn.execute(READ_REVISION).fetchone()
    except sqlite3.DatabaseError:
        is_whole, found = False, None
    if not is_whole or found != (revision,):
        raise InvalidRequest(
            "The backup's database is damaged, or of another revision than the backup says.",
            code="invalid_backup",
        )


def load_postgres(conn: Connection, folder: Path, revision: str) -> None:
    """Fill an empty database from ``folder``. Raises Conflict ``database_not_empty``."""
    from psycopg import sql  # noqa: PLC0415 - as above

    if inspect(conn).get_table_names():
        raise Conflict(
            "The database that storage.url names has tables already. Name an empty one.",
            code="database_not_empty",
        )
    migrate(conn, to=revision)
    missing = [name for name in _tables(conn) if not (folder / TABLES_FOLDER / name).is_file()]
    if missing:
        raise InvalidRequest(f"The backup has no table {missing[0]}.", code="invalid_backup")
    names = [name for name in _tables(conn) if name != REVISION_TABLE]
    with _cursor(conn) as cursor:
        # A schema may bring rows of its own; the backup has them as they had become.
        cursor.execute(
            sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, names)))
        )
        for name in names:
            command = sql.SQL("COPY {} FROM STDIN (FORMAT text, HEADER MATCH)")
            with (
                (folder / TABLES_FOLDER / name).open("rb") as file,
                cursor.copy(command.format(sql.Identifier(name))) as rows,
            ):
                for block in _blocks(file):
                    rows.write(block)


def _tables(conn: Connection) -> list[str]:
    """Every table's name, each behind those that it refers to."""
    ordered = inspect(conn).get_sorted_table_and_fkc_names()
    return [name for name, _ in ordered if name is not None]


def _cursor(conn: Connection) -> Cursor:
    cursor: Cursor = conn.connection.cursor()  # type: ignore[assignment]
    return cursor


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _nothing() -> Conflict:
    return Conflict(
        "There is nothing to back up: no server has run on this data directory yet.",
        code="nothing_to_back_up",
    )
