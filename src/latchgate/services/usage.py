"""What an account used, to the last token; every total is a sum of the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US, SECOND_US
from latchgate.domain.errors import NotFound
from latchgate.domain.ids import is_id
from latchgate.services.billing import InFlight, check_page
from latchgate.storage import usage_events as rows

if TYPE_CHECKING:
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store


@dataclass(frozen=True, slots=True)
class UsageView:
    """One call, as its account sees it."""

    request_id: str
    started_us: int
    ended_us: int
    first_byte_us: int | None
    model: str
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


class UsageService:
    """Reads usage; every answer first lets what is in flight be posted."""

    def __init__(self, store: Store, in_flight: InFlight) -> None:
        self._store = store
        self._in_flight = in_flight

    async def list_events(
        self, account_id: str, *, before: str | None = None, limit: int = 50
    ) -> tuple[list[UsageView], str | None]:
        """A page of calls, newest first, and the cursor of the next page, if there is one."""
        check_page(before, limit)
        await self._in_flight.settle()
        found = await self._store.read(rows.list_events, account_id, before=before, limit=limit + 1)
        page = [_view(row) for row in found[:limit]]
        return page, page[-1].request_id if len(found) > limit else None

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
        """The sum of all calls since ``since_us``, or of those with one key."""
        await self._in_flight.settle()
        row = await self._store.read(
            rows.sum_events, account_id, since_us=since_us, api_key_id=api_key_id
        )
        return _totals(row)

    async def by_day(self, account_id: str, *, since_us: int) -> list[tuple[str, UsageTotals]]:
        """The sums of each day (``2026-11-23``, UTC) that has calls, oldest first."""
        await self._in_flight.settle()
        found = await self._store.read(
            rows.sum_events_by_day, account_id, since_us=since_us, day_us=DAY_US
        )
        return [(_date(row.day), _totals(row)) for row in found]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_US / SECOND_US, UTC).date().isoformat()


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
