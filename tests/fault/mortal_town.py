"""A town whose server dies where it is told to: everybody calls, and its books are checked."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latchgate.domain.money import format_usd
from latchgate.http.control_client import ask
from tests.fault.crowd import Crowd, Seen, cost_for, dice_of, wait_until
from tests.fault.mortal_server import PATIENCE_S, MortalServer
from tests.fault.townsfolk import POOR_NANOS, RICH_NANOS, LongCrowd, Talker
from tests.support.model_server import ModelServer


@dataclass
class Town:
    """A server, and everybody who has called it in all its lives."""

    server: MortalServer
    crowd: Crowd
    shy: Crowd
    long: LongCrowd
    dice: random.Random
    hung: list[Seen] = field(default_factory=list)
    poor_nanos: int = POOR_NANOS
    #: How long after each start nothing of the dead was left.
    recovered_s: list[float] = field(default_factory=list)

    async def live_and_die(self, order: str, *, stop_after: int | None = None) -> None:
        """Start with a point armed, call from all sides, and see the server die there.

        ``stop_after`` asks the server to stop when so many more calls have their answer.
        """
        is_up = await asyncio.to_thread(self.server.begin, order)
        async with self._calls(is_up=is_up, has_hanging=stop_after is None):
            if is_up and stop_after is not None:
                await self._hear_answers(stop_after)
                self.server.terminate()
            await asyncio.to_thread(self.server.see_it_die, order)

    async def live(self, calls: int) -> None:
        """Start plainly, call from all sides, and kill the server when so many are answered."""
        assert await asyncio.to_thread(self.server.begin, "")
        async with self._calls(is_up=True, has_hanging=True):
            await self._hear_answers(calls)
            await asyncio.to_thread(self.server.kill)

    async def _hear_answers(self, count: int) -> None:
        enough = len(self.crowd.complete) + count
        async with asyncio.timeout(PATIENCE_S):
            await wait_until(lambda: len(self.crowd.complete) >= enough)

    @asynccontextmanager
    async def _calls(self, *, is_up: bool, has_hanging: bool) -> AsyncIterator[None]:
        """One stream that hangs, then everybody else, until the server is dead."""
        first = len(self.crowd.seen)
        tasks = []
        if is_up and has_hanging:
            tasks.append(asyncio.create_task(self.crowd.hang()))
            await wait_until(
                lambda: (
                    sum(call.pieces for call in self.crowd.seen[first:]) > 0 or self.server.is_dead
                )
            )
        if is_up:
            tasks += [
                asyncio.create_task(self.crowd.keep_calling(is_rich=number % 3 > 0, dice=self.dice))
                for number in range(9)
            ]
            tasks.append(asyncio.create_task(self._keep_calling_now_and_then()))
            tasks.append(asyncio.create_task(self._keep_asking_for_much()))
        yield
        await asyncio.gather(*tasks)
        # What others waited for was written behind the open record of the one that hung.
        if has_hanging and any(call.is_complete for call in self.crowd.seen[first + 1 :]):
            self.hung.append(self.crowd.seen[first])

    async def _keep_calling_now_and_then(self) -> None:
        """The shy account leaves its leases idle between its calls, and so gives them back."""
        while True:
            try:
                await self.shy.call(is_rich=True, is_stream=self.dice.random() < 0.5)
            except (ConnectionError, asyncio.IncompleteReadError):
                return
            await asyncio.sleep(0.12)

    async def _keep_asking_for_much(self) -> None:
        while True:
            try:
                await self.long.call(is_rich=True, is_stream=True)
            except (ConnectionError, asyncio.IncompleteReadError):
                return

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What stands in the database, seen from beside it."""
        with closing(sqlite3.connect(self.server.data / "latchgate.db")) as conn:
            return conn.execute(query).fetchall()

    async def restart_and_check(self) -> None:
        """Start plainly on what the dead have left; the books must be right, and calls go on."""
        begun_s = time.monotonic()
        is_up = await asyncio.to_thread(self.server.begin, "")
        assert is_up, self.server.log.read_text()
        self._check_nothing_is_held()
        self.recovered_s.append(time.monotonic() - begun_s)
        for crowd in (self.crowd, self.shy):
            for is_stream in (False, True):
                call = await crowd.call(is_rich=True, is_stream=is_stream)
                assert (call.status, call.cost_nanos) == (200, cost_for(call.number))
        self.check_audit(await asyncio.to_thread(ask, self.server.socket, "audit", {}))
        self._check_charges()

    async def give_to_the_poor(self) -> None:
        """So much more credit as they had at first."""
        gift = {"email": "poor@example.com", "amount": format_usd(POOR_NANOS)}
        await asyncio.to_thread(ask, self.server.socket, "credit.add", gift)
        self.poor_nanos += POOR_NANOS

    async def stop_in_peace(self) -> None:
        """Serve once more as an operator would, stop, and leave nothing open."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)
        self.check_audit(await asyncio.to_thread(self.server.cli, "audit"))
        assert await asyncio.to_thread(self.server.stop) == 0
        self.check_audit(await asyncio.to_thread(self.server.cli, "audit"))
        self._check_charges()
        assert self.rows("SELECT * FROM leases") == []
        assert self.rows("SELECT * FROM epochs WHERE ended_us IS NULL") == []

    @staticmethod
    def check_audit(report: dict[str, Any]) -> None:
        """The books agree."""
        assert (report["agrees"], report["findings"]) == (True, [])

    def _check_nothing_is_held(self) -> None:
        """No hold and no lease of the dead is left, and only the living epoch is open."""
        assert self.rows("SELECT * FROM leases") == []
        assert self.rows("SELECT sum(leased_nanos) FROM budget_windows") == [(0,)]
        assert self.rows("SELECT count(*) FROM epochs WHERE ended_us IS NULL") == [(1,)]

    def _check_charges(self) -> None:
        found = self.rows("SELECT request_id, outcome, charge_nanos FROM usage_events")
        events = {str(row[0]): row[1:] for row in found}
        assert len(events) == len(found), "a call is charged twice"
        answered = self.crowd.complete
        for call in answered:
            assert call.cost_nanos is not None
            assert events.get(call.request_id) == ("answered", call.cost_nanos), f"{call} is wrong"
            if call.is_rich:
                assert call.cost_nanos == cost_for(call.number)
        self._check_the_others(events)
        windows = self.rows(
            "SELECT b.kind, w.limit_nanos, w.spent_nanos FROM budget_windows w"
            " JOIN budgets b ON b.id = w.budget_id"
        )
        assert all(0 <= row[2] <= row[1] for row in windows)  # type: ignore[operator]
        credit = [row[1:] for row in windows if row[0] == "credit"]
        assert sorted(row[0] for row in credit) == [self.poor_nanos, RICH_NANOS, RICH_NANOS]
        assert sum(row[1] for row in credit) == sum(row[1] for row in events.values())  # type: ignore[misc]

    def _check_the_others(self, events: dict[str, tuple[object, ...]]) -> None:
        """Calls that nobody saw answered: charged what they cost, or shown as interrupted."""
        seen = {call.request_id: call for call in self.crowd.seen if call.request_id}
        nameless = sum(not call.request_id for call in self.crowd.seen)
        assert len(events.keys() - seen.keys()) <= nameless
        for request_id, (outcome, charge_nanos) in events.items():
            call = seen.get(request_id)
            assert outcome in {"answered", "interrupted"}
            if outcome == "interrupted":
                assert charge_nanos == 0
            elif call is not None and call.is_rich:
                assert charge_nanos == cost_for(call.number)
        assert not {call.request_id for call in seen.values() if call.status == 429} & events.keys()
        for call in self.hung:
            assert events[call.request_id] == ("interrupted", 0)


@asynccontextmanager
async def town_on(
    data: Path, port: int, secrets: tuple[str, str, str], seed: int
) -> AsyncIterator[Town]:
    """The town over a data directory, its model server at the port that was prepared."""
    rich, poor, shy = secrets
    dice = dice_of(seed)
    server = MortalServer(data)
    crowd = Crowd(server.port, rich, poor)
    town = Town(
        server,
        crowd,
        Crowd(server.port, shy, poor, crowd.seen),
        LongCrowd(server.port, rich, poor, crowd.seen),
        dice,
    )
    model_server = await asyncio.start_server(ModelServer(Talker(dice))._serve, "127.0.0.1", port)
    try:
        yield town
    finally:
        await asyncio.to_thread(server.kill)
        model_server.close()
        await model_server.wait_closed()
