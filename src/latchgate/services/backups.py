"""Backups: everything that an installation is, taken while it runs, and brought back elsewhere.

The database is copied first and the journals after it: what the copy does not have yet, they do. So
every call that was answered before the backup began is in it, and a restore posts it as a start
after a crash would, once.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import sys
import tomllib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from latchgate.config.reading import FILE_NAME as CONFIG_FILE
from latchgate.data_directory import DataDirectory
from latchgate.domain.errors import Conflict, InvalidRequest
from latchgate.services.archives import Manifest, Source, read_archive
from latchgate.services.audit import AuditReport, audit
from latchgate.services.recovery import Recovered, recover
from latchgate.services.vault import SECRET_BYTES
from latchgate.storage.copies import (
    DATABASE_FILE,
    SQLITE,
    TABLES_FOLDER,
    DatabaseCopy,
    check_sqlite,
    load_postgres,
)
from latchgate.storage.journal_file import epoch_of
from latchgate.storage.schema import list_revisions, migrate
from latchgate.storage.store import Store, unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.config import Settings

log = structlog.get_logger()

JOURNAL_FOLDER, PEPPER, VAULT_KEY = "journal", "pepper", "vault.key"
ALLOWED = re.compile(
    rf"{re.escape(DATABASE_FILE)}|{TABLES_FOLDER}/[a-z_]{{1,63}}"
    rf"|{JOURNAL_FOLDER}/[a-z0-9_]{{1,64}}(?:\.[0-9]{{1,9}})?\.journal"
    rf"|{PEPPER}|{re.escape(VAULT_KEY)}|{re.escape(CONFIG_FILE)}",
    re.ASCII,
)
#: Where a restore gathers everything, until all of it is found to be right.
_UNFINISHED = ".restoring"
#: What a file system of its own has by itself.
_NOBODYS = frozenset({"lost+found"})
#: How a configuration is put aside that names another database than the restored one.
_ASIDE = f"{CONFIG_FILE}.from-backup"


def _of_postgres(*names: str) -> tuple[type[Exception], ...]:
    """What PostgreSQL's driver raises; where nobody uses it, it is not loaded."""
    driver = sys.modules.get("psycopg")
    return () if driver is None else tuple(getattr(driver, name) for name in names)


def _failures() -> tuple[type[Exception], ...]:
    return (OSError, sqlite3.Error, SQLAlchemyError, *_of_postgres("Error"))


# ── taking one ──────────────────────────────────────────────────────────────────────────────────
async def copy_database(store: Store, data: DataDirectory) -> DatabaseCopy:
    """Copy the database into ``data.backup``, in place of what an earlier one has left there.

    Raises Conflict ``backup_failed`` when the disk or the database does not do it.
    """
    shutil.rmtree(data.backup, ignore_errors=True)
    try:
        data.backup.mkdir(mode=0o700)
        copy = await store.copy_to(data.backup)
    except _failures() as error:
        shutil.rmtree(data.backup, ignore_errors=True)
        raise Conflict(
            f"The database could not be copied: {error}.", code="backup_failed"
        ) from error
    except BaseException:
        shutil.rmtree(data.backup, ignore_errors=True)
        raise
    log.info("backup.copied", engine=copy.engine, revision=copy.revision)
    return copy


async def copy_alone(settings: Settings) -> DatabaseCopy:
    """Copy the database where no server runs, as it is: nothing is upgraded, nothing settled.

    Raises Conflict ``data_dir_in_use`` and ``nothing_to_back_up``.
    """
    data = DataDirectory(settings.data_dir)
    data.take()
    try:
        if not settings.storage.url and not data.database.exists():
            raise Conflict(f"There is no database in {data.path}.", code="nothing_to_back_up")
        store = Store(data.database, settings.storage.url)
        try:
            return await copy_database(store, data)
        finally:
            store.close()
    finally:
        data.give_back()


def list_sources(data: DataDirectory, epochs: Collection[str], config: Path) -> list[Source]:
    """What goes into the archive, once the database is copied: each file with its present size."""
    files = {
        str(path.relative_to(data.backup)): path
        for path in sorted(data.backup.rglob("*"))
        if path.is_file()
    }
    for path in sorted(data.journal.glob("*.journal")):
        if epoch_of(path) in epochs:
            files[f"{JOURNAL_FOLDER}/{path.name}"] = path
    # Where no server has run yet, there may be no secrets: a restore would find no key's owner.
    files |= {PEPPER: data.pepper, VAULT_KEY: data.vault_key}
    if config.is_file():
        files[CONFIG_FILE] = config
    return [Source(name, path, path.stat().st_size) for name, path in files.items()]


