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
from latchgate.storage.leases import Window, return_lease, take_lease

if TYPE_CHECKING:
    from latchgate.storage.store import Store

log = structlog.get_logger()

#: How much is leased ahead of need, in nano-USD (0.20 USD), while a budget has plenty.
AHEAD_NANOS = 200_000_000


@dataclass(slots=True)
class Slice:
    """One window's lease in this process, in nano-USD."""

    window: Window
    leased_nanos: int = 0
    held_nanos: int = 0
    charged_nanos: int = 0
    #: The database has no more to give; cleared when credit comes or a lease goes back.
    is_dry: bool = False
    refilling: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def free_nanos(self) -> int:
        """What a new hold may take."""
        return self.leased_nanos - self.held_nanos - self.charged_nanos


class Hold:
    """One call's reservation in every window that binds it: open, then settled exactly once."""

    __slots__ = ("amount_nanos", "is_open", "slices")

    def __init__(self, slices: tuple[Slice, ...], amount_nanos: int) -> None:
        self.slices = slices
        self.amount_nanos = amount_nanos
        self.is_open = True
        for piece in slices:
            piece.held_nanos += amount_nanos

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

    def release(self) -> None:
        """Give the whole hold back."""
        self.settle(0)

    def void(self, charge_nanos: int) -> None:
        """Undo a settled charge that could not be made durable."""
        for piece in self.slices:
            piece.charged_nanos -= charge_nanos

    @property
    def windows(self) -> tuple[tuple[str, int], ...]:
        """The windows that pay, as the journal writes them."""
        return tuple((piece.window.budget_id, piece.window.starts_us) for piece in self.slices)


class Purse:
    """All slices of one epoch. Used from one event loop."""

    def __init__(self, store: Store, epoch_id: str) -> None:
        self._store = store
        self._epoch_id = epoch_id
        self._slices: dict[Window, Slice] = {}
        self._ahead: set[asyncio.Task[None]] = set()

    def slice_of(self, window: Window) -> Slice:
        """This process's slice of a window, empty at first."""
        piece = self._slices.get(window)
        if piece is None:
            piece = self._slices[window] = Slice(window)
        return piece

    async def hold(self, windows: Sequence[Window], *, wanted: int, least: int) -> Hold | int:
        """Reserve ``wanted`` nano-USD in every window, or as much as there is, but ``least``.

        Returns the hold; or, when not even ``least`` fits, what is left in the tightest window.
        """
        slices = tuple(map(self.slice_of, windows))
        for piece in slices:
            if piece.free_nanos < wanted and not piece.is_dry:
                await self._refill(piece, wanted)
        # No await from here on: what is free now is still free when it is held.
        free = min((piece.free_nanos for piece in slices), default=wanted)
        if free < least:
            return max(0, free)
        hold = Hold(slices, min(wanted, free))
        for piece in slices:
            if not piece.is_dry and piece.free_nanos < AHEAD_NANOS // 4:
                self._refill_ahead(piece)
        return hold

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
                    wanted_nanos=max(missing, AHEAD_NANOS),
                    needed_nanos=missing,
                )
            except SQLAlchemyError as error:
                raise LedgerUnavailable(
                    "The account's credit can't be read just now. Try again later.",
                    internal=f"lease: {error}",
                ) from error
            piece.leased_nanos += taken
            piece.is_dry = taken < missing

    def _refill_ahead(self, piece: Slice) -> None:
        if piece.refilling.locked():
            return
        # Only what is plentiful is taken ahead; the need of one call is taken when it comes.
        task = asyncio.create_task(self._refill(piece, AHEAD_NANOS // 2))
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
            piece = self.slice_of(window)
            piece.leased_nanos -= charge_nanos
            piece.charged_nanos -= charge_nanos

    def on_credit(self) -> None:
        """Some budget has more to give than before: those that were dry are asked again."""
        for piece in self._slices.values():
            piece.is_dry = False

    def held_nanos(self, window: Window) -> int:
        """What running calls hold in a window, and ended ones owe it."""
        piece = self._slices.get(window)
        return 0 if piece is None else piece.held_nanos + piece.charged_nanos

    def held_nanos_all(self) -> int:
        """What all running calls hold, over every window."""
        return sum(piece.held_nanos for piece in self._slices.values())

    async def return_idle(self) -> None:
        """Give back what no hold uses, in every window."""
        for piece in list(self._slices.values()):
            async with piece.refilling:
                amount = piece.free_nanos
                if amount <= 0:
                    continue
                piece.leased_nanos -= amount
                await self._store.write(
                    return_lease,
                    epoch_id=self._epoch_id,
                    window=piece.window,
                    amount_nanos=amount,
                )
                piece.is_dry = False

    async def close(self) -> None:
        """Let refills end, and give everything free back."""
        if self._ahead:
            await asyncio.gather(*self._ahead, return_exceptions=True)
        await self.return_idle()
