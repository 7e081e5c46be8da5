"""What every table is made of: one naming of constraints, and columns of few kinds.

Times are integer microseconds of our clock, money is integer nano-USD, ids are text.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: 64 bits in every engine; SQLite's STRICT tables know only INTEGER.
Int64 = BigInteger().with_variant(Integer(), "sqlite")


def strict_table(
    name: str,
    *columns: Column[object] | CheckConstraint | Index | PrimaryKeyConstraint,
    is_key_the_table: bool = False,
) -> Table:
    """A table that SQLite holds to its columns' types, and may lay out along its primary key."""
    with_rowid = not is_key_the_table
    return Table(name, metadata, *columns, sqlite_strict=True, sqlite_with_rowid=with_rowid)


def int_column(name: str, *, null: bool = False, default: str | None = None) -> Column[object]:
    """A whole number of 64 bits."""
    return Column(name, Int64, nullable=null, server_default=default and text(default))


def text_column(name: str, *, null: bool = False, unique: bool = False) -> Column[object]:
    """Text."""
    return Column(name, Text, nullable=null, unique=unique or None)


def id_column() -> Column[object]:
    """The primary key: an id of ours."""
    return Column("id", Text, primary_key=True)


def ref_column(
    name: str, target: str, *, null: bool = False, unique: bool = False
) -> Column[object]:
    """The id of a row of another table."""
    return Column(name, Text, ForeignKey(target), nullable=null, unique=unique or None)


def unique_where(condition: str, name: str, column: str) -> Index:
    """At most one row for each value of a column, among those for which this holds."""
    where = text(condition)
    return Index(name, column, unique=True, sqlite_where=where, postgresql_where=where)
