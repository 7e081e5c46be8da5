"""Bring a database to the newest schema, inside the caller's transaction.

A migration's file begins with its revision. Alembic is loaded when there is something to migrate:
it would be a tenth of a server's memory.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect

_MIGRATIONS = Path(__file__).parent / "migrations"
REVISION_TABLE = "alembic_version"
READ_REVISION = f"SELECT version_num FROM {REVISION_TABLE}"  # noqa: S608 - a name of ours


def migrate(conn: Connection, *, to: str = "head") -> None:
    """Run every migration that the database has not seen, as far as ``to``."""
    if to == "head" and revision_of(conn) == newest_revision():
        return
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, to)


def revision_of(conn: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    if not inspect(conn).has_table(REVISION_TABLE):
        return None
    revision: str | None = conn.exec_driver_sql(READ_REVISION).scalar_one_or_none()
    return revision


def newest_revision() -> str:
    """The revision that this version of the program brings."""
    return list_revisions()[-1]


def list_revisions() -> list[str]:
    """Every revision that this version of the program can bring up to date, the oldest first."""
    files = (_MIGRATIONS / "versions").glob("[0-9]*_*.py")
    return sorted(file.name.partition("_")[0] for file in files)
