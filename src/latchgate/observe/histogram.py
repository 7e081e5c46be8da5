"""Histograms of times, counted by bucket."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

#: Upper bounds of the buckets of a call's times, in seconds.
CALL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
#: And of the loop's lag.
LAG_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
#: Of what a call waits for before it is sent on, and of the disk.
BEFORE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0)
SYNC_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)


class Histogram:
    """Counts values by bucket. For one thread at a time."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Each bound with how many values are at most that."""
        names = [*map(str, self._bounds), "+Inf"]
        return [(name, float(n)) for name, n in zip(names, accumulate(self._counts), strict=True)]

    @property
    def sum(self) -> float:
        """All values added up."""
        return self._sum
