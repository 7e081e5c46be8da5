"""Guards the line before a bounded upstream: its order, and that no place is lost in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from latchgate.services.catalog import ModelTerms
from latchgate.upstream.turns import Turns
from tests.support.gateway import ACCOUNT, CALLER, Gateway, Reply, running_gateway
from tests.support.model_server import Received, answers, completion, send_json, usage_of

pytestmark = pytest.mark.anyio

TERMS = ModelTerms(100_000, 20_000, 400_000)
CHARGE = 12 * 100 + 5 * 400
HANG_UPS = 1_000


@dataclass
class Slow:
    """A model server that answers each call when it is told to, and remembers who came when."""

    said: list[str] = field(default_factory=list)
    came: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    may_answer: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.said.append(request.body["messages"][0]["content"])
        self.came.release()
        await self.may_answer.acquire()
        await send_json(writer, 200, completion(usage=usage_of(12, 5)))


@dataclass
class Scene:
    """A gateway before an upstream that runs one call at once, which is running."""

    gateway: Gateway
    server: Slow
    first: asyncio.Task[Reply]
    calls: list[asyncio.Task[Reply]] = field(default_factory=list)

    @property
    def turns(self) -> Turns:
        """The upstream's."""
        (place,) = self.gateway.engine.pool._places.values()
        assert place.turns is not None
        return place.turns

    async def queue(self, call: Awaitable[Reply]) -> asyncio.Task[Reply]:
        """Start a call that has to wait, and wait until it does."""
        before = self.turns.queued
        task = asyncio.ensure_future(call)
        await until(lambda: self.turns.queued > before)
        self.calls.append(task)  # type: ignore[arg-type]
        return task  # type: ignore[return-value]

    async def hang_up_in_line(self, count: int = 1) -> None:
        """Calls whose clients go away while they wait."""
        before = self.turns.queued
        opened = [
            await asyncio.open_connection("127.0.0.1", self.gateway.port) for _ in range(count)
        ]
        for _, writer in opened:
            writer.write(request(self.gateway))
        await until(lambda: self.turns.queued == before + count)
        for _, writer in opened:
            writer.transport.abort()
        await until(lambda: self.turns.queued == before)

    async def end(self) -> None:
        """Let all run; then every place is free, and the books agree."""
        for _ in range(len(self.calls) + 1):
            self.server.may_answer.release()
        await asyncio.gather(self.first, *self.calls)
        await until(lambda: self.gateway.directory.running_calls == 0)
        assert (self.turns.running, self.turns.queued) == (0, 0)
        assert (await self.gateway.balances()).held_nanos == 0
        assert (await self.gateway.audit()).findings == ()
        self.gateway.model_server.behaviour = answers()
        assert (await self.gateway.chat()).status == 200


def request(gateway: Gateway) -> bytes:
    """A chat call, off the wire."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "gone"}]})
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {gateway.secret}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def until(is_so: object) -> None:
    """Wait until it is so; the test's own deadline bounds it."""
    assert callable(is_so)
    while not is_so():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.002)


@asynccontextmanager
async def busy(folder: Path, **terms: float) -> AsyncIterator[Scene]:
    """A scene, with the priority tier switched on."""
    async with running_gateway(folder, terms=TERMS, calls_at_once=1, **terms) as gateway:  # type: ignore[arg-type]
        await gateway.limits.set_premium(ACCOUNT, "account", is_on=True, caller=CALLER)
        server = gateway.model_server.behaviour = Slow()
        first = asyncio.create_task(gateway.chat("first"))
        await server.came.acquire()
        yield Scene(gateway, server, first)


async def test_priority_goes_first_and_each_line_is_first_come_first_served(
    tmp_path: Path,
) -> None:
    async with busy(tmp_path) as scene:
        for text, tier in (
            ("a", "default"), ("b", "default"), ("C", "priority"), ("d", "auto"), ("E", "priority"),
        ):  # fmt: skip
            await scene.queue(scene.gateway.chat(text, service_tier=tier))
        assert scene.server.said == ["first"]
        await scene.end()
        assert scene.server.said == ["first", "C", "E", "a", "b", "d"]
        events = await scene.gateway.events()
        dear = [event.charge_nanos for event in events if event.service_tier == "priority"]
        assert dear == [2 * CHARGE, 2 * CHARGE]


