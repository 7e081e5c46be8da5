"""Guards the books against a death at each single step of the money engine.

``LATCHGATE_TEST_KILLS`` says how many kills the last test does, one life after the other on one
data directory; each of its lives ends at a point and a passage that chance picks.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fault.crowd import dice_of
from tests.fault.mortal_town import Town, town_on
from tests.fault.serve_and_die import POINTS
from tests.fault.townsfolk import prepare
from tests.support.server import free_port

pytestmark = pytest.mark.anyio
KILLS = int(os.environ.get("LATCHGATE_TEST_KILLS", "0"))

#: Where a server dies while it answers calls, and at which passage of the point.
WHILE_SERVING = (
    "hold-asked:25",
    "hold-made:20",
    "hold-waits:2",
    "hold-extended:3",
    "open-noted:15",
    "event-relayed:40",
    "close-coming:18",
    "close-noted:18",
    "records-half-written:30",
    "records-written:20",
    "records-synced:20",
    "last-bytes-coming:20",
    "last-bytes-sent:20",
    "segment-empty:2",
    "segment-begun:3",
    "drain-coming:5",
    "drain-offset-moved:4",
    "drain-charges-posted:3",
    "drain-events-written:5",
    "drain-window-spent:7",
    "drain-uncommitted:4",
    "drain-committed:5",
    "lease-halved:3",
    "lease-uncommitted:4",
    "lease-committed:4",
    "return-halved:1",
    "return-uncommitted:2",
    "return-committed:2",
)
#: Where it dies while it starts on what a dead one has left, twice in a row.
WHILE_STARTING = (
    "recovery-begun",
    "recovery-offset-moved",
    "recovery-posted",
    "recovery-interrupted",
    "recovery-leases-moved",
    "recovery-uncommitted",
    "recovery-committed",
    "epoch-opened",
)
#: Where it dies after it was asked to stop.
WHILE_STOPPING = (
    "stop-journal-closed",
    "stop-drained",
    "stop-purse-closed",
    "stop-epoch-uncommitted",
    "stop-epoch-ended",
)


@dataclass
class Installation:
    """A closed data directory with three accounts, for each test to copy."""

    data: Path
    port: int
    secrets: tuple[str, str, str]

    def town(self, folder: Path, seed: int) -> AbstractAsyncContextManager[Town]:
        """A town over a copy."""
        shutil.copytree(self.data, folder / "data")
        return town_on(folder / "data", self.port, self.secrets, seed)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Prepared once."""
    data, port = tmp_path_factory.mktemp("town") / "data", free_port()
    return Installation(data, port, asyncio.run(prepare(data, port)))


def test_every_point_has_its_kill() -> None:
    planned = {order.partition(":")[0] for order in WHILE_SERVING}
    assert planned | {*WHILE_STARTING, *WHILE_STOPPING} == set(POINTS)


@pytest.mark.parametrize("order", WHILE_SERVING)
async def test_a_death_at_any_step_loses_no_answered_call_and_charges_none_twice(
    tmp_path: Path, installation: Installation, order: str
) -> None:
    async with installation.town(tmp_path, seed=30) as town:
        await town.live_and_die(order)
        await town.restart_and_check()


@pytest.mark.parametrize("label", WHILE_STARTING)
async def test_a_recovery_that_dies_twice_is_done_by_the_third(
    tmp_path: Path, installation: Installation, label: str
) -> None:
    async with installation.town(tmp_path, seed=31) as town:
        await town.live(calls=15)
        await town.live_and_die(f"{label}:1")
        await town.live_and_die(f"{label}:1")
        await town.restart_and_check()


@pytest.mark.parametrize("label", WHILE_STOPPING)
async def test_a_death_while_stopping_is_recovered_like_any_other(
    tmp_path: Path, installation: Installation, label: str
) -> None:
    async with installation.town(tmp_path, seed=32) as town:
        await town.live_and_die(f"{label}:1", stop_after=20)
        await town.restart_and_check()


def _any_order(dice: random.Random) -> str:
    """A point at a passage not later than some times the planned one."""
    label, _, passage = dice.choice(WHILE_SERVING).partition(":")
    return f"{label}:{dice.randint(1, 2 * int(passage))}"


async def test_many_lives_on_one_directory_each_end_anywhere(
    tmp_path: Path, installation: Installation
) -> None:
    dice = dice_of(33)
    labels = []
    async with installation.town(tmp_path, seed=33) as town:
        for number in range(KILLS or 3):
            if number % 5 == 3:
                order = f"{dice.choice(WHILE_STARTING)}:1"
            elif number % 7 == 5:
                order = f"{dice.choice(WHILE_STOPPING)}:1"
            else:
                order = _any_order(dice)
            labels.append(order.partition(":")[0])
            is_stopped = labels[-1] in WHILE_STOPPING
            await town.live_and_die(order, stop_after=20 if is_stopped else None)
            await town.restart_and_check()
            if number % 8 == 7:
                await town.give_to_the_poor()
            await asyncio.to_thread(town.server.kill)
        await town.stop_in_peace()
        poor = [call for call in town.crowd.seen if not call.is_rich]
        assert {call.status for call in poor} >= {200, 429}, "the poor account never ran dry"
        sys.stdout.write(
            f"\n{len(labels)} kills at {len(set(labels))} of {len(POINTS)} points,"
            f" {len(town.crowd.complete)} of {len(town.crowd.seen)} calls answered; after the"
            f" slowest start nothing of the dead was left in {max(town.recovered_s):.2f} s\n"
        )
