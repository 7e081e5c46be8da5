"""Holds: what running calls have set aside, in the slices of the windows that bind them.

Slice     one window's lease in this process
Binding   the slices that a call binds, all at once
Hold      one call's reservation in all of them: open, then settled exactly once
Shortage  why there is none
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latchgate.domain.windows import Window


@dataclass(slots=True)
class Slice:
    """One window's lease in this process, in nano-USD."""

    window: Window
    leased_nanos: int = 0
    held_nanos: int = 0
    charged_nanos: int = 0
    #: What the window has out beyond its limit, and must have back first.
    excess_nanos: int = 0
    #: The database has no more to give; cleared when credit comes or a lease goes back.
    is_dry: bool = False
    #: It has nothing to give ahead of need.
    is_low: bool = False
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
        return self.leased_nanos - self.held_nanos - self.charged_nanos - self.excess_nanos

    @property
    def returnable_nanos(self) -> int:
        """What no call uses, excess or not."""
        return max(0, self.leased_nanos - self.held_nanos - self.charged_nanos)

    def look_again(self) -> None:
        """The database may have more to give than it had."""
        self.is_dry = self.is_low = False

    def wake(self) -> None:
        """Something is free again: let those who wait look."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Binding:
    """The slices of the windows that bind a call, for as long as the purse keeps those slices."""

    __slots__ = ("generation", "slices", "until_us", "windows")

    def __init__(self, slices: tuple[Slice, ...], generation: int, until_us: int) -> None:
        self.slices = slices
        self.generation = generation
        self.until_us = until_us
        #: As the journal writes them.
        self.windows = tuple((piece.window.budget_id, piece.window.starts_us) for piece in slices)


class Hold:
    """One call's reservation in every window that binds it: open, then settled exactly once."""

    __slots__ = ("amount_nanos", "is_open", "slices", "windows")

    def __init__(self, binding: Binding, amount_nanos: int) -> None:
        self.slices = binding.slices
        #: The windows that pay, as the journal writes them.
        self.windows = binding.windows
        self.amount_nanos = amount_nanos
        self.is_open = True
        for piece in binding.slices:
            piece.held_nanos += amount_nanos

    def extend(self, amount_nanos: int) -> bool:
        """Hold so much more in every window, or nothing more. Never waits."""
        if not self.is_open or any(piece.free_nanos < amount_nanos for piece in self.slices):
            return False
        self.amount_nanos += amount_nanos
        for piece in self.slices:
            piece.held_nanos += amount_nanos
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
            if piece.excess_nanos:
                piece.look_again()  # some of the excess can go back now
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


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no hold: the window that binds, and what is left in it, in nano-USD."""

    window: Window
    left_nanos: int