def check_unchanged(sources: list[Source]) -> None:
    """Raise Conflict when a failing disk has had a journal cut back while it was copied."""
    for source in sources:
        if source.path.stat().st_size < source.size:
            raise Conflict(
                "The disk failed while the backup was made, and took back what was not answered. "
                "Make another one.",
                code="backup_failed",
            )


# ── bringing one back ───────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Restored:
    """What came back, and what the audit says of it."""

    manifest: Manifest
    recovered: tuple[Recovered, ...]
    report: AuditReport
    #: Where the configuration is, if it was put aside.
    config_aside: Path | None


async def restore(archive: IO[bytes], target: Path, *, storage_url: str, now_us: int) -> Restored:
    """Bring a backup back into ``target``, which is empty or not there, and audit it.

    A backup of PostgreSQL fills the database at ``storage_url``, which must be empty. Calls that
    were not posted are posted, running ones are interrupted, and every lease goes back. Raises
    InvalidRequest for an archive that is damaged, foreign or of a newer schema, and Conflict for a
    target that is in use; then nothing is left there.
    """
    with _gathered(target) as folder:
        manifest = await asyncio.to_thread(read_archive, archive, folder, ALLOWED)
        _check(manifest, folder, storage_url)
        aside = _put_config_aside(folder, storage_url)
        store = Store(folder / DATABASE_FILE, storage_url, is_alone=True)
        try:
            found = await store.write(_bring_up, folder, manifest, now_us)
            report = await store.read(audit, journal_folder=folder / JOURNAL_FOLDER)
        except OperationalError as error:
            raise unavailable(error) from error
        except _of_postgres("DataError", "IntegrityError") as error:
            raise InvalidRequest(
                f"The backup's tables are damaged: {str(error).partition(chr(10))[0]}.",
                code="invalid_backup",
            ) from error
        finally:
            store.close()
    return Restored(manifest, tuple(found), report, target / _ASIDE if aside else None)


def _bring_up(conn: Connection, folder: Path, manifest: Manifest, now_us: int) -> list[Recovered]:
    """One transaction: what fails on the way leaves a PostgreSQL database as empty as it was."""
    if manifest.engine != SQLITE:
        load_postgres(conn, folder, manifest.schema_revision)
        shutil.rmtree(folder / TABLES_FOLDER)
    migrate(conn)
    return recover(conn, journal_folder=folder / JOURNAL_FOLDER, now_us=now_us)


def _check(manifest: Manifest, folder: Path, storage_url: str) -> None:
    revision, known = manifest.schema_revision, list_revisions()
    if revision not in known:
        raise InvalidRequest(
            f"The backup is of a newer Latchgate, {manifest.latchgate}: its schema is {revision}, "
            f"and this version knows those up to {known[-1]}. Restore it with that version. "
            "Nothing was restored.",
            code="backup_too_new",
        )
    is_sqlite = manifest.engine == SQLITE
    if is_sqlite and storage_url:
        raise Conflict(
            "The backup is of SQLite, and storage.url names a PostgreSQL database. Restore it "
            "without storage.url.",
            code="other_engine",
        )
    if not is_sqlite and not storage_url:
        raise Conflict(
            "The backup is of PostgreSQL: name an empty database for it in LATCHGATE_STORAGE_URL.",
            code="other_engine",
        )
    if is_sqlite:
        check_sqlite(folder / DATABASE_FILE, revision)
    for name in (PEPPER, VAULT_KEY):
        path = folder / name
        if not path.is_file() or path.stat().st_size != SECRET_BYTES:
            raise InvalidRequest(f"The backup has no whole {name}.", code="invalid_backup")
    (folder / JOURNAL_FOLDER).mkdir(mode=0o700, exist_ok=True)


def _put_config_aside(folder: Path, storage_url: str) -> bool:
    """Keep a configuration from leading to another database, such as that of the original."""
    config = folder / CONFIG_FILE
    try:
        named = tomllib.loads(config.read_text()).get("storage", {}).get("url", "")
    except FileNotFoundError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError):
        named = None
    if named in ("", storage_url):
        return False
    config.rename(folder / _ASIDE)
    return True


@contextmanager
def _gathered(target: Path) -> Iterator[Path]:
    """A folder inside ``target`` whose content moves there at the end; a failure leaves nothing."""
    is_new = not target.exists()
    if not is_new and (not target.is_dir() or {path.name for path in target.iterdir()} - _NOBODYS):
        raise Conflict(
            f"{target} is not an empty directory: name one with --data that is, or a new one.",
            code="data_dir_not_empty",
        )
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = target / _UNFINISHED
    folder.mkdir(mode=0o700)
    try:
        yield folder
        for path in sorted(folder.rglob("*")):
            _sync(path)
        # The database last: without it, nobody takes what is there for an installation.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == DATABASE_FILE):
            path.rename(target / path.name)
        _sync(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if is_new:
            target.rmdir()
        raise
    folder.rmdir()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
