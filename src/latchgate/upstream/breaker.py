"""A breaker for each upstream: one that keeps failing is left alone for a while.

    closed ─ FAILURES_MAX in a row ─► open ─ after OPEN_S ─► half open: one call tries
      ▲                                ▲                          │
      └────────── it answers ──────────┼──────────────────────────┤
                                       └───────── it fails ───────┘

What counts is that the server can't be reached, breaks off, is too slow, or says so itself (502,
503, 504). A 500 does not: one caller's strange prompt must not shut everybody out.
"""

from __future__ import annotations

from latchgate.domain.errors import UpstreamFailed

FAILURES_MAX = 5
#: How long calls are refused without trying, in seconds.
OPEN_S = 5.0
_FAILING = frozenset({502, 503, 504})


class Breaker:
    """One upstream's. Times are seconds of the loop's clock."""

    __slots__ = ("_failures", "_is_trying", "_open_until_s", "failures")

    def __init__(self) -> None:
        self._failures = 0
        self._open_until_s = 0.0
        self._is_trying = False
        #: All of them, since the beginning.
        self.failures = 0

    @property
    def is_broken(self) -> bool:
        """Whether it is left alone, but for one call that tries now and then."""
        return self._failures >= FAILURES_MAX

    def enter(self, now_s: float) -> None:
        """A call wants to go. Raises UpstreamFailed while the upstream is left alone."""
        if self._failures < FAILURES_MAX:
            return
        if now_s < self._open_until_s or self._is_trying:
            raise UpstreamFailed(
                "The model's server keeps failing, and is tried again in a few seconds.",
                status=503,
                code="server_is_overloaded",
                internal="breaker open",
            )
        self._is_trying = True

    def answered(self, status: int, now_s: float) -> None:
        """It answered, with this status."""
        if status in _FAILING:
            self.failed(now_s)
        else:
            self._failures = 0
            self._is_trying = False

    def failed(self, now_s: float) -> None:
        """It could not be reached, broke off, or was too slow."""
        self._failures += 1
        self.failures += 1
        self._is_trying = False
        if self._failures >= FAILURES_MAX:
            self._open_until_s = now_s + OPEN_S

    def given_up(self) -> None:
        """The call ended for a reason of ours, which says nothing about the upstream."""
        self._is_trying = False
