"""Guards when a month closes, and that nothing in a file can be taken for more than text."""

from __future__ import annotations

import csv
import io
import itertools
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from latchgate.domain.monthly_statements import (
    CreditLine,
    FullStatement,
    Statement,
    UsageLine,
    Used,
    days_of,
    end_of_month_us,
    months_begin_us,
)
from latchgate.services.statement_csv import csv_of
from latchgate.services.statement_pdf import pdf_of
from tests.unit.test_windows import ZONES

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
MOMENTS = st.integers(1_500_000_000, 2_500_000_000).map(lambda second: second * SECOND_US)
IN_ZONE = st.sampled_from(ZONES).map(ZoneInfo)


def _local(at_us: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).astimezone(zone)


@given(MOMENTS, IN_ZONE)
def test_a_month_ends_on_a_first_at_midnight(starts_us: int, zone: ZoneInfo) -> None:
    ends_us = end_of_month_us(starts_us, zone, is_first=True)
    assert starts_us < ends_us
    local = _local(ends_us, zone)
    assert (local.day, _local(ends_us - 1, zone).day >= 28) == (1, True)
    again_us = end_of_month_us(ends_us, zone, is_first=False)
    assert 28 <= (again_us - ends_us) / (24 * HOUR_US) <= 31.1
    assert _local(again_us, zone).day == 1


@given(MOMENTS, IN_ZONE, IN_ZONE)
def test_a_change_of_time_zone_makes_no_month_of_a_few_hours(
    at_us: int, before: ZoneInfo, after: ZoneInfo
) -> None:
    starts_us = end_of_month_us(at_us, before, is_first=True)
    ends_us = end_of_month_us(starts_us, after, is_first=False)
    assert 26 <= (ends_us - starts_us) / (24 * HOUR_US) <= 33


@given(MOMENTS, IN_ZONE)
def test_a_month_that_has_to_close_is_always_looked_at(now_us: int, zone: ZoneInfo) -> None:
    """Whoever's last statement ended before the month began anywhere is looked at, others not."""
    begins_us = months_begin_us(now_us)
    assert begins_us <= now_us
    started_us = end_of_month_us(begins_us - 32 * 24 * HOUR_US, zone, is_first=True)
    ends_us = end_of_month_us(started_us, zone, is_first=False)
    if ends_us <= now_us:
        assert started_us < begins_us


@given(MOMENTS, IN_ZONE)
def test_the_days_of_a_month_leave_no_moment_out(starts_us: int, zone: ZoneInfo) -> None:
    ends_us = end_of_month_us(starts_us, zone, is_first=True)
    days = days_of(starts_us, ends_us, zone)
    assert (days[0][0], days[-1][1]) == (starts_us, ends_us)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(days))
    assert len({_local(begins_us, zone).date() for begins_us, _ in days}) == len(days)


def _full(note: str, model: str = "m", lines: int = 1) -> FullStatement:
    statement = Statement(
        id="stm_1",
        account_id="acct_01hv4z0000000000007k3m9qxz",
        number=12,
        holder="ada@example.com",
        time_zone="Europe/Berlin",
        starts_us=1_793_487_600 * SECOND_US,
        ends_us=1_796_079_600 * SECOND_US,
        opening_nanos=-1,
        closing_nanos=3 - lines,
        closed_us=1,
    )
    used = UsageLine(date(2026, 11, 3), model, "priority", Used(1, 2, 1, 3, 1))
    credit = CreditLine("pst_1", "correction", date(2026, 11, 1), note, 4)
    return FullStatement(statement, (credit,), (used,) * lines)


def _pages(full: FullStatement) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(pdf_of(full))).pages]


def test_a_statement_is_named_for_its_account_and_its_month() -> None:
    statement = _full("").statement
    assert (statement.label, statement.month) == ("7K3M9QXZ-0012", "November 2026")
    assert (statement.first_day, statement.last_day) == (date(2026, 11, 1), date(2026, 11, 30))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_spreadsheet_takes_no_text_for_a_formula(text: str) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_of(_full(text, text)))))
    assert [row["note"] for row in rows] == ["", "'" + text, "", ""]
    assert [row["model"] for row in rows] == ["", "", "'" + text, ""]
    assert [row["amount_usd"] for row in rows] == [
        "-0.000000001",
        "0.000000004",
        "-0.000000001",
        "0.000000002",
    ]


def test_a_comma_a_quote_and_a_line_end_stay_one_cell() -> None:
    note = 'a "b", c\r\nd'
    rows = list(csv.DictReader(io.StringIO(csv_of(_full(note)), newline="")))
    assert rows[1]["note"] == note


@given(st.text(max_size=200))
def test_whatever_a_note_says_it_can_be_drawn(note: str) -> None:
    (text,) = _pages(_full(note))
    assert "November 2026" in text


def test_markup_in_a_note_is_text_and_a_letter_that_is_not_there_is_a_question_mark() -> None:
    (text,) = _pages(_full("<b>Grüße</b> & 你好"))
    assert "<b>Grüße</b> & ??" in text


def test_a_pdf_is_the_same_bytes_each_time_and_numbers_its_pages() -> None:
    full = _full("x", lines=200)
    assert pdf_of(full) == pdf_of(full)
    pages = _pages(full)
    assert len(pages) > 2
    for number, text in enumerate(pages, 1):
        assert f"Page {number}" in text
        assert "7K3M9QXZ-0012" in text
