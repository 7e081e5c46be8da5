"""Guards what a client pays that hangs up: the published rule, at every moment of every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from latchgate.gateway.call import Call
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, running_gateway
from tests.support.model_server import (
    Received,
    answers,
    chunk,
    completion,
    send_chunk,
    start_events,
    usage_chunk,
    usage_of,
)

pytestmark = pytest.mark.anyio

#: 100, 20 and 400 nano-USD a token.
TERMS = ModelTerms(100_000, 20_000, 400_000)
MESSAGES = [{"role": "user", "content": "Say hi"}]
#: The published rule: a token for every four bytes of the prompt, rounded up.
PROMPT = -(-len(json.dumps(MESSAGES, separators=(",", ":"))) // 4)
STATED = usage_of(12, 5)
TEXT = "word " * 4
MOMENTS = ("before the first", "after the first", "in the middle", "before usage", "after usage")
ENDINGS = ("usage", "none", "error", "hangs")
HERE = b": here\n\n"
HANG_UPS = 10_000
AT_ONCE = 100


def _request(gateway: Gateway, *, is_stream: bool) -> bytes:
    body = json.dumps({"model": "m", "messages": MESSAGES, "stream": is_stream}).encode()
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        f"content-type: application/json\r\nauthorization: Bearer {gateway.secret}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


def _bytes_received(gateway: Gateway) -> Iterator[int]:
    """How much of each running call's answer the gateway has."""
    for entry in gateway.directory._by_digest.values():
        for call in entry.running:
            assert isinstance(call, Call)
            yield 0 if call._connection is None else call._connection.bytes_received


async def _settled(gateway: Gateway) -> None:
    """Wait until all calls are over; then nothing may be held, and no connection be on loan."""
    journal = gateway.engine.journal
    while gateway.directory.running_calls or journal._waiting:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.002)
    await gateway.engine.drain.flush()
    assert gateway.engine.purse.held_nanos_all() == 0
    pool = gateway.engine.pool
    assert pool._count == sum(len(place.idle) for place in pool._places.values())


async def _check(gateway: Gateway, *, charge: int, calls: int) -> None:
    """The books agree, and the next call is like any other."""
    balances = await gateway.balances()
    assert (balances.spent_nanos, balances.held_nanos) == (charge, 0)
    assert (await gateway.audit()).findings == ()
    gateway.model_server.behaviour = answers()
    assert (await gateway.chat()).status == 200
    assert len(gateway.model_server.received) == calls + 1


