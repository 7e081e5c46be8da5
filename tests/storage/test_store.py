"""Guards the store: who may write, what a failure leaves, and who may open a data directory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from latchgate.app import open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings, StorageSettings
from latchgate.data_directory import DataDirectory
from latchgate.domain.errors import Conflict
from latchgate.storage.postgres import ATTEMPTS_MAX
from latchgate.storage.store import READERS, Store
from tests.support.postgres import PostgresServer
from tests.support.server import ROOT, environment

pytestmark = pytest.mark.anyio
REFUSED = 1


def _make(conn: Connection) -> None:
    conn.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY, word TEXT)"))
    conn.execute(text("CREATE TABLE tags (note_id INTEGER REFERENCES notes (id))"))
    conn.execute(text("INSERT INTO notes VALUES (1, 'first')"))


def _run(conn: Connection, sql: str) -> None:
    conn.execute(text(sql))


def _count(conn: Connection) -> int:
    count: int = conn.execute(text("SELECT count(*) FROM notes")).scalar_one()
    return count


def _words(conn: Connection) -> list[str]:
    return list(conn.execute(text("SELECT word FROM notes ORDER BY id")).scalars())


def _pragma(conn: Connection, name: str) -> object:
    return conn.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.fixture
async def store(tmp_path: Path, database_url: str) -> AsyncIterator[Store]:
    """A store over a new database with one row, on either engine."""
    opened = Store(tmp_path / "notes.db", database_url)
    await opened.write(_make)
    yield opened
    opened.close()


@pytest.fixture
async def file_store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store over a new file of SQLite's with one row."""
    opened = Store(tmp_path / "notes.db")
    await opened.write(_make)
    yield opened
    opened.close()


# ── reading ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO notes VALUES (2, 'second')",
        "UPDATE notes SET word = 'changed'",
        "DELETE FROM notes",
        "DROP TABLE notes",
        "CREATE TABLE more (id INTEGER)",
    ],
)
async def test_a_read_cannot_write(store: Store, sql: str) -> None:
    with pytest.raises(DBAPIError, match=r"readonly database|read-only transaction"):
        await store.read(_run, sql)
    assert await store.read(_count) == 1


async def test_an_errors_text_has_no_parameters_for_it_may_stand_in_a_log(store: Store) -> None:
    def run(conn: Connection) -> None:
        conn.execute(text("INSERT INTO notes VALUES (1, :word)"), {"word": "what was typed"})

    with pytest.raises(IntegrityError) as failed:
        await store.write(run)
    assert "what was typed" not in str(failed.value)


async def test_a_read_keeps_one_picture_while_others_write(store: Store) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def look_twice(conn: Connection) -> tuple[int, int]:
        before = _count(conn)
        has_begun.set()
        assert may_end.wait(30)
        return before, _count(conn)

    looking = asyncio.create_task(store.read(look_twice))
    assert await asyncio.to_thread(has_begun.wait, 30)
    await store.write(_run, "INSERT INTO notes VALUES (2, 'second')")
    may_end.set()
    assert await looking == (1, 1)
    assert await store.read(_count) == 2


async def test_a_write_is_seen_by_every_read_that_begins_after_it(store: Store) -> None:
    for number in range(2, 50):
        await store.write(_run, f"INSERT INTO notes VALUES ({number}, 'more')")
        counts = await asyncio.gather(*(store.read(_count) for _ in range(2 * READERS)))
        assert set(counts) == {number}


