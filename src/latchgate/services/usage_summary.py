"""What a span's calls add up to: one sum, cut by time, by app, by model and by key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.prices import PRIORITY_TIER
from latchgate.domain.usage_spans import Per, Span, UsageFilter, can_cut, cut, usual_per
from latchgate.storage import usage_figures as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.storage.statements import AnyRow

Split = Literal["app", "model", "key"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: Apps that a summary names; what the others used stays in its total.
NAMES_LISTED_MAX = 50
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """What a set of calls adds up to."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    charge_nanos: int = 0

    @property
    def tokens(self) -> int:
        """Of all classes; cached ones are among the input."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: UsageTotals) -> UsageTotals:
        """Two sets of calls together."""
        return UsageTotals(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.charge_nanos + other.charge_nanos,
        )


@dataclass(frozen=True, slots=True)
class AppUsage:
    """What one app used. Its name is what it says of itself: shown as text, never trusted."""

    app: str
    last_used_us: int
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What was used of one model, by calls of one service tier."""

    model: str
    tier: str
    service_tier: str
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What was used with one key."""

    api_key_id: str
    name: str
    last_used_us: int
    totals: UsageTotals


@dataclass(frozen=True, slots=True)
class UsageBar:
    """What a part of the span adds up to, and what of it each app, model or key (by id) used."""

    span: Span
    totals: UsageTotals
    #: None stands for the apps that are not named.
    parts: Mapping[str | None, UsageTotals]


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """What the calls of a filter add up to, on the calendar of the account's time zone."""

    where: UsageFilter
    time_zone: str
    per: Per
    totals: UsageTotals
    #: Oldest first, the empty ones too.
    bars: tuple[UsageBar, ...]
    #: The dearest first; at most 50 apps.
    by_app: tuple[AppUsage, ...]
    by_model: tuple[ModelUsage, ...]
    by_key: tuple[KeyUsage, ...]
    #: What the apps used that are not named.
    by_other_apps: UsageTotals

    @property
    def premium_nanos(self) -> int:
        """What was charged for premium models."""
        return sum(m.totals.charge_nanos for m in self.by_model if m.tier == "premium")

    @property
    def priority_nanos(self) -> int:
        """What was charged at priority prices."""
        by_model = self.by_model
        return sum(m.totals.charge_nanos for m in by_model if m.service_tier == PRIORITY_TIER)


@dataclass(frozen=True, slots=True)
class Choices:
    """What was used on the days of a span, to choose from: at most 50 apps, the dearest first."""

    models: tuple[str, ...]
    apps: tuple[str, ...]
    #: Ids and names.
    keys: tuple[tuple[str, str], ...]


def list_choices(conn: Connection, account_id: str, span: Span) -> Choices:
    """What a filter of a span's calls can name."""
    where = UsageFilter(span)
    prices = rows.list_prices(conn, rows.list_used(conn, account_id, where, "price_id"))
    keys = rows.list_key_names(conn, rows.list_used(conn, account_id, where, "api_key_id"))
    return Choices(
        tuple(sorted({row.model for row in prices})),
        tuple(rows.list_apps(conn, account_id, where, limit=NAMES_LISTED_MAX)),
        tuple((row.id, row.name) for row in keys),
    )


def check_bars(where: UsageFilter, per: Per | None) -> Per:
    """The bars of a chart. Raises InvalidRequest for more than fit on one."""
    if per is None:
        return usual_per(where.span)
    if not can_cut(where.span, per):
        raise InvalidRequest("A chart of that period has no room for such bars.", param="per")
    return per


