"""A month of an account's books: what it opened with, what was posted, what it closed with.

A statement begins where the one before it ended and ends at the account's midnight, on the first of
a month. Its lines are the month's postings: each that gives or takes credit is a line of its own,
those of usage are one line for each day, model and service tier.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from latchgate.domain.windows import window_at

_SECOND_US = 1_000_000
#: No two time zones are further apart: a change of zone makes no month of a few hours.
ZONES_APART_US = 26 * 3600 * _SECOND_US
_LABEL_CHARS = 8

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Statement:
    """A closed month, without its lines; balances are nano-USD, below zero what is owed."""

    id: str
    account_id: str
    number: int
    holder: str
    time_zone: str
    starts_us: int
    ends_us: int
    opening_nanos: int
    closing_nanos: int
    closed_us: int

    @property
    def label(self) -> str:
        """The statement's number, as people quote it: ``7K3M9QXZ-0012``."""
        return f"{self.account_id[-_LABEL_CHARS:].upper()}-{self.number:04d}"

    @property
    def month(self) -> str:
        """The month that it closes: ``November 2026``."""
        return f"{self.last_day:%B %Y}"

    @property
    def first_day(self) -> date:
        """Its first day, by the account's calendar."""
        return day_of(self.starts_us, ZoneInfo(self.time_zone))

    @property
    def last_day(self) -> date:
        """Its last day, by the account's calendar."""
        return day_of(self.ends_us - 1, ZoneInfo(self.time_zone))


@dataclass(frozen=True, slots=True)
class CreditLine:
    """A posting that gave or took credit."""

    posting_id: str
    kind: str
    day: date
    note: str
    amount_nanos: int


@dataclass(frozen=True, slots=True)
class Used:
    """Calls, and what they were charged."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    charge_nanos: int = 0

    def __add__(self, other: Used) -> Used:
        """Both together."""
        return Used(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.charge_nanos + other.charge_nanos,
        )


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What was charged on one day for one model, in one service tier."""

    day: date
    model: str
    service_tier: str
    used: Used


@dataclass(frozen=True, slots=True)
class FullStatement:
    """A closed month with its lines, oldest first."""

    statement: Statement
    credits: tuple[CreditLine, ...]
    usage: tuple[UsageLine, ...]

    @property
    def credit_nanos(self) -> int:
        """What was given, less what was taken."""
        return sum(line.amount_nanos for line in self.credits)

    @property
    def used(self) -> Used:
        """All of the month's usage."""
        return sum((line.used for line in self.usage), Used())

    @property
    def by_day(self) -> dict[date, Used]:
        """The usage of each day that had any."""
        return _sums(self.usage, lambda line: line.day)

    @property
    def by_model(self) -> dict[tuple[str, str], Used]:
        """The usage of each model and service tier, the dearest first."""
        sums = _sums(self.usage, lambda line: (line.model, line.service_tier))
        return dict(sorted(sums.items(), key=lambda item: (-item[1].charge_nanos, item[0])))


def _sums(lines: Iterable[UsageLine], key: Callable[[UsageLine], K]) -> dict[K, Used]:
    sums: defaultdict[K, Used] = defaultdict(Used)
    for line in lines:
        sums[key(line)] += line.used
    return dict(sums)


def end_of_month_us(starts_us: int, zone: ZoneInfo, *, is_first: bool) -> int:
    """When the statement that begins at ``starts_us`` ends: the first of a month, at midnight.

    Only an account's first one may be shorter than a month.
    """
    inside_us = starts_us if is_first else starts_us + ZONES_APART_US
    return window_at("", "month", zone, inside_us).ends_us


def months_begin_us(now_us: int) -> int:
    """When the running month began where it begins first: what ended before may have to close."""
    return window_at("", "month", ZoneInfo("Pacific/Kiritimati"), now_us).starts_us


def days_of(starts_us: int, ends_us: int, zone: ZoneInfo) -> list[tuple[int, int]]:
    """The days of a period by a zone's calendar: where each begins, and where it ends."""
    days = []
    while starts_us < ends_us:
        behind_us = min(window_at("", "day", zone, starts_us).ends_us, ends_us)
        days.append((starts_us, behind_us))
        starts_us = behind_us
    return days


def day_of(at_us: int, zone: ZoneInfo) -> date:
    """The day of a moment by a zone's calendar."""
    return datetime.fromtimestamp(at_us // _SECOND_US, UTC).astimezone(zone).date()