# ── writing ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_write_that_raises_leaves_nothing(store: Store) -> None:
    def fail(conn: Connection) -> None:
        conn.execute(text("INSERT INTO notes VALUES (2, 'second')"))
        conn.execute(text("DELETE FROM notes WHERE id = 1"))
        conn.execute(text("CREATE TABLE more (id INTEGER)"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(fail)
    assert not await store.read(lambda conn: inspect(conn).has_table("more"))
    words = await store.read(lambda conn: conn.execute(text("SELECT word FROM notes")).all())
    assert words == [("first",)]
    await store.write(_run, "INSERT INTO notes VALUES (2, 'second')")
    assert await store.read(_count) == 2


async def test_a_statement_that_fails_takes_its_transaction_with_it(store: Store) -> None:
    def fail(conn: Connection) -> None:
        conn.execute(text("INSERT INTO notes VALUES (2, 'second')"))
        conn.execute(text("INSERT INTO tags VALUES (99)"))

    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        await store.write(fail)
    assert await store.read(_count) == 1


async def test_concurrent_writes_come_one_after_the_other(store: Store) -> None:
    inside = 0
    most = 0

    def add(conn: Connection) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        newest: int = conn.execute(text("SELECT max(id) FROM notes")).scalar_one()
        time.sleep(0.001)  # long enough for a second writer to read the same
        conn.execute(text("INSERT INTO notes VALUES (:id, '')"), {"id": newest + 1})
        inside -= 1

    await asyncio.gather(*(store.write(add) for _ in range(100)))
    assert most == 1
    assert await store.read(_count) == 101


async def test_a_write_whose_caller_has_gone_is_done_wholly(store: Store) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        conn.execute(text("INSERT INTO notes VALUES (2, 'second')"))
        has_begun.set()
        assert may_end.wait(30)
        conn.execute(text("INSERT INTO notes VALUES (3, 'third')"))

    writing = asyncio.create_task(store.write(slow))
    assert await asyncio.to_thread(has_begun.wait, 30)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await store.read(_count) == 1
    may_end.set()
    assert await store.write(_count) == 3


# ── the file ────────────────────────────────────────────────────────────────────────────────────
async def test_a_commit_is_on_the_disk_and_references_are_held(file_store: Store) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    assert {name: await file_store.write(_pragma, name) for name in wanted} == wanted


async def test_every_reader_is_barred_from_writing_and_from_checkpoints(file_store: Store) -> None:
    wanted = {"journal_mode": "wal", "foreign_keys": 1, "query_only": 1, "wal_autocheckpoint": 0}
    together = threading.Barrier(READERS)  # each of them on a connection of its own

    def look(conn: Connection) -> tuple[int, dict[str, object]]:
        together.wait(30)
        return threading.get_ident(), {name: _pragma(conn, name) for name in wanted}

    found = dict(await asyncio.gather(*(file_store.read(look) for _ in range(READERS))))
    assert list(found.values()) == [wanted] * READERS


async def test_a_closed_store_leaves_one_whole_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "notes.db")
    await store.write(_make)
    assert await store.read(_count) == 1
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.db"]


async def test_what_is_deleted_is_gone_from_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "notes.db")
    await store.write(_make)
    await store.write(_run, "INSERT INTO notes VALUES (2, 'a-word-to-forget')")
    await store.write(_run, "DELETE FROM notes WHERE id = 2")
    store.close()
    assert b"first" in (tmp_path / "notes.db").read_bytes()
    assert b"a-word-to-forget" not in (tmp_path / "notes.db").read_bytes()


WRITER = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import text
from latchgate.storage.store import Store

async def run() -> None:
    store = Store(Path(sys.argv[1]))
    await store.write(lambda conn: conn.execute(text("CREATE TABLE notes (id INTEGER) STRICT")))
    for number in range(1_000_000):
        sql = text(f"INSERT INTO notes VALUES ({number}), ({number})")
        await store.write(lambda conn: conn.execute(sql))
        print(number, flush=True)

asyncio.run(run())
"""


def _write_until_killed(path: Path) -> int:
    """Let a process commit pairs of rows, kill it; how many pairs it said were committed."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), cwd=ROOT) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(200)]
        writer.kill()
        return len(lines + writer.stdout.read().splitlines())


async def test_a_killed_process_keeps_what_it_committed_and_no_halves(tmp_path: Path) -> None:
    told = await asyncio.to_thread(_write_until_killed, tmp_path / "notes.db")
    store = Store(tmp_path / "notes.db")
    rows = await store.read(_count)
    assert rows in {2 * told, 2 * told + 2}  # the last commit may not have been told any more
    assert await store.read(_pragma, "integrity_check") == "ok"
    store.close()


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
async def postgres_store(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Store]:
    """A store over a new database of PostgreSQL's with one row."""
    with postgres.database() as url:
        opened = Store(tmp_path / "unused.db", url)
        await opened.write(_make)
        yield opened
        opened.close()