async def test_no_more_calls_run_at_once_than_the_bound(tmp_path: Path) -> None:
    running, most = 0, 0

    async def counts(_request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        await send_json(writer, 200, completion(usage=usage_of(12, 5)))

    async with running_gateway(tmp_path, terms=TERMS, calls_at_once=3) as gateway:
        gateway.model_server.behaviour = counts
        replies = await asyncio.gather(*(gateway.chat(stream=False) for _ in range(60)))
        assert {reply.status for reply in replies} == {200}
        assert most == 3
        assert (await gateway.balances()).spent_nanos == 60 * CHARGE


async def test_a_hang_up_in_line_is_not_sent_and_not_charged(tmp_path: Path) -> None:
    async with busy(tmp_path) as scene:
        await scene.hang_up_in_line()
        last = await scene.queue(scene.gateway.chat("last"))
        await scene.end()
        assert last.result().status == 200
        assert scene.server.said == ["first", "last"]
        gone = [event for event in await scene.gateway.events() if event.outcome == "hung_up"]
        assert [(event.charge_nanos, event.counted_by) for event in gone] == [(0, "nobody")]


async def test_a_revoked_key_leaves_the_line_with_nothing_charged(tmp_path: Path) -> None:
    async with busy(tmp_path) as scene:
        other = await scene.gateway.add_account("acct_other", 1_000_000_000)
        waiting = await scene.queue(scene.gateway.chat("revoked", key=other.secret))
        await scene.gateway.api_keys.revoke("acct_other", other.view.id, CALLER)
        reply = await waiting
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
        await scene.end()
        assert scene.server.said == ["first"]
        (event,) = await scene.gateway.events("acct_other")
        assert (event.outcome, event.charge_nanos) == ("cut", 0)


async def test_a_turn_that_does_not_come_in_time_is_a_timeout_and_free(tmp_path: Path) -> None:
    async with busy(tmp_path, idle_s=0.3) as scene:
        # The first call is too slow as well: whichever deadline comes first, nobody pays.
        replies = await asyncio.gather(scene.gateway.chat("late"), scene.first)
        assert {(reply.status, reply.error["code"]) for reply in replies} == {
            (504, "upstream_timeout")
        }
        assert (await scene.gateway.balances()).spent_nanos == 0
        await until(lambda: (scene.turns.running, scene.turns.queued) == (0, 0))


async def test_time_in_line_is_part_of_the_time_for_the_first_byte(tmp_path: Path) -> None:
    async with busy(tmp_path, idle_s=2.0) as scene:
        late = await scene.queue(scene.gateway.chat("late"))
        await asyncio.sleep(0.5)
        last = await scene.queue(scene.gateway.chat("last"))
        await asyncio.sleep(0.5)
        scene.server.may_answer.release()  # the first; "late" is sent now, and never answered
        assert (await scene.first).status == 200
        reply = await late
        assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
        scene.server.may_answer.release()  # to whom nobody listens any more
        scene.server.may_answer.release()
        # Had the time of "late" begun anew with its turn, that of "last" would have run out first.
        assert (await last).status == 200
        assert scene.server.said == ["first", "late", "last"]


async def test_a_full_line_refuses_and_keeps_nobody_out_of_the_other(tmp_path: Path) -> None:
    async with busy(tmp_path, queued_calls_max=2) as scene:
        for text in ("a", "b"):
            await scene.queue(scene.gateway.chat(text))
        refused = await scene.gateway.chat("c")
        assert (refused.status, refused.error["code"]) == (503, "server_is_overloaded")
        assert int(refused.headers["retry-after"]) > 0
        await scene.queue(scene.gateway.chat("D", service_tier="priority"))
        await scene.end()
        assert scene.server.said == ["first", "D", "a", "b"]
        charges = {event.charge_nanos for event in await scene.gateway.events()}
        assert 0 in charges  # the refused one's


async def test_a_thousand_hang_ups_leave_every_place_free(tmp_path: Path) -> None:
    async with busy(tmp_path, queued_calls_max=HANG_UPS, running_per_key_max=HANG_UPS) as scene:
        last = await scene.queue(scene.gateway.chat("last"))
        for _ in range(HANG_UPS // 50):
            await scene.hang_up_in_line(50)
        await scene.end()
        assert last.result().status == 200
        assert scene.server.said == ["first", "last"]


async def test_hang_ups_as_turns_come_leave_every_place_free(tmp_path: Path) -> None:
    async with running_gateway(
        tmp_path, terms=TERMS, calls_at_once=2, queued_calls_max=HANG_UPS
    ) as gateway:

        async def quick(_request: Received, writer: asyncio.StreamWriter) -> None:
            await send_json(writer, 200, completion(usage=usage_of(12, 5)))

        gateway.model_server.behaviour = quick

        async def hang_up(number: int) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request(gateway))
            await asyncio.sleep(number % 7 / 1000)
            writer.transport.abort()

        for start in range(0, HANG_UPS, 50):
            await asyncio.gather(*map(hang_up, range(start, start + 50)))
        await until(lambda: gateway.directory.running_calls == 0)
        (place,) = gateway.engine.pool._places.values()
        assert place.turns is not None
        assert (place.turns.running, place.turns.queued) == (0, 0)
        assert (await gateway.chat()).status == 200
        assert (await gateway.balances()).held_nanos == 0
        assert (await gateway.audit()).findings == ()


async def test_a_gateway_that_stops_lets_go_of_who_waits(tmp_path: Path) -> None:
    async with busy(tmp_path) as scene:
        await scene.queue(scene.gateway.chat("waits"))
        for task in (scene.first, *scene.calls):
            task.cancel()
        await until(lambda: scene.gateway.directory.running_calls == 0)
        assert scene.turns.queued == 0
