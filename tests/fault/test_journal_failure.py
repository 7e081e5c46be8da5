"""Guards the books when the journal's disk fails: nothing is answered that can't be charged.

A fault ends by itself, without a restart; what was refused meanwhile is never charged, what was
answered always is.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from latchgate.app import open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings
from latchgate.domain.people import CLI
from latchgate.services.catalog import ModelTerms
from tests.fault.crowd import Crowd, wait_until
from tests.gateway.faulty_disk import (
    CHARGE,
    TERMS,
    FaultyDisk,
    call_until_paid,
    check_free_of_holds,
    check_small_files,
    check_unavailable,
    crash,
    recovered,
    small_disk,
    use_interval,
)
from tests.support.gateway import Gateway, Reply, running_gateway
from tests.support.model_server import (
    ModelServer,
    Received,
    answers,
    completion,
    send_json,
    usage_of,
)
from tests.support.server import ServerProcess

pytestmark = pytest.mark.anyio

FAULTS = pytest.mark.parametrize("fault", ["sync", "write", "both"])
#: Sync before every answer, or now and then.
MODES = pytest.mark.parametrize("interval_ms", [None, 20])


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyDisk]:
    """The disk under the journal; after each test no file may have got a second sync."""
    disk = FaultyDisk(monkeypatch, tmp_path / "journal")
    yield disk
    assert disk.touched_again == []


async def _add_free_model(gateway: Gateway) -> None:
    await gateway.catalog.add_model(
        "gift",
        upstream="fake",
        upstream_model="up-model",
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=ModelTerms(0, 0, 0),
    )


async def _until_failed(gateway: Gateway) -> list[Reply]:
    """Call until the journal knows that its disk has failed; what was answered until then."""
    replies = []
    while gateway.engine.journal.failure is None:
        replies.append(await gateway.chat())
    return [reply for reply in replies if reply.status == 200]


@FAULTS
@MODES
async def test_paid_calls_are_refused_while_the_disk_fails_and_go_on_by_themselves(
    tmp_path: Path,
    disk: FaultyDisk,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    interval_ms: int | None,
) -> None:
    use_interval(monkeypatch, interval_ms)
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _add_free_model(gateway)
        assert (await gateway.chat()).status == 200
        disk.fail(fault)
        answered = 1 + len(await _until_failed(gateway))
        assert answered == 1 or interval_ms is not None
        heard = len(gateway.model_server.received)
        check_unavailable(await gateway.chat())
        check_unavailable(await gateway.chat(stream=True))
        assert len(gateway.model_server.received) == heard, "a call ran that can't be charged"
        assert gateway.engine.purse.held_nanos_all() == 0
        assert (await gateway.chat(model="gift")).status == 200
        assert (await gateway.chat(model="gift", stream=True)).events[-1] == "[DONE]"
        disk.mend()
        await call_until_paid(gateway)
        await _all_synced(gateway)
        await check_free_of_holds(gateway, spent=(answered + 1) * CHARGE)
        assert (await crash(gateway, tmp_path / "rest")).findings == ()


async def _all_synced(gateway: Gateway) -> None:
    journal = gateway.engine.journal
    await wait_until(lambda: journal.synced_offset == journal._end)


@FAULTS
async def test_a_stream_whose_charge_is_lost_ends_with_an_error_and_is_free(
    tmp_path: Path, disk: FaultyDisk, fault: str
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        assert (await gateway.chat(stream=True)).events[-1] == "[DONE]"
        disk.fail(fault)
        reply = await gateway.chat(stream=True)
        assert reply.status == 200
        assert '"ledger_unavailable"' in reply.events[-1]
        assert reply.body.endswith(b"!CUT")
        await check_free_of_holds(gateway, spent=CHARGE)
        rest = await crash(gateway, tmp_path / "rest")
        assert list(rest.charges.values()) == [CHARGE]
        assert rest.findings == ()


@FAULTS
async def test_calls_that_wait_when_the_disk_fails_are_void_and_their_money_is_back(
    tmp_path: Path, disk: FaultyDisk, fault: str
) -> None:
    # Fifty calls of 0.10 USD are all that the credit carries.
    terms = ModelTerms(0, 0, 100_000_000_000)
    async with running_gateway(tmp_path, terms=terms) as gateway:
        all_here = asyncio.Event()

        async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
            if len(gateway.model_server.received) == 50:
                disk.fail(fault)
                all_here.set()
            await all_here.wait()
            await send_json(writer, 200, completion(usage=usage_of(10, 1)))

        gateway.model_server.behaviour = behave
        for reply in await asyncio.gather(*(gateway.chat(max_tokens=1) for _ in range(50))):
            check_unavailable(reply)
        await check_free_of_holds(gateway, spent=0)
        rest = await crash(gateway, tmp_path / "rest")
        assert (rest.charges, rest.findings) == ({}, ())
        assert {outcome for outcome, _ in rest.calls.values()} <= {"interrupted"}
        disk.mend()
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        await wait_until(lambda: gateway.engine.journal.is_writable)
        replies = await asyncio.gather(*(gateway.chat(max_tokens=1) for _ in range(60)))
        assert Counter(reply.status for reply in replies) == {200: 50, 429: 10}
        await check_free_of_holds(gateway, spent=50 * 100_000_000)


@FAULTS
@MODES
async def test_a_disk_that_comes_and_goes_loses_no_answered_charge_and_adds_none(
    tmp_path: Path,
    disk: FaultyDisk,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    interval_ms: int | None,
) -> None:
    use_interval(monkeypatch, interval_ms)
    answered: dict[str, int] = {}
    is_over = asyncio.Event()
    async with running_gateway(tmp_path, terms=TERMS) as gateway:

        async def keep_calling() -> None:
            while not is_over.is_set():
                reply = await gateway.chat()
                if reply.status != 200:
                    check_unavailable(reply)
                    await asyncio.sleep(0.01)
                    continue
                cost = int(reply.headers["x-latchgate-cost-nanos"])
                answered[reply.headers["x-request-id"]] = cost

        callers = [asyncio.create_task(keep_calling()) for _ in range(8)]
        for _ in range(3):
            enough, failures = len(answered) + 40, disk.failures + 2
            await wait_until(lambda: len(answered) >= enough)  # noqa: B023 - awaited here
            disk.fail(fault)
            await wait_until(lambda: disk.failures >= failures)  # noqa: B023 - awaited here
            disk.mend()
        is_over.set()
        await asyncio.gather(*callers)
        await wait_until(lambda: gateway.engine.journal.is_writable)
        await _all_synced(gateway)
        rest = await crash(gateway, tmp_path / "rest")
        assert (rest.charges, rest.findings) == (answered, ())
        await check_free_of_holds(gateway, spent=sum(answered.values()))
    rest = await recovered(tmp_path)
    assert (rest.charges, rest.findings) == (answered, ())


@FAULTS
@pytest.mark.parametrize(
    "ending", ["crash", "crash once it is mended", "stop", "stop when it is mended"]
)
async def test_what_was_answered_before_its_sync_failed_outlives_the_process(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch, fault: str, ending: str
) -> None:
    """Only a power cut may take what is written and not synced, and the disk when it dies."""
    use_interval(monkeypatch, 200)
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        answered = [await gateway.chat() for _ in range(5)]
        disk.fail(fault)
        answered += await _until_failed(gateway)
        if "mended" in ending:
            disk.mend()
        if ending == "crash once it is mended":
            while gateway.engine.journal.failure is not None:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0)
        if "crash" in ending:
            rest = await crash(gateway, tmp_path / "rest")
    disk.mend()
    if "crash" not in ending:
        rest = await recovered(tmp_path)
    expected = {reply.headers["x-request-id"]: CHARGE for reply in answered}
    assert (rest.charges, rest.findings) == (expected, ())


# ── a disk that is really full ──────────────────────────────────────────────────────────────────
def test_where_files_may_not_grow_just_what_is_safe_is_in_the_journal(tmp_path: Path) -> None:
    check_small_files(tmp_path)


async def _prepare(data: Path, base_url: str) -> tuple[str, Path]:
    """An account with a key, and a model; the key's secret, and where the journal will be."""
    world = await open_world(Settings(data_dir=data, embedded=EmbeddedSettings(enabled=False)))
    services = world.services
    await services.catalog.add_upstream("fake", base_url=base_url, api_key=None)
    await services.catalog.add_model(
        "m",
        upstream="fake",
        upstream_model=None,
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=TERMS,
    )
    account = await services.accounts.create(
        "rich@example.com",
        "seven quiet violet llamas",
        is_operator=False,
        credit_nanos=5_000_000_000,
        actor=CLI.actor,
    )
    key = await services.api_keys.create(account.account_id, "test", caller=CLI)
    await world.close()
    return key.secret, world.data.journal


