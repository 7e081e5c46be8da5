"""Prices that come into force later: known here before, so that no call waits to hear of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from latchgate.domain.windows import FOREVER_US

if TYPE_CHECKING:
    from latchgate.gateway.offers import ModelEntry


class PriceChanges:
    """Models as they will be, each from its moment on. Used from one event loop."""

    def __init__(self) -> None:
        self._coming: list[tuple[int, ModelEntry]] = []
        #: When the first of them comes into force.
        self.next_us = FOREVER_US

    def expect(self, coming: Iterable[tuple[int, ModelEntry]]) -> None:
        """These are all that will come, in the order of their moments."""
        self._coming = list(coming)
        self._look_ahead()

    def take_due(self, now_us: int) -> dict[str, ModelEntry]:
        """The models whose moment has come, by name; they are expected no longer."""
        due = {entry.name: entry for at_us, entry in self._coming if at_us <= now_us}
        self._coming = [change for change in self._coming if change[0] > now_us]
        self._look_ahead()
        return due

    def _look_ahead(self) -> None:
        self.next_us = self._coming[0][0] if self._coming else FOREVER_US
