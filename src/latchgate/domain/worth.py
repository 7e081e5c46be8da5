"""What an amount of money means: how many calls it pays for, and how much can be lost in a day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from latchgate.domain.prices import Price
from latchgate.domain.usage import Usage

#: A letter that a model writes: what it is told, and what it answers.
LETTER = Usage(input_tokens=300, cached_tokens=0, output_tokens=400)


@dataclass(frozen=True, slots=True)
class Worth:
    """What ``calls`` calls cost together: an account's own of late, or one letter by a model."""

    charge_nanos: int
    calls: int
    #: Which model would write the letter; empty where the calls are the account's own.
    model: str = ""

    def calls_for(self, amount_nanos: int) -> int:
        """How many calls an amount pays for, to two digits, rounded down; 0: not even one."""
        calls = max(0, amount_nanos) * self.calls // self.charge_nanos if self.charge_nanos else 0
        unit: int = 10 ** max(0, len(str(calls)) - 2)
        return calls // unit * unit


def worth_of_letter(prices: Iterable[tuple[str, Price]]) -> Worth | None:
    """What a letter costs with the cheapest of the models that cost something; None: none does."""
    priced = [(price.charge_nanos(LETTER), model) for model, price in prices]
    charge_nanos, model = min(((c, m) for c, m in priced if c), default=(0, ""))
    return Worth(charge_nanos, 1, model) if charge_nanos else None


def most_to_lose(credit_left_nanos: int, limits_left: Iterable[int], top_ups_nanos: int) -> int:
    """The most that whoever has the key can spend before any window turns over.

    Credit that is topped up by itself counts as far as its owner's terms let it; limits bind all.
    """
    return max(0, min([credit_left_nanos + top_ups_nanos, *limits_left]))
