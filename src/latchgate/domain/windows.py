"""A budget's windows: without end, or a day, week or month of the account's own calendar.

A window turns over at the account's midnight; a week begins on Monday. Where a clock change skips
or doubles midnight, the window begins at the first moment of the day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from latchgate.domain.errors import InvalidRequest

Period = Literal["none", "day", "week", "month"]
PERIODS: tuple[Period, ...] = get_args(Period)

#: The end of a window that does not end: some 146,000 years from 1970, in microseconds.
FOREVER_US = 2**62
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a budget: from ``starts_us`` on and before ``ends_us``."""

    budget_id: str
    starts_us: int = 0
    ends_us: int = field(default=FOREVER_US, compare=False)

    def holds(self, at_us: int) -> bool:
        """Whether a moment is inside."""
        return self.starts_us <= at_us < self.ends_us


def window_at(budget_id: str, period: Period, zone: ZoneInfo, at_us: int) -> Window:
    """The window of a budget that a moment is in."""
    if period == "none":
        return Window(budget_id)
    local = datetime.fromtimestamp(at_us // _SECOND_US, UTC).astimezone(zone)
    first, behind = _days(period, local.date())
    return Window(budget_id, midnight_us(first, zone), midnight_us(behind, zone))


def _days(period: Period, today: date) -> tuple[date, date]:
    match period:
        case "day":
            return today, today + timedelta(days=1)
        case "week":
            monday = today - timedelta(days=today.weekday())
            return monday, monday + timedelta(days=7)
        case _:
            first = today.replace(day=1)
            return first, (first + timedelta(days=32)).replace(day=1)


def midnight_us(day: date, zone: ZoneInfo) -> int:
    """The first moment of a day, in a time zone."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(midnight.timestamp()) * _SECOND_US


def get_zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises InvalidRequest for one that does not exist."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(
            f"There is no time zone {name[:64]!r}. Use a name such as Europe/Berlin or UTC.",
            param="time_zone",
        ) from None
