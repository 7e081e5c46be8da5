"""Statements that SQLAlchemy Core spells differently for each engine."""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Table
from sqlalchemy.dialects import postgresql, sqlite

#: A result row; its columns are named where it is read.
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


def insert_once(conn: Connection, table: Table, **values: object) -> bool:
    """Insert a row unless its key is taken. False: it was there, and nothing changed."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(values).on_conflict_do_nothing()
    # Not every driver's count of inserted rows outlives its cursor.
    kept = {"preserve_rowcount": True}
    return conn.execute(statement, execution_options=kept).rowcount == 1
