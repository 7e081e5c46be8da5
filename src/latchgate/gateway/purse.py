"""The purse: budgets' leases in memory, and the holds that calls make inside them.

For each window of a budget this process has a slice, of which at every moment

    leased (in the database)  =  free + held + charged

``held`` belongs to running calls, ``charged`` to ended ones whose charge is not posted yet. A hold
takes from ``free`` without touching the database; when ``free`` is too small, a lease is taken
first. Nothing here can spend what the database has not set aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from latchgate.domain.errors import LedgerUnavailable
from latchgate.storage.leases import return_lease, take_lease

if TYPE_CHECKING:
    from latchgate.domain.windows import Window
    from latchgate.storage.store import Store

log = structlog.get_logger()

#: How much is leased ahead of need, in nano-USD (0.20 USD), while a budget has plenty; or so many
#: times what a call asks for, if that is more.
AHEAD_NANOS = 200_000_000
AHEAD_CALLS = 16


@dataclass(slots=True)
class Slice:
    """One window's lease in this process, in nano-USD."""

    window: Window
    leased_nanos: int = 0
    held_nanos: int = 0
    charged_nanos: int = 0
    #: The database has no more to give; cleared when credit comes or a lease goes back.
    is_dry: bool = False
    #: A hold was asked for since idle leases were last given back.
    is_warm: bool = False
    #: Calls that are asking for a hold just now: the slice must stay.
    askers: int = 0
    refilling: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Calls that wait for running ones to end, because those hold all that there is.
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def free_nanos(self) -> int:
        """What a new hold may take."""
        return self.leased_nanos - self.held_nanos - self.charged_nanos

    def wake(self) -> None:
        """Something is free again: let those who wait look."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Hold:
    """One call's reservation in every window that binds it: open, then settled exactly once."""

    __slots__ = ("amount_nanos", "is_open", "slices")

    def __init__(self, slices: tuple[Slice, ...], amount_nanos: int) -> None:
        self.slices = slices
        self.amount_nanos = 0
        self.is_open = True
        self._grow(amount_nanos)

    def _grow(self, amount_nanos: int) -> None:
        self.amount_nanos += amount_nanos
        for piece in self.slices:
            piece.held_nanos += amount_nanos

    def extend(self, amount_nanos: int) -> bool:
        """Hold so much more in every window, or nothing more. Never waits."""
        if not self.is_open or any(piece.free_nanos < amount_nanos for piece in self.slices):
            return False
        self._grow(amount_nanos)
        return True

    def settle(self, charge_nanos: int) -> None:
        """Turn the hold into a charge of at most its amount; the rest is free again at once."""
        if not self.is_open:
            raise ValueError("a hold is settled once")
        if not 0 <= charge_nanos <= self.amount_nanos:
            raise ValueError(f"charge {charge_nanos} does not fit hold {self.amount_nanos}")
        self.is_open = False
        for piece in self.slices:
            piece.held_nanos -= self.amount_nanos
            piece.charged_nanos += charge_nanos
            if piece.waiting:
                piece.wake()

    def release(self) -> None:
        """Give the whole hold back."""
        self.settle(0)

    def void(self, charge_nanos: int) -> None:
        """Undo a settled charge that could not be made durable."""
        for piece in self.slices:
            piece.charged_nanos -= charge_nanos
            piece.wake()

    @property
    def windows(self) -> tuple[tuple[str, int], ...]:
        """The windows that pay, as the journal writes them."""
        return tuple((piece.window.budget_id, piece.window.starts_us) for piece in self.slices)


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no hold: the window that binds, and what is left in it, in nano-USD."""

    window: Window
    left_nanos: int


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
        self._ahead: set[asyncio.Task[None]] = set()

    def slice_of(self, window: Window) -> Slice:
        """This process's slice of a window, empty at first."""
        piece = self._slices.get(window)
        if piece is None:
            piece = self._slices[window] = Slice(window)
        return piece

    # ── holds ───────────────────────────────────────────────────────────────────────────────────
    async def hold(self, windows: Sequence[Window], *, wanted: int, least: int) -> Hold | Shortage:
        """Reserve ``wanted`` nano-USD in every window, or as much as there is, but ``least``.

        All or nothing: either every window carries the hold or none does. Raises LedgerUnavailable
        when a lease is needed and the database can't be reached.
        """
        slices = tuple(map(self.slice_of, windows))
        for piece in slices:
            if piece.free_nanos < wanted:
                return await self._hold_slowly(slices, wanted, least)
        return self._take(slices, wanted)

    def _take(self, slices: tuple[Slice, ...], amount_nanos: int) -> Hold:
        hold = Hold(slices, amount_nanos)
        ahead_nanos = max(AHEAD_NANOS, AHEAD_CALLS * amount_nanos)
        for piece in slices:
            piece.is_warm = True
            if not piece.is_dry and piece.free_nanos < ahead_nanos // 4:
                self._refill_ahead(piece, ahead_nanos)
        return hold

    async def _hold_slowly(
        self, slices: tuple[Slice, ...], wanted: int, least: int
    ) -> Hold | Shortage:
        until_s = asyncio.get_running_loop().time() + self._wait_s
        for piece in slices:
            piece.askers += 1
        try:
            while True:
                for piece in slices:
                    if piece.free_nanos < wanted and not piece.is_dry:
                        await self._refill(piece, wanted)
                # No await from here to the hold: what is free now is still free when it is taken.
                tightest = min(slices, key=_free)
                if tightest.free_nanos >= least:
                    return self._take(slices, min(wanted, tightest.free_nanos))
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
        ahead_nanos = max(AHEAD_NANOS, AHEAD_CALLS * amount_nanos)
        for piece in hold.slices:
            if not piece.is_dry and piece.free_nanos < ahead_nanos // 4:
                self._refill_ahead(piece, ahead_nanos)
        return is_extended

    async def extend_slowly(self, hold: Hold, amount_nanos: int) -> bool:
        """Hold more for a running call, waiting as a new one would. False: there is no more."""
        until_s = asyncio.get_running_loop().time() + self._wait_s
        while hold.is_open:
            for piece in hold.slices:
                if piece.free_nanos < amount_nanos and not piece.is_dry:
                    await self._refill(piece, amount_nanos)
            if hold.extend(amount_nanos):
                return True
            tightest = min(hold.slices, key=_free)
            if tightest.is_dry and not await self._freed(tightest, amount_nanos, until_s):
                return False
        return False

    # ── leases ──────────────────────────────────────────────────────────────────────────────────
    async def _refill(self, piece: Slice, wanted_nanos: int) -> None:
        async with piece.refilling:
            missing = wanted_nanos - piece.free_nanos
            if missing <= 0 or piece.is_dry:
                return
            try:
                taken = await self._store.write(
                    take_lease,
                    epoch_id=self._epoch_id,
                    window=piece.window,
                    wanted_nanos=max(missing, AHEAD_NANOS, AHEAD_CALLS * wanted_nanos),
                    needed_nanos=missing,
                )
            except SQLAlchemyError as error:
                raise LedgerUnavailable(
                    "The account's credit can't be read just now. Try again later.",
                    internal=f"lease: {error}",
                ) from error
            piece.leased_nanos += taken
            piece.is_dry = taken < missing

    def _refill_ahead(self, piece: Slice, ahead_nanos: int) -> None:
        if piece.refilling.locked():
            return
        # Only what is plentiful is taken ahead; the need of one call is taken when it comes.
        task = asyncio.create_task(self._refill(piece, ahead_nanos // 2))
        self._ahead.add(task)
        task.add_done_callback(self._on_ahead_done)

    def _on_ahead_done(self, task: asyncio.Task[None]) -> None:
        self._ahead.discard(task)
        # The call that needs the money will ask again, and hear of the failure itself.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("purse.lease_ahead_failed", error=str(error))

    def on_posted(self, spent: dict[Window, int]) -> None:
        """The drain has turned these charges from leased into spent."""
        for window, charge_nanos in spent.items():
            if charge_nanos:
                piece = self.slice_of(window)
                piece.leased_nanos -= charge_nanos
                piece.charged_nanos -= charge_nanos

    def on_credit(self) -> None:
        """Some budget has more to give than before: those that were dry are asked again."""
        for piece in self._slices.values():
            piece.is_dry = False
            piece.wake()

    async def on_limit_changed(self, budget_id: str) -> None:
        """A budget's limit was changed: what is free here goes back, so that the new one binds."""
        for piece in list(self._slices.values()):
            if piece.window.budget_id == budget_id:
                await self._return(piece)
                piece.is_dry = False
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

    async def _return(self, piece: Slice) -> None:
        async with piece.refilling:
            amount_nanos = piece.free_nanos
            if amount_nanos <= 0:
                return
            # First out of memory, then out of the database: nobody can hold it in between.
            piece.leased_nanos -= amount_nanos
            await self._store.write(
                return_lease,
                epoch_id=self._epoch_id,
                window=piece.window,
                amount_nanos=amount_nanos,
            )
            piece.is_dry = False

    async def close(self) -> None:
        """Let refills end, and give everything free back."""
        if self._ahead:
            await asyncio.gather(*self._ahead, return_exceptions=True)
        for piece in list(self._slices.values()):
            await self._return(piece)

    # ── figures ─────────────────────────────────────────────────────────────────────────────────
    def held_nanos(self, window: Window) -> int:
        """What running calls hold in one window, and ended ones owe it."""
        piece = self._slices.get(window)
        return 0 if piece is None else piece.held_nanos + piece.charged_nanos

    def held_nanos_all(self) -> int:
        """What all running calls hold, over every window."""
        return sum(piece.held_nanos for piece in self._slices.values())


def _free(piece: Slice) -> int:
    return piece.free_nanos
