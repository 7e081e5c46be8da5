"""What an account used, to the last token; every total is a sum of the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US, SECOND_US
from latchgate.domain.errors import InvalidRequest, NotFound
from latchgate.domain.ids import is_id
from latchgate.domain.prices import PRIORITY_TIER
from latchgate.services.billing import InFlight, check_page
from latchgate.storage import usage_days
from latchgate.storage import usage_events as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: The longest period that a summary covers.
PERIOD_DAYS_MAX = 366
#: Apps, and models, that a summary names; what the others used stays in its total.
NAMES_LISTED_MAX = 50


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
class UsageTotals:
    """What a set of calls adds up to."""

    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int

    def __sub__(self, other: UsageTotals) -> UsageTotals:
        """What is left of a sum when a part of it is taken out."""
        return UsageTotals(
            self.calls - other.calls,
            self.input_tokens - other.input_tokens,
            self.cached_tokens - other.cached_tokens,
            self.output_tokens - other.output_tokens,
            self.charge_nanos - other.charge_nanos,
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
class UsageSummary:
    """What an account used in the last days (UTC), today among them: one sum, cut three ways."""

    since_us: int
    totals: UsageTotals
    #: Each day (``2026-11-23``) that has calls, oldest first.
    by_day: tuple[tuple[str, UsageTotals], ...]
    #: The dearest first, at most 50 of each.
    by_app: tuple[AppUsage, ...]
    by_model: tuple[ModelUsage, ...]

    @property
    def by_other_apps(self) -> UsageTotals:
        """What the apps used that are not named."""
        rest = self.totals
        for app in self.by_app:
            rest -= app.totals
        return rest

    @property
    def premium_nanos(self) -> int:
        """What was charged for the premium models that are named."""
        return sum(m.totals.charge_nanos for m in self.by_model if m.tier == "premium")

    @property
    def priority_nanos(self) -> int:
        """What was charged at priority prices for the models that are named."""
        named = self.by_model
        return sum(m.totals.charge_nanos for m in named if m.service_tier == PRIORITY_TIER)


@dataclass(frozen=True, slots=True)
class UsageOverview:
    """A page of calls, newest first, and what they are part of, as of one moment."""

    calls: list[UsageView]
    #: The cursor of the next page, if there is one.
    following: str | None
    #: All calls ever.
    totals: UsageTotals
    summary: UsageSummary


class UsageService:
    """Reads usage; every answer first lets what is in flight be posted."""

    def __init__(self, store: Store, clock: Clock, in_flight: InFlight) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight

    async def list_events(
        self, account_id: str, *, before: str | None = None, limit: int = 50
    ) -> tuple[list[UsageView], str | None]:
        """A page of calls, newest first, and the cursor of the next page, if there is one."""
        check_page(before, limit)
        await self._in_flight.settle()
        return await self._store.read(_list, account_id, before, limit)

    async def overview(
        self, account_id: str, *, before: str | None = None, limit: int = 50, days: int
    ) -> UsageOverview:
        """A page of calls with the sums that they are part of, all of one moment.

        Raises InvalidRequest.
        """
        check_page(before, limit)
        since_us = self._since_us(days)
        await self._in_flight.settle()

        def transaction(conn: Connection) -> UsageOverview:
            calls, following = _list(conn, account_id, before, limit)
            totals = _totals(usage_days.sum_all(conn, account_id, since_us=0))
            return UsageOverview(calls, following, totals, _summarise(conn, account_id, since_us))

        return await self._store.read(transaction)

    async def get(self, account_id: str, request_id: str) -> Receipt:
        """One call's receipt. Raises NotFound for another account's call, as for a missing one."""
        await self._in_flight.settle()
        row = None
        if is_id(request_id):
            row = await self._store.read(rows.find_event, account_id, request_id)
        if row is None:
            raise NotFound("There is no such call.")
        return Receipt(
            _view(row), row.price_version, row.input_picos, row.cached_picos, row.output_picos
        )

    async def totals(
        self, account_id: str, *, since_us: int = 0, api_key_id: str | None = None
    ) -> UsageTotals:
        """The sum of all calls from the UTC day on that begins at ``since_us``, or of one key's."""
        await self._in_flight.settle()
        row = await self._store.read(
            usage_days.sum_all, account_id, since_us=since_us, api_key_id=api_key_id
        )
        return _totals(row)

    async def summary(self, account_id: str, *, days: int) -> UsageSummary:
        """What was used in the last ``days`` days, today among them. Raises InvalidRequest."""
        since_us = self._since_us(days)
        await self._in_flight.settle()
        return await self._store.read(_summarise, account_id, since_us)

    def _since_us(self, days: int) -> int:
        if not 1 <= days <= PERIOD_DAYS_MAX:
            raise InvalidRequest(f"A period has 1 to {PERIOD_DAYS_MAX} days.", param="days")
        return (self._clock.now_us() // DAY_US - days + 1) * DAY_US


def _list(
    conn: Connection, account_id: str, before: str | None, limit: int
) -> tuple[list[UsageView], str | None]:
    found = rows.list_events(conn, account_id, before=before, limit=limit + 1)
    page = [_view(row) for row in found[:limit]]
    return page, page[-1].request_id if len(found) > limit else None


def _summarise(conn: Connection, account_id: str, since_us: int) -> UsageSummary:
    most = NAMES_LISTED_MAX
    totals = usage_days.sum_all(conn, account_id, since_us=since_us)
    by_day = usage_days.sum_by_day(conn, account_id, since_us=since_us)
    by_app = usage_days.sum_by_app(conn, account_id, since_us=since_us, limit=most)
    by_model = usage_days.sum_by_model(conn, account_id, since_us=since_us, limit=most)
    return UsageSummary(
        since_us,
        _totals(totals),
        tuple((_date(row.starts_us), _totals(row)) for row in by_day),
        tuple(AppUsage(row.app, row.last_used_us, _totals(row)) for row in by_app),
        tuple(ModelUsage(row.model, row.tier, row.service_tier, _totals(row)) for row in by_model),
    )


def _date(starts_us: int) -> str:
    return datetime.fromtimestamp(starts_us // SECOND_US, UTC).date().isoformat()


def _totals(row: AnyRow) -> UsageTotals:
    return UsageTotals(
        row.calls, row.input_tokens, row.cached_tokens, row.output_tokens, row.charge_nanos
    )


def _view(row: AnyRow) -> UsageView:
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
