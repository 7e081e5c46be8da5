"""What is shown of usage: one call, its receipt, and pages of calls with what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latchgate.domain.usage_spans import Span, UsageFilter
    from latchgate.services.usage_summary import Choices, UsageSummary, UsageTotals
    from latchgate.storage.statements import AnyRow


@dataclass(frozen=True, slots=True)
class UsageView:
    """One call, as its account sees it."""

    request_id: str
    started_us: int
    ended_us: int
    first_byte_us: int | None
    model: str
    tier: str
    service_tier: str
    app: str
    api_key_id: str
    key_name: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    hold_nanos: int
    charge_nanos: int
    outcome: str
    counted_by: str
    is_stream: bool
    http_status: int
    ip: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """One call with the price version that it was charged at (pico-USD per token)."""

    usage: UsageView
    price_version: int
    input_picos: int
    cached_picos: int
    output_picos: int


@dataclass(frozen=True, slots=True)
class UsagePage:
    """A page of calls, newest first, and what they are part of, as of one moment."""

    calls: list[UsageView]
    #: The cursor of the next page, if there is one.
    following: str | None
    #: All calls of the filter.
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class UsageOverview:
    """A page of calls with the sums that they are part of, as of one moment."""

    calls: list[UsageView]
    following: str | None
    where: UsageFilter
    time_zone: str
    choices: Choices
    #: None for a page of older calls, which is the same list further on.
    summary: UsageSummary | None


@dataclass(frozen=True, slots=True)
class Months:
    """This month so far, and last month up to the same day and time."""

    this: UsageTotals
    last: UsageTotals
    last_span: Span
    time_zone: str


def view_of(row: AnyRow) -> UsageView:
    """An event's row as its account sees it."""
    return UsageView(
        request_id=row.request_id,
        started_us=row.started_us,
        ended_us=row.ended_us,
        first_byte_us=row.first_byte_us,
        model=row.model,
        tier=row.tier,
        service_tier=row.service_tier,
        app=row.app,
        api_key_id=row.api_key_id,
        key_name=row.key_name,
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        hold_nanos=row.hold_nanos,
        charge_nanos=row.charge_nanos,
        outcome=row.outcome,
        counted_by=row.counted_by,
        is_stream=bool(row.is_stream),
        http_status=row.http_status,
        ip=row.ip,
    )
