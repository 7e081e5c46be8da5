"""The purse: budgets' leases in memory, and the holds that calls make inside them.

For each window of a budget this process has a slice, of which at every moment

    leased (in the database)  =  free + held + charged + excess

``held`` belongs to running calls, ``charged`` to ended ones whose charge is not posted yet. A hold
takes from ``free`` without touching the database; when ``free`` is too small, a lease is taken
first. Nothing here can spend what the database has not set aside. ``excess`` is there when a limit
was lowered below what is spent and leased already: what running calls give back then goes to the
database and not to the next call. While they hold it, ``free`` is below zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from latchgate.domain.errors import LedgerUnavailable
from latchgate.domain.windows import FOREVER_US
from latchgate.gateway.holds import Binding, Hold, Shortage, Slice
from latchgate.storage.leases import return_lease, take_lease

if TYPE_CHECKING:
    from latchgate.domain.windows import Window
    from latchgate.storage.charges import Spent
    from latchgate.storage.store import Store

log = structlog.get_logger()

#: How much is leased ahead of need, in nano-USD (0.20 USD), while a budget has plenty; or so many
#: times what a call asks for, if that is more.
AHEAD_NANOS = 200_000_000
AHEAD_CALLS = 16


class Purse:
    """All slices of one epoch. Used from one event loop.

    ``wait_s`` is how long a call waits for running ones to give back what they hold and do not
    spend, before it is refused.
    """

    def __init__(self, store: Store, epoch_id: str, *, wait_s: float = 0.0) -> None:
        self._store = store
        self._epoch_id = epoch_id
        self._wait_s = wait_s
        self._slices: dict[Window, Slice] = {}
        #: How often slices were forgotten: bindings from before may have one of them.
        self._generation = 0
        self._ahead: set[asyncio.Task[None]] = set()

    def slice_of(self, window: Window) -> Slice:
        """This process's slice of a window, empty at first."""
        piece = self._slices.get(window)
        if piece is None:
            piece = self._slices[window] = Slice(window)
        return piece

    def bind(self, windows: Sequence[Window], until_us: int = FOREVER_US) -> Binding:
        """The slices of these windows; good until then, while ``is_bound`` says so."""
        return Binding(tuple(map(self.slice_of, windows)), self._generation, until_us)

    def is_bound(self, binding: Binding, now_us: int) -> bool:
        """Whether a binding's slices are still those of the windows that bind."""
        return now_us < binding.until_us and binding.generation == self._generation

    # ── holds ───────────────────────────────────────────────────────────────────────────────────
    def hold_now(self, binding: Binding, wanted: int, least: int) -> Hold | Shortage | None:
        """``hold``, where memory alone can tell; None where the database or a wait must.

        All or nothing: either every window carries the hold or none does.
        """
        for piece in binding.slices:
            if piece.free_nanos < wanted:
                return self._hold_less(binding, wanted, least)
        return self._take(binding, wanted)

    def _hold_less(self, binding: Binding, wanted: int, least: int) -> Hold | Shortage | None:
        """What there is, where the database has no more to give, and nothing can come back."""
        left, tightest = wanted, binding.slices[0]
        for piece in binding.slices:
            free = piece.free_nanos
            if free < wanted and not piece.is_dry:
                return None
            if free < left:
                left, tightest = free, piece
        if left >= least:
            return self._take(binding, left)
        if self._wait_s and left + tightest.held_nanos >= least:
            return None
        return Shortage(tightest.window, max(0, left))

    async def hold(self, windows: Sequence[Window], *, wanted: int, least: int) -> Hold | Shortage:
        """Reserve ``wanted`` nano-USD in every window, or as much as there is, but ``least``.

        All or nothing: either every window carries the hold or none does. Raises LedgerUnavailable
        when a lease is needed and the database can't be reached.
        """
        binding = self.bind(windows)
        hold = self.hold_now(binding, wanted, least)
        return await self._hold_slowly(binding, wanted, least) if hold is None else hold

    def _take(self, binding: Binding, amount_nanos: int) -> Hold:
        hold = Hold(binding, amount_nanos)
        ahead_nanos = _ahead_nanos(amount_nanos)
        for piece in binding.slices:
            piece.is_warm = True
            if not piece.is_low and piece.free_nanos < ahead_nanos // 4:
                self._refill_ahead(piece, ahead_nanos)
        return hold

    async def _hold_slowly(self, binding: Binding, wanted: int, least: int) -> Hold | Shortage:
        slices = binding.slices
        until_s = asyncio.get_running_loop().time() + self._wait_s
        for piece in slices:
            piece.askers += 1
        try:
            while True:
                for piece in slices:
                    if piece.free_nanos < wanted and not piece.is_dry:
                        await self._refill(piece, wanted, _ahead_nanos(wanted))
                # No await from here to the hold: what is free now is still free when it is taken.
                tightest = min(slices, key=_free)
                if tightest.free_nanos >= least:
                    return self._take(binding, min(wanted, tightest.free_nanos))
                if not tightest.is_dry:
                    continue  # another call took what was leased for this one
                if not await self._freed(tightest, least, until_s):
                    return Shortage(tightest.window, max(0, tightest.free_nanos))
        finally:
            for piece in slices:
                piece.askers -= 1

    async def _freed(self, piece: Slice, least: int, until_s: float) -> bool:
        """Wait until a running call gives something back; False: that would be of no use."""
        loop = asyncio.get_running_loop()
        if piece.free_nanos + piece.held_nanos < least or loop.time() >= until_s:
            return False
        future = loop.create_future()
        piece.waiting.append(future)
        try:
            async with asyncio.timeout_at(until_s):
                await future
        except TimeoutError:
            if future in piece.waiting:
                piece.waiting.remove(future)
            return False
        return True

    def extend(self, hold: Hold, amount_nanos: int) -> bool:
        """Hold more for a running call, if that is free here; more is leased in the background."""
        is_extended = hold.extend(amount_nanos)
        ahead_nanos = _ahead_nanos(amount_nanos)
        for piece in hold.slices:
            if not piece.is_low and piece.free_nanos < ahead_nanos // 4:
                self._refill_ahead(piece, ahead_nanos)
        return is_extended

    async def extend_slowly(self, hold: Hold, amount_nanos: int) -> bool:
        """Hold more for a running call, waiting as a new one would. False: there is no more."""
        until_s = asyncio.get_running_loop().time() + self._wait_s
        while hold.is_open:
            for piece in hold.slices:
                if piece.free_nanos < amount_nanos and not piece.is_dry:
                    await self._refill(piece, amount_nanos, _ahead_nanos(amount_nanos))
            if hold.extend(amount_nanos):
                return True
            tightest = min(hold.slices, key=_free)
            if tightest.is_dry and not await self._freed(tightest, amount_nanos, until_s):
                return False
        return False

    # ── leases ──────────────────────────────────────────────────────────────────────────────────
    async def _refill(self, piece: Slice, needed_nanos: int, ahead_nanos: int) -> None:
        """Lease what is needed, and ``ahead_nanos`` in all where that is plentiful."""
        async with piece.refilling:
            if piece.excess_nanos:
                await self._give_back(piece, min(piece.returnable_nanos, piece.excess_nanos))
            missing = max(0, needed_nanos - piece.free_nanos)
            if piece.is_dry or (needed_nanos and not missing):
                return
            try:
                taken = await self._store.write(
                    take_lease,
                    epoch_id=self._epoch_id,
                    window=piece.window,
                    wanted_nanos=max(missing, ahead_nanos - piece.free_nanos),
                    needed_nanos=missing,
                )
            except SQLAlchemyError as error:
                raise LedgerUnavailable(
                    "The account's credit can't be read just now. Try again later.",
                    internal=f"lease: {error}",
                ) from error
            piece.leased_nanos += taken
            piece.is_dry = taken < missing
            piece.is_low = taken == 0

    def _refill_ahead(self, piece: Slice, ahead_nanos: int) -> None:
        if piece.refilling.locked():
            return
        task = asyncio.create_task(self._refill(piece, 0, ahead_nanos))
        self._ahead.add(task)
        task.add_done_callback(self._on_ahead_done)

    def _on_ahead_done(self, task: asyncio.Task[None]) -> None:
        self._ahead.discard(task)
        # The call that needs the money will ask again, and hear of the failure itself.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("purse.lease_ahead_failed", error=str(error))

    def on_posted(self, spent: dict[Window, Spent]) -> None:
        """The drain has posted these charges: from leased into spent, or beside any lease."""
        for window, amounts in spent.items():
            piece = self._slices.get(window)
            if amounts.leased_nanos:
                piece = self.slice_of(window)
                piece.leased_nanos -= amounts.leased_nanos
                piece.charged_nanos -= amounts.leased_nanos
            if amounts.beside_nanos and piece is not None:
                # Perhaps the window had room for it: the next lease that is taken will show.
                piece.excess_nanos += amounts.beside_nanos
                piece.look_again()

    def on_credit(self) -> None:
        """Some budget has more to give than before: those that were dry are asked again."""
        for piece in self._slices.values():
            piece.look_again()
            piece.wake()

    async def on_limit_changed(self, budget_id: str) -> None:
        """A budget's limit was changed: what is free here goes back, so that the new one binds."""
        for piece in list(self._slices.values()):
            if piece.window.budget_id == budget_id:
                async with piece.refilling:
                    await self._give_back(piece, piece.returnable_nanos)
                piece.look_again()
                piece.wake()

    async def return_idle(self) -> None:
        """Give back what was not asked for since the last time, and forget empty slices."""
        for piece in list(self._slices.values()):
            if piece.is_warm:
                piece.is_warm = False
                continue
            await self._return(piece)
            is_empty = not (piece.leased_nanos or piece.held_nanos or piece.charged_nanos)
            if is_empty and not piece.askers:
                self._slices.pop(piece.window, None)
                self._generation += 1

    async def _return(self, piece: Slice) -> None:
        async with piece.refilling:
            if piece.returnable_nanos or piece.excess_nanos:
                await self._give_back(piece, piece.returnable_nanos)

    async def _give_back(self, piece: Slice, amount_nanos: int) -> None:
        """Return so much of a lease, and learn by how much its window is beyond its limit."""
        # First out of memory, then out of the database: nobody can hold it in between. Whoever asks
        # meanwhile finds the slice not dry, and waits for the lock.
        piece.leased_nanos -= amount_nanos
        piece.excess_nanos = max(0, piece.excess_nanos - amount_nanos)
        piece.look_again()
        try:
            piece.excess_nanos = await self._store.write(
                return_lease,
                epoch_id=self._epoch_id,
                window=piece.window,
                amount_nanos=amount_nanos,
            )
        except DBAPIError as error:
            # Undone, unless nobody knows: then it stays out until the epoch ends, and is not spent.
            if not error.connection_invalidated:
                piece.leased_nanos += amount_nanos
            raise

    async def close(self) -> None:
        """Let refills end, and give everything free back."""
        if self._ahead:
            await asyncio.gather(*self._ahead, return_exceptions=True)
        for piece in list(self._slices.values()):
            await self._return(piece)

    # ── figures ─────────────────────────────────────────────────────────────────────────────────
    @property
    def slices(self) -> Collection[Slice]:
        """Every window's slice."""
        return self._slices.values()

    def held_nanos(self, window: Window) -> int:
        """What running calls hold in one window, and ended ones owe it."""
        piece = self._slices.get(window)
        return 0 if piece is None else piece.held_nanos + piece.charged_nanos

    def held_nanos_all(self) -> int:
        """What all running calls hold, over every window."""
        return sum(piece.held_nanos for piece in self._slices.values())


def _free(piece: Slice) -> int:
    return piece.free_nanos


def _ahead_nanos(amount_nanos: int) -> int:
    """How much to have on lease where calls of this size come."""
    return max(AHEAD_NANOS, AHEAD_CALLS * amount_nanos)
