"""Guards how the playground's calls end: told, charged for what came, and never left running."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from latchgate.domain.errors import (
    Forbidden,
    InvalidRequest,
    LatchgateError,
    UpstreamFailed,
)
from latchgate.gateway.inside import WAITING_BYTES_MAX
from latchgate.services.playground import Question, Turn
from latchgate.storage import accounts as account_rows
from tests.support.gateway import ACCOUNT, USD, running_gateway
from tests.support.model_server import (
    Received,
    chunk,
    send_chunk,
    send_json,
    start_events,
)
from tests.support.playground import ask, begun, question, settled, stalls, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]


async def test_whoever_hangs_up_pays_for_what_has_come(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(3)
        answer = await begun(gateway)
        pieces = answer.pieces()
        await anext(pieces)
        await until(lambda: len(gateway.model_server.received) == 1)
        await pieces.aclose()  # type: ignore[attr-defined] - it is a generator
        await settled(gateway)
        (event,) = await gateway.events()
        assert event.outcome == "hung_up"
        assert 1 <= event.output_tokens <= 3
        assert (await gateway.audit()).findings == ()


async def test_hanging_up_before_the_answer_begins_ends_the_call(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(0)
        asking = asyncio.create_task(begun(gateway))
        await until(lambda: len(gateway.model_server.received) == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await settled(gateway)
        assert [event.outcome for event in await gateway.events()] == ["hung_up"]


async def test_a_suspended_account_is_cut_off_and_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(2)
        answer = await begun(gateway)
        await gateway.store.write(account_rows.set_account, ACCOUNT, state="suspended")
        gateway.directory.on_account_changed(ACCOUNT)
        data = b"".join([piece async for piece in answer.pieces()])
        assert data.endswith(b"\n\n")
        assert msgspec.json.decode(data.split(b"\n\n")[-2][6:])["error"]["code"] == "conflict"
        assert [event.outcome for event in await gateway.events()] == ["cut"]
        with pytest.raises(Forbidden) as refused:
            await ask(gateway)
        assert refused.value.code == "account_suspended"


async def test_a_slow_reader_slows_the_model_server(tmp_path: Path) -> None:
    sent = 0

    async def flood(_request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await start_events(writer)
        for _ in range(900):
            await send_chunk(writer, chunk({"content": "x" * 40_000}))
            sent += 1

    async with running_gateway(tmp_path, credit_nanos=5000 * USD) as gateway:
        gateway.model_server.behaviour = flood
        answer = await begun(gateway)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        assert WAITING_BYTES_MAX // 40_000 < sent < 900
        answer.hang_up()
        await settled(gateway)


async def test_a_model_server_that_fails_is_told_and_free(tmp_path: Path) -> None:
    async def fail(_request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, 500, {})

    async def break_off(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"content": "half a "}))
        writer.close()

    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = fail
        with pytest.raises(UpstreamFailed):
            await ask(gateway)
        gateway.model_server.behaviour = break_off
        *_, last = await ask(gateway)
        assert last["error"]["code"] == "upstream_error"
        outcomes = [(event.outcome, event.charge_nanos > 0) for event in await gateway.events()]
        assert outcomes == [("failed", True), ("failed", False)]
        assert (await gateway.audit()).findings == ()


@pytest.mark.parametrize(
    "asked",
    [
        question(" \n"),
        Question("m", ()),
        Question("m", (Turn("user", "a"), Turn("assistant", "b"))),
        Question("m", (Turn("system", "a"), Turn("user", "b"))),
        Question("m", (Turn("user", "a"),) * 65),
        question("x" * 32_001),
        question("half a character: \ud83d"),
        question(temperature=3.0),
        question(top_p=0.0),
        question(max_tokens=0),
    ],
    ids=lambda asked: f"{len(asked.turns)} turns, {asked.temperature}",
)
async def test_what_is_no_question_is_refused_and_noted_nowhere(
    tmp_path: Path, asked: Question
) -> None:
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(InvalidRequest):
            await ask(gateway, asked)
        assert gateway.model_server.received == []
        assert await gateway.events() == []


async def test_a_reason_for_the_end_is_told_to_the_reader(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(1)
        answer = await begun(gateway)
        answer.hang_up(LatchgateError("Enough.", code="enough"))
        answer.hang_up(LatchgateError("Once more.", code="twice"))
        data = b"".join([piece async for piece in answer.pieces()])
        assert b'"code":"enough"' in data
        assert b"twice" not in data
        await settled(gateway)
        assert [event.outcome for event in await gateway.events()] == ["hung_up"]
