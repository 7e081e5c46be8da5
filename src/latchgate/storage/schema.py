"""Bring a database to the newest schema, inside the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(conn: Connection, *, to: str = "head") -> None:
    """Run every migration that the database has not seen, as far as ``to``."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, to)


def revision_of(conn: Connection) -> str | None:
    """The schema's revision; None for an empty database."""
    return MigrationContext.configure(conn).get_current_revision()


def newest_revision() -> str | None:
    """The revision that this version of the program brings."""
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head()


def list_revisions() -> list[str]:
    """Every revision that this version of the program can bring up to date, the oldest first."""
    steps = ScriptDirectory(str(_MIGRATIONS)).walk_revisions()
    return [step.revision for step in steps][::-1]
