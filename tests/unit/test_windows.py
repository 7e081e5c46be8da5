"""Guards when a budget's window begins and ends: at the account's midnight, whatever clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.windows import FOREVER_US, PERIODS, Period, Window, get_zone, window_at

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US

#: Zones whose clocks change at midnight, by half an hour, or never; far east and far west.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "America/Havana",
    "Atlantic/Azores",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)


def _us(text: str) -> int:
    """A moment such as ``2026-03-29T01:00+02:00``."""
    moment = datetime.fromisoformat(text).astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return moment // timedelta(microseconds=1)


def _window(period: Period, zone: str, at: str) -> tuple[int, int]:
    window = window_at("bgt_1", period, ZoneInfo(zone), _us(at))
    assert window.budget_id == "bgt_1"
    return window.starts_us, window.ends_us


# ── a window's edges ────────────────────────────────────────────────────────────────────────────
def test_a_window_holds_its_first_moment_and_not_the_one_behind_it() -> None:
    window = Window("bgt_1", 10, 20)
    assert [window.holds(at_us) for at_us in (9, 10, 19, 20)] == [False, True, True, False]


def test_a_window_is_known_by_its_budget_and_its_start() -> None:
    assert Window("bgt_1", 10, 20) == Window("bgt_1", 10)
    assert len({Window("bgt_1", 10, 20), Window("bgt_1", 10), Window("bgt_1", 11, 20)}) == 2
    assert Window("bgt_1", 10) != Window("bgt_2", 10)


def test_a_budget_without_a_period_has_one_window_for_ever() -> None:
    window = window_at("bgt_1", "none", ZoneInfo("Asia/Beirut"), 5)
    assert (window.budget_id, window.starts_us, window.ends_us) == ("bgt_1", 0, FOREVER_US)
    assert window.holds(0)
    assert window.holds(_us("2999-12-31T00:00+00:00"))
    assert FOREVER_US == 2**62


def test_the_periods_are_those_that_have_a_name() -> None:
    assert get_args(Period) == PERIODS == ("none", "day", "week", "month")


# ── days ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("zone", "at", "starts", "ends"),
    [
        # A usual day, its first and its last moment.
        ("UTC", "2026-07-01T13:00Z", "2026-07-01T00:00Z", "2026-07-02T00:00Z"),
        ("UTC", "2026-07-01T00:00Z", "2026-07-01T00:00Z", "2026-07-02T00:00Z"),
        ("UTC", "2026-07-01T23:59:59.999999Z", "2026-07-01T00:00Z", "2026-07-02T00:00Z"),
        # The account's midnight, not UTC's.
        ("Pacific/Kiritimati", "2026-07-01T11:00Z", "2026-07-01T10:00Z", "2026-07-02T10:00Z"),
        ("Pacific/Pago_Pago", "2026-07-01T10:59Z", "2026-06-30T11:00Z", "2026-07-01T11:00Z"),
        ("Asia/Kathmandu", "2026-07-01T18:15Z", "2026-07-01T18:15Z", "2026-07-02T18:15Z"),
        # 23 and 25 hours.
        ("Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ("America/New_York", "2026-11-01T06:30Z", "2026-11-01T04:00Z", "2026-11-02T05:00Z"),
        # Half an hour less.
        ("Australia/Lord_Howe", "2026-10-04T00:00Z", "2026-10-03T13:30Z", "2026-10-04T13:00Z"),
        # There is no midnight: the day begins at one o'clock.
        ("America/Santiago", "2026-09-06T12:00Z", "2026-09-06T04:00Z", "2026-09-07T03:00Z"),
        ("Asia/Beirut", "2026-03-29T12:00Z", "2026-03-28T22:00Z", "2026-03-29T21:00Z"),
        # Midnight comes twice: the day begins at the first, and has 25 hours.
        ("America/Havana", "2026-11-01T04:30Z", "2026-11-01T04:00Z", "2026-11-02T05:00Z"),
        ("America/Havana", "2026-11-01T05:30Z", "2026-11-01T04:00Z", "2026-11-02T05:00Z"),
        ("Atlantic/Azores", "2026-10-25T12:00Z", "2026-10-25T00:00Z", "2026-10-26T01:00Z"),
        # The last hour before midnight comes twice.
        ("Africa/Cairo", "2026-10-29T20:30Z", "2026-10-28T21:00Z", "2026-10-29T22:00Z"),
        ("Africa/Cairo", "2026-10-29T21:30Z", "2026-10-28T21:00Z", "2026-10-29T22:00Z"),
        # A whole day was left out.
        ("Pacific/Apia", "2011-12-30T09:59Z", "2011-12-29T10:00Z", "2011-12-30T10:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00Z", "2011-12-30T10:00Z", "2011-12-31T10:00Z"),
        # Leap days, the turn of a year, and what was before 1970.
        ("UTC", "2028-02-29T12:00Z", "2028-02-29T00:00Z", "2028-03-01T00:00Z"),
        ("UTC", "2026-12-31T12:00Z", "2026-12-31T00:00Z", "2027-01-01T00:00Z"),
        ("UTC", "1969-12-31T23:59:59.5Z", "1969-12-31T00:00Z", "1970-01-01T00:00Z"),
    ],
)
def test_a_day_is_the_accounts_own(zone: str, at: str, starts: str, ends: str) -> None:
    assert _window("day", zone, at) == (_us(starts), _us(ends))


# ── weeks and months ────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("zone", "at", "starts", "ends"),
    [
        ("UTC", "2026-07-01T13:00Z", "2026-06-29T00:00Z", "2026-07-06T00:00Z"),
        ("UTC", "2026-06-29T00:00Z", "2026-06-29T00:00Z", "2026-07-06T00:00Z"),
        ("UTC", "2026-07-05T23:59:59.999999Z", "2026-06-29T00:00Z", "2026-07-06T00:00Z"),
        # Through the turn of a year, and with a leap day inside.
        ("UTC", "2027-01-01T00:00Z", "2026-12-28T00:00Z", "2027-01-04T00:00Z"),
        ("UTC", "2028-03-01T00:00Z", "2028-02-28T00:00Z", "2028-03-06T00:00Z"),
        # It is Monday already, or still Sunday, where the account is.
        ("Pacific/Kiritimati", "2026-07-05T10:00Z", "2026-07-05T10:00Z", "2026-07-12T10:00Z"),
        ("Pacific/Pago_Pago", "2026-07-06T10:59Z", "2026-06-29T11:00Z", "2026-07-06T11:00Z"),
        # An hour less, and an hour more.
        ("Europe/Berlin", "2026-03-25T12:00Z", "2026-03-22T23:00Z", "2026-03-29T22:00Z"),
        ("Europe/Berlin", "2026-10-20T12:00Z", "2026-10-18T22:00Z", "2026-10-25T23:00Z"),
    ],
)
def test_a_week_begins_on_the_accounts_monday(zone: str, at: str, starts: str, ends: str) -> None:
    assert _window("week", zone, at) == (_us(starts), _us(ends))


@pytest.mark.parametrize(
    ("zone", "at", "starts", "ends"),
    [
        ("UTC", "2026-07-01T00:00Z", "2026-07-01T00:00Z", "2026-08-01T00:00Z"),
        ("UTC", "2026-07-31T23:59:59.999999Z", "2026-07-01T00:00Z", "2026-08-01T00:00Z"),
        ("UTC", "2026-12-31T12:00Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        # 28 days, 29 days; a century that is no leap year, and one that is.
        ("UTC", "2026-02-28T12:00Z", "2026-02-01T00:00Z", "2026-03-01T00:00Z"),
        ("UTC", "2028-02-29T12:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        ("UTC", "2100-02-28T12:00Z", "2100-02-01T00:00Z", "2100-03-01T00:00Z"),
        ("UTC", "2000-02-29T12:00Z", "2000-02-01T00:00Z", "2000-03-01T00:00Z"),
        # The next month already, or still the last one, where the account is.
        ("Pacific/Kiritimati", "2026-06-30T10:00Z", "2026-06-30T10:00Z", "2026-07-31T10:00Z"),
        ("Pacific/Pago_Pago", "2026-07-01T10:59Z", "2026-06-01T11:00Z", "2026-07-01T11:00Z"),
        # It begins in winter and ends in summer.
        ("Europe/Berlin", "2026-03-30T12:00Z", "2026-02-28T23:00Z", "2026-03-31T22:00Z"),
    ],
)
def test_a_month_is_the_accounts_own(zone: str, at: str, starts: str, ends: str) -> None:
    assert _window("month", zone, at) == (_us(starts), _us(ends))


# ── windows in a row ────────────────────────────────────────────────────────────────────────────
@given(
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from(ZONES),
    st.integers(_us("2015-01-01T00:00Z"), _us("2037-01-01T00:00Z")),
)
def test_windows_follow_each_other_without_gap_or_overlap(
    period: Period, zone: str, at_us: int
) -> None:
    place = ZoneInfo(zone)
    window = window_at("bgt_1", period, place, at_us)
    assert window.holds(at_us)
    for inside_us in (window.starts_us, window.ends_us - 1):
        same = window_at("bgt_1", period, place, inside_us)
        assert (same.starts_us, same.ends_us) == (window.starts_us, window.ends_us)
    assert window_at("bgt_1", period, place, window.ends_us).starts_us == window.ends_us
    assert window_at("bgt_1", period, place, window.starts_us - 1).ends_us == window.starts_us
    assert window.ends_us - window.starts_us >= 23 * HOUR_US


# ── zones ───────────────────────────────────────────────────────────────────────────────────────
def test_a_zone_is_found_by_its_name() -> None:
    assert get_zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert get_zone("UTC").key == "UTC"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Europe/Nowhere",
        "../../etc/passwd",
        "/etc/passwd",
        "Europe",
        "a\0b",
        "x" * 5000,
        "CET\n",
    ],
)
def test_a_zone_that_is_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        get_zone(name)
    assert caught.value.param == "time_zone"
    assert caught.value.status == 400
    assert caught.value.public == (
        f"There is no time zone {name[:64]!r}. Use a name such as Europe/Berlin or UTC."
    )
