"""Questions of the playground's, asked of a gateway without the console."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from latchgate.domain.ids import new_id
from latchgate.services.playground import Playground, Question, RunningAnswer, Turn
from tests.support.gateway import ACCOUNT, Gateway
from tests.support.model_server import Received, chunk, send_chunk, start_events


def question(text: str = "Say hi", **chosen: Any) -> Question:
    """What somebody asks the model on offer."""
    return Question(**{"model": "m", "turns": (Turn("user", text),), **chosen})


async def begun(gateway: Gateway, asked: Question | None = None) -> RunningAnswer:
    """An answer whose first piece is here. Raises what the call was refused with."""
    playground = Playground(
        gateway.store, gateway.clock, gateway.catalog, gateway.engine.call_from_inside
    )
    request_id = new_id("req", gateway.clock.now_us())
    answer = await playground.ask(ACCOUNT, asked or question(), request_id=request_id, ip="::1")
    await answer.begin()
    return answer


async def ask(gateway: Gateway, asked: Question | None = None) -> list[Any]:
    """All events of an answer."""
    answer = await begun(gateway, asked)
    data = b"".join([piece async for piece in answer.pieces()])
    payloads = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    return [
        "[DONE]" if payload == b"[DONE]" else msgspec.json.decode(payload) for payload in payloads
    ]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(120):
        while not is_so():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def settled(gateway: Gateway) -> None:
    """Wait until all calls are over and noted; then nothing may be held."""
    journal = gateway.engine.journal
    await until(lambda: not (gateway.directory.running_calls or journal._waiting))
    assert gateway.engine.purse.held_nanos_all() == 0


def stalls(pieces: int) -> Callable[[Received, asyncio.StreamWriter], Any]:
    """A model server that writes a few pieces and then nothing, until it is hung up on."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        for number in range(pieces):
            await send_chunk(writer, chunk({"content": f"word{number} "}))
        await request.hang_up()

    return behave
