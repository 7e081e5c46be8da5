"""Our clock: the one place that reads the time of day, so that tests can set it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
QUARTER_US = 15 * MINUTE_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


class Clock(Protocol):
    """Time of day as integer microseconds since 1970, UTC."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1000


def week_start_us(at_us: int) -> int:
    """The Monday, midnight UTC, of the week of ``at_us``."""
    day = at_us // DAY_US
    return (day - (day + 3) % 7) * DAY_US  # 1970-01-01 was a Thursday


def month_start_us(at_us: int) -> int:
    """The first day, midnight UTC, of the month of ``at_us``."""
    first = datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return int(first.timestamp()) * SECOND_US
