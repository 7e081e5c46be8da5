"""What the purse's tests do again and again."""

from __future__ import annotations

import asyncio

from latchgate.domain.windows import Window
from latchgate.gateway.holds import Hold
from latchgate.gateway.purse import Purse
from tests.storage.bank import Bank


async def hold_exactly(purse: Purse, amount_nanos: int, *windows: Window) -> Hold:
    """A hold of exactly so much, which must be there."""
    held = await purse.hold(windows, wanted=amount_nanos, least=amount_nanos)
    assert isinstance(held, Hold)
    assert held.amount_nanos == amount_nanos
    return held


async def at_rest(purse: Purse) -> None:
    """Nothing is leased in the background any more."""
    while purse._ahead:
        await asyncio.wait(purse._ahead)


async def check_books(bank: Bank, purse: Purse, *windows: Window) -> None:
    """What the database has leased is what the purse knows of."""
    await at_rest(purse)
    for window in windows:
        piece = purse.slice_of(window)
        assert await bank.leased_nanos(window) == piece.leased_nanos
        assert min(piece.free_nanos, piece.held_nanos, piece.charged_nanos) >= 0
        assert piece.free_nanos + piece.held_nanos + piece.charged_nanos == piece.leased_nanos