def summarise(
    conn: Connection,
    account_id: str,
    where: UsageFilter,
    *,
    zone: ZoneInfo,
    per: Per,
    split: Split,
) -> UsageSummary:
    """Read the sums and cut them; every cut adds up to the same total."""
    spans = cut(where.span, zone, per)
    apps = rows.list_apps(conn, account_id, where, limit=NAMES_LISTED_MAX)
    found = rows.sum_spans(conn, account_id, spans, where, apps)
    prices = {row.id: row for row in rows.list_prices(conn, {row.price_id for row in found})}
    names = {row.id: row.name for row in rows.list_key_names(conn, {r.api_key_id for r in found})}
    cuts = _Cuts(
        split, {id_: (row.model, row.tier, row.service_tier) for id_, row in prices.items()}
    )
    for row in found:
        cuts.add(row)
    others = cuts.by_app.pop(None, [0] * 5)
    return UsageSummary(
        where=where,
        time_zone=str(zone),
        per=per,
        totals=UsageTotals(*cuts.all),
        bars=tuple(cuts.bar(number, span) for number, span in enumerate(spans)),
        by_app=tuple(
            AppUsage(str(app), cuts.app_used[app], sums)
            for app, sums in _dearest_first(cuts.by_app)
        ),
        by_model=tuple(ModelUsage(*terms, sums) for terms, sums in _dearest_first(cuts.by_terms)),
        by_key=tuple(
            KeyUsage(key_id, names[key_id], cuts.key_used[key_id], sums)
            for key_id, sums in _dearest_first(cuts.by_key)
        ),
        by_other_apps=UsageTotals(*others),
    )


class _Cuts:
    """One pass over rows, which are many where bars are: each is added to every cut it is in."""

    def __init__(self, split: Split, terms: Mapping[str, tuple[str, str, str]]) -> None:
        self._split = split
        self._terms = terms
        self.all = [0] * 5
        self.by_app: defaultdict[str | None, list[int]] = defaultdict(lambda: [0] * 5)
        self.by_key: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 5)
        self.by_terms: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * 5)
        self._parts: defaultdict[int, dict[str | None, list[int]]] = defaultdict(dict)
        self.app_used: dict[str | None, int] = {}
        self.key_used: dict[str, int] = {}

    def add(self, row: AnyRow) -> None:
        """Add what a span, a key, a price and an app have together."""
        number, key_id, price_id, app, *sums, used_us = row
        terms = self._terms[price_id]
        name = app if self._split == "app" else terms[0] if self._split == "model" else key_id
        part = self._parts[number].setdefault(name, [0] * 5)
        for total in (self.all, self.by_app[app], self.by_key[key_id], self.by_terms[terms], part):
            total[0] += sums[0]
            total[1] += sums[1]
            total[2] += sums[2]
            total[3] += sums[3]
            total[4] += sums[4]
        self.app_used[app] = max(used_us, self.app_used.get(app, 0))
        self.key_used[key_id] = max(used_us, self.key_used.get(key_id, 0))

    def bar(self, number: int, span: Span) -> UsageBar:
        """A span's bar."""
        parts = self._parts.get(number, {})
        total = [sum(column) for column in zip(*parts.values(), strict=True)]
        return UsageBar(
            span, UsageTotals(*total), {name: UsageTotals(*sums) for name, sums in parts.items()}
        )


def _dearest_first(sums: Mapping[K, list[int]]) -> list[tuple[K, UsageTotals]]:
    def rank(pair: tuple[K, list[int]]) -> tuple[int, int, str]:
        name, (calls, *_, charge_nanos) = pair
        return -charge_nanos, -calls, str(name)

    return [(name, UsageTotals(*found)) for name, found in sorted(sums.items(), key=rank)]


def sum_span(conn: Connection, account_id: str, where: UsageFilter) -> UsageTotals:
    """What the calls of a filter add up to."""
    found = rows.sum_spans(conn, account_id, [where.span], where, ())
    return sum((totals_of(row) for row in found), UsageTotals())


def totals_of(row: AnyRow) -> UsageTotals:
    """A row's sums."""
    return UsageTotals(
        row.calls, row.input_tokens, row.cached_tokens, row.output_tokens, row.charge_nanos
    )
