"""Requests of one turn of the loop go out at its end."""

from __future__ import annotations

import asyncio
import socket

import pytest

from latchgate.outbox import Outbox

pytestmark = pytest.mark.anyio


async def open_line() -> tuple[asyncio.Transport, socket.socket]:
    """Where to write, and the other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    return transport, theirs


async def close(transport: asyncio.Transport, other: socket.socket) -> None:
    """Leave nothing open."""
    transport.abort()
    other.close()
    await asyncio.sleep(0)


async def test_what_is_written_in_one_turn_goes_out_in_order_behind_it() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    (first, to_first), (second, to_second) = await open_line(), await open_line()
    for data in (b"once", b"again"):  # a later turn is no different
        outbox.add(first, data)
        outbox.add(second, b"to another")
        outbox.add(first, b", and more")
        with pytest.raises(BlockingIOError):
            to_first.recv(100)
        await asyncio.sleep(0)
        assert to_first.recv(100) == data + b", and more"
        assert to_second.recv(100) == b"to another"
    await close(first, to_first)
    await close(second, to_second)


async def test_who_writes_past_it_or_closes_can_have_it_written_before() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    transport, other = await open_line()
    outbox.add(transport, b"first, ")
    outbox.flush()
    transport.write(b"second")
    transport.close()
    await asyncio.sleep(0)
    assert other.recv(100) == b"first, second"
    await close(transport, other)


async def test_what_is_cut_before_the_end_of_the_turn_is_not_written() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    transport, other = await open_line()
    outbox.add(transport, b"never")
    transport.abort()
    await asyncio.sleep(0)
    assert other.recv(100) == b""
    await close(transport, other)
