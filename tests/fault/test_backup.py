"""Guards backups: taken in the middle of everything, they come back with every answered call."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.fault.crowd import Crowd, SlowModel, dice_of, prepare, wait_until
from tests.support.model_server import ModelServer
from tests.support.server import ServerProcess

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Where the original is, and an empty one for what comes back: what ``storage.url`` says."""
    if request.param == "sqlite":
        yield "", ""
        return
    server = request.getfixturevalue("postgres")
    with ExitStack() as stack:
        yield stack.enter_context(server.database()), stack.enter_context(server.database())


@dataclass
class Place:
    """An installation: a data directory and a database."""

    server: ServerProcess
    storage_url: str

    def rows(self, query: str) -> Sequence[Any]:
        """What stands in its database, seen from beside it."""
        sqlite_url = f"sqlite:///{self.server.data / 'latchgate.db'}"
        engine = create_engine(self.storage_url.replace("ql:", "ql+psycopg:") or sqlite_url)
        with engine.connect() as conn:
            found = conn.execute(text(query)).all()
        engine.dispose()
        return found


def _place(data: Path, storage_url: str) -> Place:
    settings = {"LATCHGATE_STORAGE_URL": storage_url}
    return Place(ServerProcess(data, "--no-embedded-model", **settings), storage_url)


@asynccontextmanager
async def _busy(place: Place, crowd: Crowd, dice: random.Random) -> AsyncIterator[None]:
    """A server with everybody calling it, some of them in streams that never end; then it dies."""
    await asyncio.to_thread(place.server.start)
    callers = [
        *(asyncio.create_task(crowd.hang()) for _ in range(3)),
        *(asyncio.create_task(crowd.keep_calling(is_rich=True, dice=dice)) for _ in range(8)),
        *(asyncio.create_task(crowd.keep_calling(is_rich=False, dice=dice)) for _ in range(2)),
    ]
    try:
        yield
    finally:
        await asyncio.to_thread(place.server.stop, signal.SIGKILL)
        await asyncio.gather(*callers)


async def test_a_backup_under_load_has_every_call_answered_before_it_once(
    tmp_path: Path, databases: tuple[str, str], model_server: ModelServer
) -> None:
    dice = dice_of(30)
    model_server.behaviour = SlowModel(dice)
    original = _place(tmp_path / "original", databases[0])
    rich, poor = await prepare(original.server.data, model_server.base_url, databases[0])
    crowd = Crowd(original.server.port, rich, poor)
    file = tmp_path / "backup.tar.gz"
    async with _busy(original, crowd, dice):
        await wait_until(lambda: len(crowd.complete) >= 60)
        before = list(crowd.complete)
        said = await asyncio.to_thread(original.server.cli, "backup", str(file))
        during = len(crowd.complete) - len(before)
        await wait_until(lambda: len(crowd.complete) >= len(before) + during + 20)
    assert (said["file"], file.stat().st_mode & 0o777) == (str(file), 0o600)
    assert during > 0, "nobody called while the backup was made"
    assert not (original.server.data / "backup").exists()

    copy = _place(tmp_path / "elsewhere", databases[1])
    found = await asyncio.to_thread(copy.server.cli, "restore", str(file))
    assert (found["agrees"], found["findings"]) == (True, [])
    assert found["calls_interrupted"] >= 3
    charged = {
        row[0]: row[1:]
        for row in copy.rows("SELECT request_id, outcome, charge_nanos FROM usage_events")
    }
    for call in before:
        assert charged[call.request_id] == ("answered", call.cost_nanos)
    assert set(charged) <= {call.request_id for call in crowd.seen}
    assert copy.rows("SELECT * FROM leases") == []
    assert copy.rows("SELECT id FROM epochs WHERE ended_us IS NULL") == []
    assert copy.rows("SELECT DISTINCT leased_nanos FROM budget_windows") == [(0,)]

    await asyncio.to_thread(copy.server.start)
    crowd.port = copy.server.port
    assert (await crowd.call(is_rich=True, is_stream=False)).is_complete
    assert (await asyncio.to_thread(copy.server.cli, "audit"))["agrees"]
    await asyncio.to_thread(copy.server.stop)


async def test_a_backup_of_what_a_crash_has_left_is_settled_where_it_comes_back(
    tmp_path: Path, databases: tuple[str, str], model_server: ModelServer
) -> None:
    dice = dice_of(31)
    model_server.behaviour = SlowModel(dice)
    original = _place(tmp_path / "original", databases[0])
    rich, poor = await prepare(original.server.data, model_server.base_url, databases[0])
    crowd = Crowd(original.server.port, rich, poor)
    async with _busy(original, crowd, dice):
        await wait_until(lambda: len(crowd.complete) >= 40)
    await model_server.stop()
    file = str(tmp_path / "backup.tar.gz")
    await asyncio.to_thread(original.server.cli, "backup", file)
    # Nothing was settled by taking it: the dead server's epoch is open still.
    assert original.rows("SELECT count(*) FROM epochs WHERE ended_us IS NULL") == [(1,)]
    copy = _place(tmp_path / "elsewhere", databases[1])
    found = await asyncio.to_thread(copy.server.cli, "restore", file)
    assert found["agrees"]
    assert found["calls_posted"] > 0
    charged = {row[0] for row in copy.rows("SELECT request_id FROM usage_events")}
    assert {call.request_id for call in crowd.complete} <= charged