@dataclass
class Cell:
    """One hang-up: when, and how the model's server would have ended."""

    moment: str
    ending: str
    is_stream: bool

    def steps(self) -> tuple[bytes, bytes]:
        """What a stream sends before the hang-up, and after it."""
        pieces = [chunk({"content": "word "}) for _ in range(4)]
        end = {"usage": usage_chunk(STATED), "error": b'data: {"error":{"message":"no"}}\n\n'}
        parts = [
            chunk({"role": "assistant", "content": None}),
            pieces[0],
            pieces[1],
            b"".join(pieces[2:]) + chunk({}, finish="stop"),
            end.get(self.ending, b""),
        ]
        count = MOMENTS.index(self.moment) + 1
        return b"".join(parts[:count]), b"".join(parts[count:]) + b"data: [DONE]\n\n"

    def body(self) -> tuple[int, bytes, int]:
        """A whole answer's status and body, and how much of it comes before the hang-up."""
        status, answer = 200, completion(TEXT, usage=STATED)
        if self.ending == "none":
            answer.pop("usage")
        if self.ending == "error":
            status, answer = 500, {"error": {"message": "no"}}
        body = json.dumps(answer).encode()
        end = len(body) - (self.ending == "hangs")
        usage_at = body.find(b', "usage"')
        before_usage = usage_at if usage_at > 0 else len(body) - 1
        return status, body, [0, 1, len(body) // 2, before_usage, end][MOMENTS.index(self.moment)]

    @property
    def is_over(self) -> bool:
        """Whether the answer had ended before the client hung up."""
        if self.moment != "after usage":
            return False
        return self.ending == "error" if self.is_stream else self.ending != "hangs"

    @property
    def expected(self) -> tuple[str, int, int, str]:
        """How the call ends: outcome, input and output tokens, and who counted them."""
        outcome = "hung_up"
        if self.is_over:
            outcome = "failed" if self.ending == "error" else "answered"
        if outcome == "failed" and not self.is_stream:
            return "failed", 0, 0, "nobody"  # no text had arrived: it is free
        is_known = self.is_stream or outcome == "answered"
        if self.moment == "after usage" and self.ending == "usage" and is_known:
            return outcome, 12, 5, "upstream"
        if self.is_stream:
            return outcome, PROMPT, [0, 1, 2, 4, 4][MOMENTS.index(self.moment)], "gateway"
        # Part of a whole answer can't be read: no text of it has arrived.
        return outcome, PROMPT, -(-len(TEXT) // 8) if self.is_over else 0, "gateway"


class Stage:
    """A model server that plays a cell, and plays on when the client has gone."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.sent = asyncio.Event()
        self.bytes_sent = 0
        self.may_go_on = asyncio.Event()

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self.cell.is_stream:
            before, after = self.cell.steps()
            await start_events(writer)
            await send_chunk(writer, before + HERE)
        else:
            status, body, count = self.cell.body()
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            count += len(head) if count else 0
            before, after = (head + body)[:count], (head + body)[count:]
            self.bytes_sent = len(before)
            writer.write(before)
        self.sent.set()
        await self.may_go_on.wait()
        if self.cell.ending != "hangs":
            writer.write(after)
        await request.hang_up()


@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_hang_up_costs_what_the_published_rule_says(
    tmp_path: Path, moment: str, ending: str, *, is_stream: bool
) -> None:
    cell = Cell(moment, ending, is_stream)
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        stage = gateway.model_server.behaviour = Stage(cell)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(_request(gateway, is_stream=is_stream))
        await stage.sent.wait()
        if is_stream and not cell.is_over:
            await reader.readuntil(HERE)
        elif not cell.is_over:
            while stage.bytes_sent not in _bytes_received(gateway):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.002)
        else:
            await _settled(gateway)
        writer.transport.abort()
        await _settled(gateway)
        stage.may_go_on.set()
        (event,) = await gateway.events()
        counts = (event.input_tokens, event.output_tokens, event.counted_by)
        assert (event.outcome, *counts) == cell.expected
        charge = event.input_tokens * 100 + event.output_tokens * 400
        assert event.charge_nanos == charge <= event.hold_nanos
        if not cell.is_over or is_stream:
            await gateway.model_server.heard_hang_up.wait()
        await _check(gateway, charge=charge, calls=1)


def _totals(conn: Connection) -> tuple[int, int]:
    row = conn.execute(text("SELECT count(*), sum(charge_nanos) FROM usage_events")).one()
    return row[0], row[1]


async def test_a_client_that_has_gone_while_its_call_waited_for_money_runs_nothing(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=50_000) as gateway:
        stage = gateway.model_server.behaviour = Stage(Cell("before the first", "usage", False))
        first = asyncio.create_task(gateway.chat())  # it holds all that there is
        await stage.sent.wait()
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(_request(gateway, is_stream=False))
        slices = gateway.engine.purse._slices
        while not any(piece.waiting for piece in slices.values()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.002)
        writer.transport.abort()
        await asyncio.sleep(0.1)  # until the gateway has heard of it
        gateway.model_server.behaviour = answers(usage=STATED)
        stage.may_go_on.set()
        assert (await first).status == 200
        await asyncio.sleep(0.1)
        await _settled(gateway)
        charges = [(e.outcome, e.charge_nanos) for e in await gateway.events()]
        assert charges.count(("answered", 12 * 100 + 5 * 400)) == 1, (
            "nobody was there to be answered"
        )
        assert sum(charge for _, charge in charges) <= 12 * 100 + 5 * 400 + PROMPT * 100


async def test_ten_thousand_hang_ups_leave_no_hold_and_no_doubt(tmp_path: Path) -> None:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"content": "word "}))
        await request.hang_up()

    async with running_gateway(tmp_path, terms=TERMS, running_per_key_max=1000) as gateway:
        gateway.model_server.behaviour = behave
        data = _request(gateway, is_stream=True)

        async def hang_up(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(data)
            if number % 10:
                await reader.readuntil(b"word ")
            elif number % 20:
                await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

        async def keep_hanging_up(first: int) -> None:
            for number in range(first, HANG_UPS, AT_ONCE):
                await hang_up(number)

        await asyncio.gather(*map(keep_hanging_up, range(AT_ONCE)))
        await _settled(gateway)
        count, charge = await gateway.store.read(_totals)
        assert HANG_UPS * 9 // 10 <= count <= HANG_UPS
        await _check(gateway, charge=charge, calls=len(gateway.model_server.received))
