"""Guards copies of a whole database: the same rows come back, or none."""

from __future__ import annotations

import asyncio
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
#: Rows at the beginning, in the middle and at the end, which change together.
CHANGED = ("0000", "1000", "1999")


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


async def test_a_copy_is_of_one_moment_however_much_is_written_meanwhile(
    tmp_path: Path, database_url: str
) -> None:
    store = Store(tmp_path / "latchgate.db", database_url)
    names = [f"{number:04d}" + "x" * 4000 for number in range(2000)]  # many steps of the copying

    def fill(conn: Connection) -> None:
        _fill(conn)
        tag = "INSERT INTO audit_events VALUES (:id, 0, 'a', '', '', '', '', '', :text)"
        conn.execute(text(tag), [{"id": name[:4], "text": name} for name in names])

    def write(conn: Connection, number: int) -> None:
        conn.execute(text("UPDATE accounts SET created_us = :n"), {"n": number})
        tag = f"UPDATE audit_events SET at_us = :n WHERE id IN {CHANGED}"
        conn.execute(text(tag), {"n": number})

    await store.write(fill)
    written = 1
    await store.write(write, written)
    (tmp_path / "copy").mkdir()
    copying = asyncio.create_task(store.copy_to(tmp_path / "copy"))
    while not copying.done():
        written += 1
        await store.write(write, written)
    copy = await copying
    assert written > 2, "nothing was written meanwhile"
    assert len(await _moments(copy.engine, tmp_path / "copy")) == 1
    store.close()


async def _moments(engine: str, folder: Path) -> set[str]:
    """What was written last, as each of the rows has it that every write has changed."""
    if engine == "postgresql":
        rows = {
            name: [
                line.split("\t")
                for line in (folder / "tables" / name).read_text().split("\n")[1:-1]
            ]
            for name in ("accounts", "audit_events")
        }
        accounts = {row[9] for row in rows["accounts"]}
        return accounts | {row[1] for row in rows["audit_events"] if row[0] in CHANGED}
    opened = Store(folder / "latchgate.db")
    query = f"""SELECT created_us FROM accounts UNION
                SELECT at_us FROM audit_events WHERE id IN {CHANGED}"""
    found = await opened.read(lambda conn: set(conn.execute(text(query)).scalars()))
    opened.close()
    return {str(moment) for moment in found}