async def test_a_write_that_met_another_is_run_again(postgres_store: Store) -> None:
    words: list[str] = []

    def look_and_change(conn: Connection) -> None:
        words.append(conn.execute(text("SELECT word FROM notes WHERE id = 1")).scalar_one())
        if len(words) == 1:
            with psycopg.connect(conn.connection.dbapi_connection.info.dsn) as other:
                other.execute("UPDATE notes SET word = 'theirs' WHERE id = 1")
        conn.execute(text("UPDATE notes SET word = word || ', ours' WHERE id = 1"))

    await postgres_store.write(look_and_change)
    assert words == ["first", "theirs"]
    assert await postgres_store.read(_words) == ["theirs, ours"]


async def test_a_write_that_always_meets_another_gives_up(postgres_store: Store) -> None:
    runs = 0

    def conflict(conn: Connection) -> None:
        nonlocal runs
        runs += 1
        conn.execute(text("UPDATE notes SET word = 'lost' WHERE id = 1"))
        conn.execute(text("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$"))

    with pytest.raises(OperationalError):
        await postgres_store.write(conflict)
    assert runs == ATTEMPTS_MAX
    assert await postgres_store.read(_words) == ["first"]


async def test_sums_are_whole_numbers_and_commits_are_durable(postgres_store: Store) -> None:
    def look(conn: Connection) -> tuple[object, object]:
        total = conn.execute(text("SELECT sum(CAST(id AS BIGINT) << 62) FROM notes")).scalar()
        return total, conn.execute(text("SHOW synchronous_commit")).scalar()

    total, synchronous = await postgres_store.write(look)
    assert (total, type(total), synchronous) == (2**62, int, "on")


async def test_a_lost_connection_fails_one_transaction(postgres_store: Store) -> None:
    def be_cut_off(conn: Connection) -> None:
        conn.execute(text("INSERT INTO notes VALUES (2, 'second')"))
        conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(OperationalError):
        await postgres_store.write(be_cut_off)
    await postgres_store.write(_run, "INSERT INTO notes VALUES (3, 'third')")
    assert await postgres_store.read(_words) == ["first", "third"]


async def test_two_installations_cannot_write_to_one_database(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    with postgres.database() as url:
        first = Settings(data_dir=tmp_path / "first", storage=StorageSettings(url))
        second = Settings(data_dir=tmp_path / "second", storage=StorageSettings(url))
        world = await open_world(first)
        with pytest.raises(Conflict, match="another Latchgate") as caught:
            await open_world(second)
        assert caught.value.code == "database_unavailable"
        await world.close()
        await (await open_world(second)).close()


async def test_a_database_that_is_not_there_is_one_clear_refusal(tmp_path: Path) -> None:
    url = f"postgresql://latchgate:hidden@/none?host={tmp_path}"
    with pytest.raises(Conflict) as caught:
        await open_world(Settings(data_dir=tmp_path / "data", storage=StorageSettings(url)))
    assert caught.value.code == "database_unavailable"
    assert "hidden" not in caught.value.public


# ── the data directory ──────────────────────────────────────────────────────────────────────────
def _serve(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "latchgate.cli", "serve", "--no-embedded-model"]
    return subprocess.run(
        [*command, "--port", "0", "--data", str(folder)],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        check=False,
    )


async def test_a_second_process_cannot_serve_a_directory_that_is_in_use(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", embedded=EmbeddedSettings(enabled=False))
    world = await open_world(settings, serving=True)
    refused = await asyncio.to_thread(_serve, tmp_path / "data")
    assert refused.returncode == REFUSED
    assert "Another process uses" in refused.stderr
    assert "Traceback" not in refused.stderr
    with pytest.raises(Conflict) as caught:
        await open_world(settings)
    assert caught.value.code == "data_dir_in_use"
    assert (await world.audit()).findings == ()
    await world.close()
    await (await open_world(settings)).close()


def test_a_killed_holder_locks_nobody_out(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from latchgate.data_directory import DataDirectory\n"
        "DataDirectory(Path(sys.argv[1])).take(); print('taken', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    data = DataDirectory(tmp_path / "data")
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"taken\n"
        with pytest.raises(Conflict):
            data.take()
        holder.kill()
    data.take()
    assert (tmp_path / "data" / "lock").exists()
    data.give_back()
