"""The chart's arithmetic: bars are as high as what they show, and lead to just their calls."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from latchgate.console.usage import Address
from latchgate.console.usage_chart import HEIGHT, SERIES_MAX, draw
from latchgate.domain.usage_spans import Per, Span, UsageAsked, UsageFilter, cut
from latchgate.services.usage_summary import UsageBar, UsageSummary, UsageTotals

ZONE = ZoneInfo("Asia/Kolkata")
NOW_US = 1_800_000_000_000_000


def _summary(parts: list[dict[str | None, int]], per: Per = "day") -> UsageSummary:
    """A summary whose last bars have calls of these charges by app."""
    span = UsageAsked("month" if per == "day" else "today").resolve(ZONE, NOW_US).span
    spans = cut(span, ZONE, per)
    filled: list[dict[str | None, int]] = [{}] * (len(spans) - len(parts)) + parts
    bars = []
    for of, charges in zip(spans, filled, strict=True):
        sums = {name: UsageTotals(1, 2, 1, 3, nanos) for name, nanos in charges.items()}
        bars.append(UsageBar(of, sum(sums.values(), UsageTotals()), sums))
    total = sum((bar.totals for bar in bars), UsageTotals())
    return UsageSummary(
        UsageFilter(span), str(ZONE), per, total, tuple(bars), (), (), (), UsageTotals()
    )


NAMES = st.sampled_from([None, *"abcdefghij"])


@given(st.lists(st.dictionaries(NAMES, st.integers(0, 10**12)), max_size=20))
def test_a_bar_is_as_high_as_its_share_of_the_axis_and_has_no_gap(
    parts: list[dict[str | None, int]],
) -> None:
    summary = _summary(parts)
    chart = draw(summary, "spending", "app")
    top = max(bar.totals.charge_nanos for bar in summary.bars)
    assert len(chart.bars) == 31
    assert len(chart.series) <= SERIES_MAX + 1
    for bar, of in zip(chart.bars, summary.bars, strict=True):
        edge = HEIGHT
        for segment in bar.segments:
            assert segment.height > 0
            assert segment.y + segment.height == edge
            edge = segment.y
        assert 0 <= edge <= HEIGHT
        assert bool(bar.segments) == bool(of.totals.charge_nanos)
        if of.totals.charge_nanos == top > 0:
            assert edge <= HEIGHT // 2 + 1  # the axis is never more than twice as high


def test_figures_of_the_table_are_exact_and_others_are_what_is_left() -> None:
    used: dict[str | None, int] = {name: 10**n for n, name in enumerate("abcdefgh")}
    chart = draw(_summary([{**used, None: 5}]), "spending", "app")
    assert [one.name for one in chart.series] == ["h", "g", "f", "e", "d", "c", ""]
    assert chart.series[-1].figure == "$0.000000016"  # a, b and those that are not named
    assert chart.bars[-1].figures == tuple(one.figure for one in chart.series)
    assert chart.bars[-1].figure == "$0.011111116"
    assert draw(_summary([used]), "calls", "app").bars[-1].figure == "8"
    assert draw(_summary([used]), "tokens", "app").bars[-1].figure == "40"


def test_one_more_colour_is_used_rather_than_one_alone_called_others() -> None:
    used: dict[str | None, int] = dict.fromkeys("abcdefg", 1)
    assert [one.name for one in draw(_summary([used]), "calls", "app").series] == [*"abcdefg"]


def test_a_bar_leads_to_its_own_span() -> None:
    days = draw(_summary([{"a": 1}]), "spending", "app").bars[-1]
    assert (days.since, days.until) == ("2027-01-31", "2027-01-31")
    per_hour = _summary([{"a": 1}], "hour")
    hour = draw(per_hour, "spending", "app").bars[-1]
    asked = UsageAsked(first=hour.since, last=hour.until).resolve(ZONE, NOW_US)
    assert asked.span == per_hour.bars[-1].span
    at = datetime.fromtimestamp(asked.span.since_us / 1e6, UTC)
    assert (at.hour, at.minute) == (17, 30)  # 23:00 in India


def test_an_address_keeps_what_is_not_changed_and_begins_lists_anew() -> None:
    address = Address({"app": "A & B", "split": "model", "before": "req_1", "per": ""})
    assert address.to(model="m") == "/usage?model=m&app=A+%26+B&split=model"
    assert address.to(before="req_2").endswith("&before=req_2")
    own = Address({"from": "2026-11-01", "to": "2026-11-02", "app": "x"})
    assert own.to(period="today") == "/usage?period=today&app=x"
    assert own.to(show="calls") == "/usage?from=2026-11-01&to=2026-11-02&app=x&show=calls"
    named = Address({"period": "today"})
    assert (
        named.to(since="2026-11-01", until="2026-11-01") == "/usage?from=2026-11-01&to=2026-11-01"
    )
    assert Address({}).to() == "/usage"
    assert Span() != named.asked().resolve(ZONE, NOW_US).span
