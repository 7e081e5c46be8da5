"""The terms on which credit is paid for by itself: when, how much, and at most in a month."""

from __future__ import annotations

from dataclasses import dataclass

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import AMOUNT_NANOS_MAX, format_usd
from latchgate.domain.payments import cents_of


@dataclass(frozen=True, slots=True)
class TopUpTerms:
    """Below ``threshold_nanos`` pay ``amount_nanos``, in a month at most ``month_max_nanos``."""

    threshold_nanos: int
    amount_nanos: int
    month_max_nanos: int

    def check(self, *, least_nanos: int, most_nanos: int) -> None:
        """Raise InvalidRequest unless one payment lifts the credit over the threshold, and fits."""
        cents_of(self.amount_nanos, least_nanos=least_nanos, most_nanos=most_nanos)
        if not 0 < self.threshold_nanos <= self.amount_nanos:
            raise InvalidRequest(
                "The credit to top up at is more than nothing and at most the amount of one "
                f"top-up, ${format_usd(self.amount_nanos)}.",
                param="threshold",
            )
        if not self.amount_nanos <= self.month_max_nanos <= AMOUNT_NANOS_MAX:
            raise InvalidRequest(
                "The most in a month is at least the amount of one top-up, "
                f"${format_usd(self.amount_nanos)}.",
                param="month_max",
            )
