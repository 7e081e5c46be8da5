"""Model servers that play foul, and what must be true after each of them."""

from __future__ import annotations

import asyncio
import json

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, Reply
from tests.support.model_server import (
    Behaviour,
    Received,
    answers,
    chunk,
    completion,
    usage_chunk,
    usage_of,
)

#: 100, 20 and 400 nano-USD a token.
TERMS = ModelTerms(100_000, 20_000, 400_000)
CHARGE = 12 * 100 + 5 * 400
ANSWER = json.dumps(completion(usage=usage_of(12, 5))).encode()
EVENTS = chunk({"content": "one "}) + usage_chunk(usage_of(12, 5)) + b"data: [DONE]\n\n"
OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"transfer-encoding: chunked\r\n"
LENGTH = b"content-length: %d\r\n\r\n"
#: More than any bound of ours: whoever reads so much reads without end.
ENDLESS_BYTES = 60_000_000


def sends(data: bytes, *, and_hangs: bool = False) -> Behaviour:
    """A server that sends these bytes and closes, or hangs."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if and_hangs:
            await request.hang_up()
        writer.close()

    return behave


class Endless:
    """A server that sends the same bytes again and again, until nobody listens."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head = head
        self._piece = piece * (1 + 65_536 // len(piece))
        self.has_sent_all = False

    async def __call__(self, _request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head)
        for _ in range(ENDLESS_BYTES // len(self._piece)):
            writer.write(self._piece)
            await writer.drain()
        self.has_sent_all = True
        writer.close()


async def check_next(gateway: Gateway, *, spent: int) -> None:
    """Nothing is held or on loan, the books agree, and the next call is like any other."""
    pool = gateway.engine.pool
    assert pool._count == sum(len(place.idle) for place in pool._places.values())
    balances = await gateway.balances()
    assert (balances.spent_nanos, balances.held_nanos) == (spent, 0)
    assert (await gateway.audit()).findings == ()
    gateway.model_server.behaviour = answers()
    assert (await gateway.chat()).headers["x-latchgate-cost-nanos"] == str(CHARGE)


async def check_refused(gateway: Gateway, reply: Reply, *, status: int = 502) -> None:
    """A clean refusal that costs nothing."""
    codes = {502: "upstream_error", 504: "upstream_timeout"}
    assert (reply.status, reply.error["code"]) == (status, codes[status])
    (event,) = await gateway.events()
    assert (event.outcome, event.http_status, event.charge_nanos) == ("failed", status, 0)
    await check_next(gateway, spent=0)
