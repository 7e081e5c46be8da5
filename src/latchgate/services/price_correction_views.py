"""What a correction of a price is about, and what it is for each account."""

from __future__ import annotations

from dataclasses import dataclass

from latchgate.domain.prices import PRIORITY_TIER, Price
from latchgate.services.catalog import ModelTerms

REFUNDS_ONLY = "It should have paid more, and only refunds are posted."
BELOW_ZERO = "It has less credit left than it should pay."
CLOSED = "The account is closed."


@dataclass(frozen=True, slots=True)
class CorrectionAsked:
    """What a model's calls that were let in during a span should have cost."""

    model: str
    since_us: int
    until_us: int
    terms: ModelTerms
    priority_percent: int
    #: Whether accounts that paid too little are charged the rest …
    has_charges: bool = False
    #: … even where that leaves them below zero.
    may_go_below_zero: bool = False

    def price_of(self, service_tier: str) -> Price:
        """The right price of calls of a service tier."""
        is_priority = service_tier == PRIORITY_TIER
        terms = self.terms.share(self.priority_percent) if is_priority else self.terms
        return Price("", terms.input_picos, terms.cached_picos, terms.output_picos)


@dataclass(frozen=True, slots=True)
class AccountCorrection:
    """What the correction is for one account, in nano-USD."""

    account_id: str
    email: str
    calls: int
    #: What its calls have cost so far, earlier corrections included.
    charged_nanos: int
    right_nanos: int
    #: Why nothing is posted; empty: something is.
    left_out: str = ""

    @property
    def amount_nanos(self) -> int:
        """What the account gets; below zero is taken from it."""
        return self.charged_nanos - self.right_nanos


@dataclass(frozen=True, slots=True)
class Correction:
    """Every account that the correction is about: as it would be, or as it was done."""

    lines: tuple[AccountCorrection, ...]

    @property
    def posted(self) -> tuple[AccountCorrection, ...]:
        """The accounts that get a posting."""
        return tuple(line for line in self.lines if not line.left_out)

    @property
    def refunded_nanos(self) -> int:
        """What accounts get, all together."""
        return sum(max(line.amount_nanos, 0) for line in self.posted)

    @property
    def taken_nanos(self) -> int:
        """What is taken from accounts, all together."""
        return sum(max(-line.amount_nanos, 0) for line in self.posted)

    @property
    def digest(self) -> str:
        """Says whether two previews are of the same postings."""
        return f"{len(self.posted)}-{self.refunded_nanos}-{self.taken_nanos}"
