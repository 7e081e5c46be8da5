"""Guards the books against ``kill -9``: what was answered is charged once, nothing else is."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fault.crowd import (
    POOR_NANOS,
    RICH_NANOS,
    Crowd,
    Seen,
    SlowModel,
    cost_for,
    dice_of,
    prepare,
    wait_until,
)
from tests.support.model_server import ModelServer
from tests.support.server import ServerProcess

pytestmark = pytest.mark.anyio


@dataclass
class Event:
    """A usage event as it stands in the database."""

    outcome: str
    charge_nanos: int
    posting_id: str | None


@dataclass
class Town:
    """A server process on a data directory, its model server, and everybody who has called."""

    server: ServerProcess
    crowd: Crowd

    async def storm(self, dice: random.Random) -> list[Seen]:
        """Call from all sides, and kill the server in the middle; the calls that hung."""
        crowd = self.crowd
        first = len(crowd.seen)
        hanging = [asyncio.create_task(crowd.hang()) for _ in range(3)]
        await wait_until(lambda: sum(call.pieces for call in crowd.seen[first:]) == len(hanging))
        hung = crowd.seen[first:]
        enough = len(crowd.complete) + dice.randint(30, 100)
        callers = [
            asyncio.create_task(crowd.keep_calling(is_rich=number % 3 > 0, dice=dice))
            for number in range(12)
        ]
        await wait_until(lambda: len(crowd.complete) >= enough)
        await asyncio.to_thread(self.server.stop, signal.SIGKILL)
        await asyncio.gather(*hanging, *callers)
        return hung

    async def start(self) -> None:
        """Start the server, on what the last one left."""
        await asyncio.to_thread(self.server.start)

    async def die_while_starting(self, dice: random.Random) -> None:
        """Start the server, and kill it before or while it recovers."""
        dead = self.server.process
        starting = asyncio.create_task(self.start())
        await wait_until(lambda: self.server.process is not dead)
        await asyncio.sleep(0.5 + dice.random())
        assert self.server.process is not None
        self.server.process.kill()
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.to_thread(self.server.process.wait)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What stands in the database, seen from beside it."""
        with closing(sqlite3.connect(self.server.data / "latchgate.db")) as conn:
            return conn.execute(query).fetchall()

    def events(self) -> dict[str, Event]:
        """Every usage event by its call's id."""
        query = "SELECT request_id, outcome, charge_nanos, posting_id FROM usage_events"
        return {str(row[0]): Event(*row[1:]) for row in self.rows(query)}  # type: ignore[arg-type]

    async def check(self, hung: list[Seen]) -> int:
        """Whatever must be true once a server stands on what a dead one has left; calls charged."""
        report = await asyncio.to_thread(self.server.cli, "audit")
        assert (report["agrees"], report["findings"]) == (True, [])
        events = self.events()
        for call in self.crowd.complete:
            event = events.get(call.request_id)
            assert event is not None, f"{call} was answered in whole and is not charged"
            assert (event.outcome, event.charge_nanos) == ("answered", call.cost_nanos)
            if call.is_rich:
                assert event.charge_nanos == cost_for(call.number)
        for call in hung:
            assert events[call.request_id] == Event("interrupted", 0, None)
        assert len(events) <= len(self.crowd.seen)
        interrupted = [event for event in events.values() if event.outcome == "interrupted"]
        assert all(event == Event("interrupted", 0, None) for event in interrupted)
        windows = self.rows("SELECT limit_nanos, spent_nanos, leased_nanos FROM budget_windows")
        assert sorted(row[0] for row in windows) == [POOR_NANOS, RICH_NANOS]
        for limit_nanos, spent_nanos, leased_nanos in windows:
            assert 0 <= spent_nanos <= limit_nanos  # type: ignore[operator]
            assert leased_nanos == 0
        charges = [event.charge_nanos for event in events.values() if event.charge_nanos]
        assert sum(charges) == sum(row[1] for row in windows)  # type: ignore[misc]
        return len(charges)


@asynccontextmanager
async def _town(folder: Path, seed: int, **settings: str) -> AsyncIterator[Town]:
    model_server = ModelServer(SlowModel(dice_of(seed)))
    await model_server.start()
    rich, poor = await prepare(folder / "data", model_server.base_url)
    server = ServerProcess(folder / "data", "--no-embedded-model", **settings)
    town = Town(server, Crowd(server.port, rich, poor))
    try:
        await town.start()
        yield town
    finally:
        if server.process is not None and server.process.poll() is None:
            await asyncio.to_thread(server.stop)
        await model_server.stop()


async def test_kills_in_a_row_charge_each_whole_answer_once(tmp_path: Path) -> None:
    dice = dice_of(20)
    hung: list[Seen] = []
    async with _town(tmp_path, seed=1) as town:
        for _ in range(5):
            hung += await town.storm(dice)
            await town.start()
            await town.check(hung)
        assert await asyncio.to_thread(town.server.stop) == 0
        await town.check(hung)
        assert town.rows("SELECT * FROM leases") == []
        assert town.rows("SELECT id FROM epochs WHERE ended_us IS NULL") == []
        poor = [call for call in town.crowd.seen if not call.is_rich]
        assert {call.status for call in poor} >= {200, 429}, "the poor account never ran dry"


async def test_a_server_that_dies_while_it_recovers_recovers_all_the_same(tmp_path: Path) -> None:
    dice = dice_of(21)
    async with _town(tmp_path, seed=2) as town:
        hung = await town.storm(dice)
        for _ in range(4):
            await town.die_while_starting(dice)
        await town.start()
        assert await town.check(hung) >= len(town.crowd.complete)


async def test_a_kill_loses_no_charge_when_the_disk_is_synced_now_and_then(tmp_path: Path) -> None:
    # What may be lost then is what a power cut takes; a killed process loses nothing.
    dice = dice_of(22)
    settings = {"LATCHGATE_JOURNAL_SYNC": "interval", "LATCHGATE_JOURNAL_INTERVAL_MS": "1000"}
    async with _town(tmp_path, seed=3, **settings) as town:
        hung = await town.storm(dice)
        await town.start()
        assert await town.check(hung) >= len(town.crowd.complete)
