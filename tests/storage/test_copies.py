"""Guards copies of a whole database: the same rows come back, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, inspect, select, text

from latchgate.domain.errors import Conflict, InvalidRequest
from latchgate.storage.copies import check_sqlite, load_postgres
from latchgate.storage.schema import migrate, newest_revision
from latchgate.storage.store import Store
from latchgate.storage.tables import metadata
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.anyio
#: What text can be, and bytes.
STRANGE = "tab\t line\n return\r back\\slash \\N \\. \"quote\" 'x' grün 🗝"
BYTES = bytes(range(256))


@pytest.fixture
def two(postgres: PostgresServer) -> Iterator[tuple[str, str]]:
    """Two empty PostgreSQL databases."""
    with ExitStack() as stack:
        yield stack.enter_context(postgres.database()), stack.enter_context(postgres.database())


def _fill(conn: Connection) -> None:
    migrate(conn)
    account = """INSERT INTO accounts (id, name, state, is_premium_on, time_zone,
                     credit_line_nanos, created_us) VALUES ('a', :name, 'active', 0, 'UTC', 0, 1)"""
    conn.execute(text(account), {"name": STRANGE})
    key = """INSERT INTO api_keys (id, account_id, name, public_id, last_four, secret_hash, state,
                 created_us) VALUES ('k', 'a', '', 'p', '', :hash, 'live', :late)"""
    conn.execute(text(key), {"hash": BYTES, "late": 2**63 - 1})


def _everything(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {
        name: sorted((tuple(row) for row in conn.execute(select(table))), key=repr)
        for name, table in metadata.tables.items()
    }


async def test_a_copy_has_every_row_as_it_was(tmp_path: Path, two: tuple[str, str]) -> None:
    first, second = (Store(tmp_path / "none", url) for url in two)
    await first.write(_fill)
    copy = await first.copy_to(tmp_path)
    assert (copy.engine, copy.revision) == ("postgresql", newest_revision())
    await second.write(load_postgres, tmp_path, copy.revision)
    rows = await second.read(_everything)
    assert rows == await first.read(_everything)
    assert (rows["accounts"][0][1], rows["api_keys"][0][5]) == (STRANGE, BYTES)
    with pytest.raises(Conflict) as refused:
        await second.write(load_postgres, tmp_path, copy.revision)
    assert refused.value.code == "database_not_empty"
    first.close()
    second.close()


async def test_a_damaged_copy_leaves_the_database_empty(
    tmp_path: Path, two: tuple[str, str]
) -> None:
    first, second = (Store(tmp_path / "none", url) for url in two)
    await first.write(_fill)
    copy = await first.copy_to(tmp_path)
    tables = tmp_path / "tables"
    keys = (tables / "api_keys").read_bytes()
    for damage in (keys + b"x\n", keys.replace(b"\ta\t", b"\tgone\t"), keys.replace(b"id", b"no")):
        (tables / "api_keys").write_bytes(damage)
        with pytest.raises(psycopg.Error):
            await second.write(load_postgres, tmp_path, copy.revision)
    (tables / "api_keys").unlink()
    with pytest.raises(InvalidRequest):
        await second.write(load_postgres, tmp_path, copy.revision)
    assert await second.read(lambda conn: inspect(conn).get_table_names()) == []
    first.close()
    second.close()


async def test_a_sqlite_copy_is_a_database_by_itself(tmp_path: Path) -> None:
    store = Store(tmp_path / "latchgate.db")
    await store.write(_fill)
    (tmp_path / "copy").mkdir()
    copy = await store.copy_to(tmp_path / "copy")
    # What comes afterwards is not in it.
    await store.write(lambda conn: conn.execute(text("DELETE FROM api_keys")))
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["latchgate.db"]
    check_sqlite(tmp_path / "copy" / "latchgate.db", copy.revision)
    opened = Store(tmp_path / "copy" / "latchgate.db")
    rows = await opened.read(_everything)
    assert (rows["accounts"][0][1], rows["api_keys"][0][5]) == (STRANGE, BYTES)
    opened.close()
    store.close()
    with pytest.raises(InvalidRequest):
        check_sqlite(tmp_path / "copy" / "latchgate.db", "0001")
