"""A chart of usage as the page draws it: stacked bars, an axis, a legend, and links to the calls.

Everything is computed here in whole numbers; the template only writes it down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from latchgate.clock import SECOND_US
from latchgate.console.rendering import usd
from latchgate.domain.usage_spans import Per, Span, local_time
from latchgate.services.usage_summary import Split, UsageBar, UsageSummary, UsageTotals

Shown = Literal["spending", "tokens", "calls"]
SHOWN: tuple[Shown, ...] = get_args(Shown)
#: Apps, models or keys that have a colour of their own; the others share one.
SERIES_MAX = 6
HEIGHT = 1000
#: What was used at all is at least so high, so that it can be seen and pressed.
_HEIGHT_MIN = 12
_LABELS_MAX = 7
_NONE = UsageTotals()
_VALUE: dict[Shown, Callable[[UsageTotals], int]] = {
    "spending": lambda totals: totals.charge_nanos,
    "tokens": lambda totals: totals.tokens,
    "calls": lambda totals: totals.calls,
}


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of the chart; ``name`` is what a filter takes, empty for the others together."""

    colour: int
    name: str
    label: str
    figure: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar, from the top of the plot in thousandths of its height."""

    colour: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it says, where it leads (``since``, ``until``), and its parts by series."""

    title: str
    label: str
    tick: str
    since: str
    until: str
    totals: UsageTotals
    segments: tuple[Segment, ...]
    figures: tuple[str, ...]
    figure: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars under an axis whose lines are at its top, its middle and its foot."""

    title: str
    lines: tuple[str, str, str]
    series: tuple[Series, ...]
    bars: tuple[Bar, ...]


def draw(summary: UsageSummary, shown: Shown, split: Split) -> Chart:
    """A summary, cut by ``split``, as a chart of what is ``shown``."""
    value = _VALUE[shown]
    names = _names(summary, split)
    sums: dict[str | None, int] = {}
    for bar in summary.bars:
        for name, totals in bar.parts.items():
            sums[name] = sums.get(name, 0) + value(totals)
    ranked = sorted((n for n in sums if n is not None), key=lambda name: (-sums[name], name))
    # One more is shown rather than one alone as "others".
    most = SERIES_MAX if len(ranked) > SERIES_MAX + 1 or None in sums else len(ranked)
    chosen = ranked[:most]
    rest = sum(sums.values()) - sum(sums[name] for name in chosen)
    series = [
        Series(colour, name, names.get(name, name), figure(shown, sums[name]))
        for colour, name in enumerate(chosen)
    ]
    if len(chosen) < len(sums):
        series.append(Series(SERIES_MAX + 1, "", "Others", figure(shown, rest)))
    top = _round_up(max((value(bar.totals) for bar in summary.bars), default=0))
    zone = ZoneInfo(summary.time_zone)
    every = -(-len(summary.bars) // _LABELS_MAX)

    def is_ticked(number: int) -> bool:
        """Whether a bar has a label: those that have room for one up to the next, or the end."""
        return number % every == 0 and number + every <= len(summary.bars)

    bars = tuple(
        _bar(bar, shown, series, top=top, zone=zone, per=summary.per, is_ticked=is_ticked(n))
        for n, bar in enumerate(summary.bars)
    )
    return Chart(
        f"{shown.capitalize()} per {'quarter hour' if summary.per == 'quarter' else summary.per}",
        (figure(shown, top), figure(shown, top // 2), figure(shown, 0)),
        tuple(series),
        bars,
    )


def figure(shown: Shown, number: int) -> str:
    """A figure of the kind that is shown."""
    return usd(number) if shown == "spending" else f"{number:,}"


def _names(summary: UsageSummary, split: Split) -> Mapping[str, str]:
    """What names are written as; only keys are named by an id."""
    return {key.api_key_id: key.name for key in summary.by_key} if split == "key" else {}


def _round_up(number: int) -> int:
    """The next even digit with zeros behind it, so that half of it is round, too."""
    scale = int("1" + "0" * (len(str(number)) - 1))
    return next(digit * scale for digit in (2, 4, 6, 8, 10) if digit * scale >= number)


def _bar(
    bar: UsageBar,
    shown: Shown,
    series: list[Series],
    *,
    top: int,
    zone: ZoneInfo,
    per: Per,
    is_ticked: bool,
) -> Bar:
    value = _VALUE[shown]
    values = [value(bar.parts.get(one.name, _NONE)) for one in series if one.name]
    if series and not series[-1].name:
        values.append(value(bar.totals) - sum(values))
    label = name_of(bar.span, zone, per)
    totals = bar.totals
    return Bar(
        title=f"{label}: {usd(totals.charge_nanos)}, {totals.calls:,} "
        f"call{'' if totals.calls == 1 else 's'}, {totals.tokens:,} tokens",
        label=label,
        tick=_tick(bar.span, zone, per) if is_ticked else "",
        since=_address(bar.span.since_us, zone, per, is_end=False),
        until=_address(bar.span.until_us, zone, per, is_end=True),
        totals=totals,
        segments=_stack([(one.colour, v) for one, v in zip(series, values, strict=True)], top),
        figures=tuple(figure(shown, v) for v in values),
        figure=figure(shown, value(totals)),
    )


def _stack(values: list[tuple[int, int]], top: int) -> tuple[Segment, ...]:
    """Parts on top of each other; edges are rounded, so that the whole is as high as its sum."""
    segments = []
    total, edge = 0, HEIGHT
    for colour, number in values:
        if number:
            total += number
            above = min(HEIGHT - total * HEIGHT // top, HEIGHT - _HEIGHT_MIN)
            if above < edge:
                segments.append(Segment(colour, above, edge - above))
                edge = above
    return tuple(segments)


def name_of(span: Span, zone: ZoneInfo, per: Per) -> str:
    """A bar's time in words: ``3 Nov 2026``, ``3 Nov 2026, 14:00``, ``Nov 2026``."""
    at = local_time(span.since_us, zone)
    if per == "month":
        return f"{at:%b %Y}"
    day = f"{at.day} {at:%b %Y}"
    return day if per == "day" else f"{day}, {at:%H:%M}"


def _tick(span: Span, zone: ZoneInfo, per: Per) -> str:
    at = local_time(span.since_us, zone)
    match per:
        case "month":
            return f"{at:%b}"
        case "day":
            return f"{at.day} {at:%b}"
        case _:
            return f"{at.day} {at:%b}" if (at.hour, at.minute) == (0, 0) else f"{at:%H:%M}"


def _address(at_us: int, zone: ZoneInfo, per: Per, *, is_end: bool) -> str:
    """An end of a bar as an address has it: days for days, a moment in UTC for what is shorter."""
    if per in ("day", "month"):
        # The last day is one that is in it.
        return local_time(at_us - (1 if is_end else 0), zone).date().isoformat()
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).strftime("%Y-%m-%dT%H:%MZ")
