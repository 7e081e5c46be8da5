"""When an owner is told that a limit, or his credit, runs low: thresholds, and which are passed.

A threshold is a share that is spent: of a limit, or of what was last added to the credit. 100 % is
told of before a call is refused: when no more is left than a call has just cost, or towards the
end than one had to set aside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import AMOUNT_NANOS_MAX

#: Spent in full.
ALL = 100
#: What the account's own amount of credit is written as where others have their percent.
OWN_AMOUNT = 1
#: The least share that can be asked for, and how many.
PERCENT_MIN, THRESHOLDS_MAX = 10, 5
USUAL = (50, 80, ALL)
#: How early the end may be told of: beyond this share, and at most so many calls ahead.
LOW, CALLS_AHEAD_MAX = 80, 5

_LIST_CHARS_MAX = 64
_LIST = re.compile(r"[0-9]{1,3}( *%)?( *[, ] *[0-9]{1,3}( *%)?)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class AlertTerms:
    """What one account wants to be told: at which shares, and what of it by mail."""

    percents: tuple[int, ...] = USUAL
    #: Told when less credit than this is left, in place of shares of what was last added.
    credit_left_nanos: int | None = None
    mails_limits: bool = True
    mails_credit: bool = True

    def check(self) -> None:
        """Raise InvalidRequest for thresholds or an amount that can't be."""
        is_list = list(self.percents) == sorted(set(self.percents))
        is_in_range = all(PERCENT_MIN <= percent <= ALL for percent in self.percents)
        if not (is_list and is_in_range and len(self.percents) <= THRESHOLDS_MAX):
            raise InvalidRequest(
                f"Thresholds are at most {THRESHOLDS_MAX} different percentages from {PERCENT_MIN} "
                f"to {ALL}, such as 50, 80, 100.",
                param="percents",
            )
        amount_nanos = self.credit_left_nanos
        if amount_nanos is not None and not 0 < amount_nanos <= AMOUNT_NANOS_MAX:
            raise InvalidRequest(
                "The credit to be told at is an amount such as 5.00.", param="credit_left"
            )


@dataclass(frozen=True, slots=True)
class Level:
    """How far one window is spent."""

    is_credit: bool
    limit_nanos: int
    #: What shares are of: the limit, or what was last added to the credit.
    base_nanos: int
    spent_nanos: int
    #: The highest threshold that its owner was told of.
    told: int = 0
    #: What the cheapest of the last calls cost, and set aside; 0 where there was none.
    call_nanos: int = 0
    hold_nanos: int = 0

    @property
    def left_nanos(self) -> int:
        """What is left; below zero where more was taken away."""
        return self.limit_nanos - self.spent_nanos

    @property
    def is_at_end(self) -> bool:
        """Whether a call like the last ones may not be carried any more.

        A call is refused for what it may cost, which can be several times what it will.
        """
        ahead_nanos = min(self.hold_nanos, CALLS_AHEAD_MAX * self.call_nanos)
        is_low = self.left_nanos * ALL <= self.base_nanos * (ALL - LOW)
        return self.left_nanos <= self.call_nanos or (is_low and self.left_nanos < ahead_nanos)


def passed(terms: AlertTerms, level: Level) -> int:
    """The highest threshold that a window has passed and its owner was not told of; 0: none.

    A limit of nothing is a switch, and tells nobody.
    """
    if level.told >= ALL or level.base_nanos <= 0:
        return 0
    left_nanos = level.left_nanos
    own_nanos = terms.credit_left_nanos if level.is_credit else None
    # Where the account has an amount of its own, that stands for the shares, but not for the end.
    percents = [p for p in terms.percents if own_nanos is None or p == ALL]
    found = [p for p in percents if left_nanos * ALL <= level.base_nanos * (ALL - p)]
    if ALL in percents and level.is_at_end:
        found.append(ALL)
    if own_nanos is not None and left_nanos < own_nanos:
        found.append(OWN_AMOUNT)
    return max((mark for mark in found if mark > level.told), default=0)


def parse_percents(text: str) -> tuple[int, ...]:
    """Read ``50, 80, 100``; an empty text is no threshold. Raises InvalidRequest."""
    text = text.strip()
    if text and not (len(text) <= _LIST_CHARS_MAX and _LIST.fullmatch(text)):
        raise InvalidRequest(
            "Write thresholds as percentages with commas, such as 50, 80, 100.", param="percents"
        )
    return tuple(sorted(int(number) for number in re.findall(r"[0-9]+", text)))
