"""What the management API answers of usage, and how it is written."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from latchgate.domain.money import format_usd
from latchgate.http.api.shapes import Answered, at, at_or_none
from latchgate.services.usage_summary import UsageBar, UsageTotals
from latchgate.services.usage_views import UsageView


class CallAnswered(Answered):
    """One call."""

    request_id: str
    started_at: datetime
    first_byte_at: datetime | None
    ended_at: datetime
    model: str
    tier: str
    service_tier: str
    app: str
    api_key_id: str
    key_name: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int
    charge_usd: str
    outcome: str
    counted_by: str
    is_stream: bool
    http_status: int
    ip: str


class ReceiptAnswered(CallAnswered):
    """One call with the prices it was charged at, in US dollars per million tokens."""

    price_version: int
    input_price_usd: str
    cached_price_usd: str
    output_price_usd: str


class TotalsAnswered(Answered):
    """What a set of calls adds up to."""

    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int
    charge_usd: str


class PartAnswered(TotalsAnswered):
    """What of a bar one app, model or key (by id) used; null for apps that are not named."""

    name: str | None


class BarAnswered(TotalsAnswered):
    """What a quarter hour, an hour, a day or a month of the account's time zone adds up to."""

    since: datetime
    until: datetime
    parts: list[PartAnswered]


class AppAnswered(TotalsAnswered):
    """What one app used. The name is what the app says of itself: text, and no proof."""

    app: str
    last_used_at: datetime


class ModelAnswered(TotalsAnswered):
    """What was used of one model, standard or premium, by calls of one service tier."""

    model: str
    tier: str
    service_tier: str


class KeyAnswered(TotalsAnswered):
    """What was used with one key."""

    api_key_id: str
    name: str
    last_used_at: datetime


class SummaryAnswered(Answered):
    """A period's sum, and the same sum by time, by app, by model and by key, the dearest first.

    At most 50 apps are named; what the others used is in `other_apps`.
    """

    since: datetime
    until: datetime
    time_zone: str
    per: str
    totals: TotalsAnswered
    bars: list[BarAnswered]
    by_app: list[AppAnswered]
    other_apps: TotalsAnswered
    by_model: list[ModelAnswered]
    by_key: list[KeyAnswered]


class UsageAnswered(Answered):
    """A page of calls, newest first; ``next`` is the following page's ``before``.

    ``totals`` is the sum of all calls that the filters leave, not of the page.
    """

    totals: TotalsAnswered
    data: list[CallAnswered]
    next: str | None


class ExportedCall(Answered):
    """One call in a file; the columns are the same in CSV."""

    started_at: datetime
    request_id: str
    model: str
    tier: str
    service_tier: str
    app: str
    api_key_id: str
    key_name: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    price_version: int
    charge_usd: str
    charge_nanos: int
    outcome: str
    counted_by: str
    is_stream: bool
    http_status: int
    first_byte_ms: int | None
    duration_ms: int | None
    ip: str


class ExportAnswered(Answered):
    """A file of calls, newest first."""

    data: list[ExportedCall]


def answer_bar(bar: UsageBar) -> BarAnswered:
    """A bar of the chart."""
    parts = [PartAnswered(name=name, **answer_totals(totals)) for name, totals in bar.parts.items()]
    return BarAnswered(
        since=at(bar.span.since_us),
        until=at(bar.span.until_us),
        parts=parts,
        **answer_totals(bar.totals),
    )


def answer_totals(totals: UsageTotals) -> dict[str, Any]:
    """Sums, as fields of an answer."""
    return {**asdict(totals), "charge_usd": format_usd(totals.charge_nanos)}


def answer_call(view: UsageView) -> dict[str, Any]:
    """A call, as fields of an answer."""
    return {
        "request_id": view.request_id,
        "started_at": at(view.started_us),
        "first_byte_at": at_or_none(view.first_byte_us),
        "ended_at": at(view.ended_us),
        "model": view.model,
        "tier": view.tier,
        "service_tier": view.service_tier,
        "app": view.app,
        "api_key_id": view.api_key_id,
        "key_name": view.key_name,
        "input_tokens": view.input_tokens,
        "cached_tokens": view.cached_tokens,
        "output_tokens": view.output_tokens,
        "charge_nanos": view.charge_nanos,
        "charge_usd": format_usd(view.charge_nanos),
        "outcome": view.outcome,
        "counted_by": view.counted_by,
        "is_stream": view.is_stream,
        "http_status": view.http_status,
        "ip": view.ip,
    }
