"""Periods and bars stand on the calendar of the account's time zone, whatever its clocks do."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.clock import DAY_US, HOUR_US, QUARTER_US
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.usage_spans import (
    BARS_MAX,
    NAMED,
    Per,
    Span,
    UsageAsked,
    can_cut,
    cut,
    local_time,
    same_part_of_last_month,
    usual_per,
)

BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Pacific/Chatham",
         "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca")  # fmt: skip


def us(text: str) -> int:
    """A moment in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


NOW_US = us("2026-11-25T23:30")


@pytest.mark.parametrize(
    ("period", "zone", "since", "until"),
    [
        ("today", "UTC", "2026-11-25", "2026-11-26"),
        ("today", "Europe/Berlin", "2026-11-25T23:00", "2026-11-26T23:00"),
        ("today", "Asia/Kolkata", "2026-11-25T18:30", "2026-11-26T18:30"),
        ("7d", "UTC", "2026-11-19", "2026-11-26"),
        ("month", "Europe/Berlin", "2026-10-31T23:00", "2026-11-30T23:00"),
        ("last_month", "Europe/Berlin", "2026-09-30T22:00", "2026-10-31T23:00"),
    ],
)
def test_a_named_period_has_whole_days_of_its_zone(
    period: str, zone: str, since: str, until: str
) -> None:
    found = UsageAsked(period).resolve(ZoneInfo(zone), NOW_US)
    assert found.span == Span(us(since), us(until))


def test_own_days_are_both_in_it_and_moments_are_where_it_begins_and_ends() -> None:
    own = UsageAsked(first="2026-11-02", last="2026-11-03").resolve(BERLIN, NOW_US)
    assert own.span == Span(us("2026-11-01T23:00"), us("2026-11-03T23:00"))
    hour = UsageAsked(first="2026-11-02T09:15Z", last="2026-11-02T09:30:00Z").resolve(KOLKATA, 0)
    assert hour.span == Span(us("2026-11-02T09:15"), us("2026-11-02T09:30"))
    open_end = UsageAsked(first="2026-11-02").resolve(BERLIN, NOW_US)
    assert open_end.span.until_us == us("2026-11-26T23:00")
    wins = UsageAsked("today", first="2026-11-02", last="2026-11-02").resolve(BERLIN, NOW_US)
    assert wins.span.until_us == us("2026-11-02T23:00")
    assert UsageAsked().resolve(BERLIN, NOW_US).span == Span()


@pytest.mark.parametrize(
    ("first", "last", "param"),
    [
        ("2026-02-29", "2026-03-01", "from"),
        ("2026-3-1", "2026-03-01", "from"),
        ("0000-00-00", "", "from"),
        ("0001-01-01", "", "from"),
        ("9999-12-31", "9999-12-31", "from"),
        ("10000-01-01", "", "from"),
        ("2026-11-02T09:16Z", "", "from"),
        ("2026-11-02T24:00Z", "", "from"),
        ("2026-11-02T09:15", "", "from"),
        ("2026-11-02\n", "", "from"),
        ("٢٠٢٦-11-02", "", "from"),
        ("", "2026-11-02", "from"),
        ("2026-11-02", "2026-11-01", "to"),
        ("2026-11-02", "today", "to"),
        ("2025-01-01", "2026-11-01", "from"),
        ("'; --", "", "from"),
    ],
)
def test_a_day_that_is_none_is_refused_by_name(first: str, last: str, param: str) -> None:
    """Row 80."""
    with pytest.raises(InvalidRequest) as refused:
        UsageAsked(first=first, last=last).resolve(BERLIN, NOW_US)
    assert refused.value.param == param


def test_a_day_of_25_hours_has_25_bars_and_one_of_23_has_23() -> None:
    for day, hours in (("2026-10-25", 25), ("2026-03-29", 23), ("2026-03-30", 24)):
        span = UsageAsked(first=day, last=day).resolve(BERLIN, NOW_US).span
        assert len(cut(span, BERLIN, "hour")) == hours
        assert usual_per(span) == "hour"


def test_bars_of_days_begin_at_the_zones_midnight_and_of_months_on_the_first() -> None:
    span = UsageAsked(first="2026-10-20", last="2026-11-05").resolve(BERLIN, NOW_US).span
    days = [local_time(bar.since_us, BERLIN) for bar in cut(span, BERLIN, "day")]
    assert [(at.hour, at.minute) for at in days] == [(0, 0)] * 17
    assert len({at.date() for at in days}) == 17
    months = [local_time(bar.since_us, BERLIN) for bar in cut(span, BERLIN, "month")]
    assert [(at.month, at.day) for at in months] == [(10, 20), (11, 1)]


@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    now_us=st.integers(us("1990-01-01"), us("2090-01-01")),
    period=st.sampled_from(NAMED),
    per=st.sampled_from(("quarter", "hour", "day", "month")),
)
def test_bars_follow_each_other_without_a_gap_and_begin_with_a_quarter_hour(
    zone: ZoneInfo, now_us: int, period: str, per: Per
) -> None:
    span = UsageAsked(period).resolve(zone, now_us).span
    if period != "last_month":
        assert span.since_us <= now_us < span.until_us
    if not can_cut(span, per):
        per = usual_per(span)
    bars = cut(span, zone, per)
    assert (bars[0].since_us, bars[-1].until_us) == (span.since_us, span.until_us)
    assert all(bar.until_us == following.since_us for bar, following in pairwise(bars))
    assert all(bar.since_us % QUARTER_US == 0 for bar in bars)
    assert len(bars) <= BARS_MAX[per] + 4


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-25T23:30", "2026-10-25T23:30"),  # 26 November in Berlin, and October's clocks
        ("2026-03-31T10:07", "2026-02-28T23:00"),  # February has no 31st: all of it
        ("2026-11-01T00:20", "2026-10-01T00:15"),
        ("2026-01-15T12:00", "2025-12-15T12:00"),
    ],
)
def test_last_month_is_compared_up_to_the_same_day_and_time(now: str, until: str) -> None:
    found = same_part_of_last_month(BERLIN, us(now))
    # Clocks may have changed in between: the same time of day, not so many hours later.
    moved = local_time(us(now), BERLIN).utcoffset() != local_time(us(until), BERLIN).utcoffset()
    assert abs(found.until_us - us(until)) <= (HOUR_US if moved else 0)
    assert local_time(found.since_us, BERLIN).day == 1
    assert found.until_us - found.since_us <= 31 * DAY_US + HOUR_US