async def test_a_full_disk_stops_paid_calls_until_there_is_room(
    tmp_path: Path, model_server: ModelServer
) -> None:
    data = tmp_path / "data"
    secret, journal_folder = await _prepare(data, model_server.base_url)
    with small_disk(journal_folder) as is_mounted:
        if not is_mounted:
            sys.stdout.write(
                "mounting is not allowed here: files that may not grow take its place\n"
            )
            check_small_files(journal_folder)
            return
        sys.stdout.write("on a full file system of 256 KiB\n")
        ballast = journal_folder / "ballast"
        ballast.write_bytes(b"x" * 220 * 1024)
        with ServerProcess(data, "--no-embedded-model") as server:
            crowd = Crowd(server.port, secret, secret)

            async def call_until(status: int, times: int) -> None:
                while [seen.status for seen in crowd.seen[-times:]] != [status] * times:
                    await crowd.call(is_rich=True, is_stream=False)

            await call_until(200, 3)
            await call_until(503, 20)
            ballast.unlink()
            await call_until(200, 20)
            report = await asyncio.to_thread(server.cli, "audit")
            assert (report["agrees"], report["findings"]) == (True, [])
        answered = {seen.request_id: seen.cost_nanos for seen in crowd.complete}
        assert set(answered.values()) == {CHARGE}
        with closing(sqlite3.connect(data / "latchgate.db")) as conn:
            query = "SELECT request_id, charge_nanos FROM usage_events WHERE charge_nanos > 0"
            assert dict(conn.execute(query).fetchall()) == answered
        report = await asyncio.to_thread(server.cli, "audit")
        assert (report["agrees"], report["findings"]) == (True, [])
