"""Which calls are meant: a span of the account's calendar, and a model, an app or a key.

A span is asked for by a name (``today``, ``7d``, ``month``, ``last_month``) or by its own ends, and
a chart cuts it into bars: quarter hours, hours, days or months of the account's time zone. All of
them begin with a quarter hour, for which usage is added up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.windows import FOREVER_US, midnight_us

Named = Literal["today", "7d", "month", "last_month"]
NAMED: tuple[Named, ...] = get_args(Named)
Per = Literal["quarter", "hour", "day", "month"]

#: The longest span that is charted: a leap year.
SPAN_DAYS_MAX = 366
#: How many bars a chart has at most; each costs what its quarter hours, hours or days hold.
BARS_MAX: dict[Per, int] = {"quarter": 96, "hour": 192, "day": 46, "month": 14}
NAME_CHARS_MAX = 300
_SECOND_US, _QUARTER_US, _HOUR_US = 1_000_000, 900_000_000, 3_600_000_000
_DAY_US = 24 * _HOUR_US
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})T([01]\d|2[0-3]):(00|15|30|45)(?::00)?Z", re.ASCII)
_YEARS = (1971, 9998)
_HOW = "Write a day as 2026-11-23, or a quarter hour in UTC as 2026-11-23T14:15Z."


@dataclass(frozen=True, slots=True)
class Span:
    """From ``since_us`` on and before ``until_us``."""

    since_us: int = 0
    until_us: int = FOREVER_US


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """The calls that were let in during a span, of all models, apps and keys, or of one."""

    span: Span = Span()
    model: str = ""
    app: str = ""
    api_key_id: str = ""

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves out calls of its span."""
        return bool(self.model or self.app or self.api_key_id)


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """The same as an address asks for it; ``usual`` is the period when it names none."""

    period: str = ""
    first: str = ""
    last: str = ""
    model: str = ""
    app: str = ""
    api_key_id: str = ""
    usual: Named | None = None

    def resolve(self, zone: ZoneInfo, now_us: int) -> UsageFilter:
        """What is asked for, on the calendar of ``zone``. Raises InvalidRequest."""
        for name, text in (("model", self.model), ("app", self.app), ("key", self.api_key_id)):
            if len(text) > NAME_CHARS_MAX or "\x00" in text:
                raise InvalidRequest("There is no such name.", param=name)
        return UsageFilter(self._span(zone, now_us), self.model, self.app, self.api_key_id)

    def _span(self, zone: ZoneInfo, now_us: int) -> Span:
        today = local_date(now_us, zone)
        if self.first or self.last:
            return _own_span(self.first, self.last, zone, today)
        name = self.period or self.usual
        if name is None:
            return Span()
        if name not in NAMED:
            raise InvalidRequest(f"A period is {', '.join(NAMED)}.", param="period")
        return named_span(name, zone, today)


def local_date(at_us: int, zone: ZoneInfo) -> date:
    """The day on which a moment is, in a time zone."""
    return local_time(at_us, zone).date()


def local_time(at_us: int, zone: ZoneInfo) -> datetime:
    """A moment on the clocks of a time zone."""
    return datetime.fromtimestamp(at_us // _SECOND_US, UTC).astimezone(zone)


def named_span(name: str, zone: ZoneInfo, today: date) -> Span:
    """A period by its name, as of a day; every period has whole days."""
    match name:
        case "today":
            first, behind = today, today + timedelta(days=1)
        case "7d":
            first, behind = today - timedelta(days=6), today + timedelta(days=1)
        case "last_month":
            behind = today.replace(day=1)
            first = (behind - timedelta(days=1)).replace(day=1)
        case _:
            first = today.replace(day=1)
            behind = next_month(first)
    return Span(midnight_us(first, zone), midnight_us(behind, zone))


def next_month(first: date) -> date:
    """The first day of the month behind that of ``first``."""
    return (first.replace(day=1) + timedelta(days=32)).replace(day=1)


def same_part_of_last_month(zone: ZoneInfo, now_us: int) -> Span:
    """Last month up to the day and the time of day that it is now, or all of it if it was shorter.

    To the quarter hour; what a clock change skips counts as the moment behind it.
    """
    now = local_time(now_us, zone)
    month = named_span("last_month", zone, now.date())
    first = local_date(month.since_us, zone)
    day = first + timedelta(days=now.day - 1)
    if day.month != first.month:
        return month
    until = datetime(day.year, day.month, day.day, now.hour, now.minute // 15 * 15, tzinfo=zone)
    return Span(month.since_us, min(int(until.timestamp()) * _SECOND_US, month.until_us))


def _own_span(first: str, last: str, zone: ZoneInfo, today: date) -> Span:
    """A span by its ends: days count whole, a moment is where it begins or ends."""
    since_us = _end(first, "from", zone, 0) if first else None
    until_us = _end(last, "to", zone, 1) if last else midnight_us(today + timedelta(1), zone)
    if since_us is None:
        raise InvalidRequest(f"Say where it begins, too. {_HOW}", param="from")
    if until_us <= since_us:
        raise InvalidRequest("The end is not behind the beginning.", param="to")
    if until_us - since_us > (SPAN_DAYS_MAX + 1) * _DAY_US:
        raise InvalidRequest(f"A period has at most {SPAN_DAYS_MAX} days.", param="from")
    return Span(since_us, until_us)


def _end(text: str, param: str, zone: ZoneInfo, days_behind: int) -> int:
    try:
        if _DATE.fullmatch(text):
            day = date.fromisoformat(text)
            if _YEARS[0] <= day.year <= _YEARS[1]:
                return midnight_us(day + timedelta(days=days_behind), zone)
        elif found := _MOMENT.fullmatch(text):
            day = date.fromisoformat(found[1])
            if _YEARS[0] <= day.year <= _YEARS[1]:
                minutes = int(found[2]) * 60 + int(found[3])
                return midnight_us(day, ZoneInfo("UTC")) + minutes * 60 * _SECOND_US
    except ValueError:
        pass
    raise InvalidRequest(f"There is no such day. {_HOW}", param=param)


# ── bars ────────────────────────────────────────────────────────────────────────────────────────
def usual_per(span: Span) -> Per:
    """The bars that suit a span's length."""
    length_us = span.until_us - span.since_us
    if length_us <= 2 * _HOUR_US:
        return "quarter"
    if length_us <= 2 * _DAY_US:
        return "hour"
    return "day" if length_us <= BARS_MAX["day"] * _DAY_US else "month"


def can_cut(span: Span, per: Per) -> bool:
    """Whether a chart of a span has room for such bars."""
    width_us = {"quarter": _QUARTER_US, "hour": _HOUR_US, "day": _DAY_US, "month": 28 * _DAY_US}
    return width_us[per] <= span.until_us - span.since_us <= width_us[per] * BARS_MAX[per]


def cut(span: Span, zone: ZoneInfo, per: Per) -> list[Span]:
    """A span's bars, oldest first; the first and the last may be cut short by its ends."""
    if per in ("quarter", "hour"):
        width_us = _QUARTER_US if per == "quarter" else _HOUR_US
        edges = [*range(span.since_us, span.until_us, width_us), span.until_us]
    else:
        edges = [span.since_us]
        day = local_date(span.since_us, zone)
        while edges[-1] < span.until_us:
            day = next_month(day) if per == "month" else day + timedelta(days=1)
            edges.append(min(midnight_us(day, zone), span.until_us))
    return [Span(since, until) for since, until in pairwise(edges) if since < until]
