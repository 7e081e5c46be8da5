"""What an account used, to the last token; every total is a sum of the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from latchgate.domain.errors import NotFound
from latchgate.domain.ids import is_id
from latchgate.domain.usage_spans import (
    Per,
    Span,
    UsageAsked,
    UsageFilter,
    local_date,
    named_span,
    same_part_of_last_month,
)
from latchgate.domain.windows import get_zone
from latchgate.services.billing import InFlight, check_page
from latchgate.services.usage_export import Format, write_piece
from latchgate.services.usage_summary import (
    NAMES_LISTED_MAX,
    Split,
    UsageSummary,
    UsageTotals,
    check_bars,
    list_choices,
    sum_span,
    summarise,
    totals_of,
)
from latchgate.services.usage_views import (
    Months,
    Receipt,
    UsageOverview,
    UsagePage,
    UsageView,
    view_of,
)
from latchgate.storage import usage_days
from latchgate.storage import usage_events as rows
from latchgate.storage.accounts import get_time_zone
from latchgate.storage.usage_figures import list_apps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.storage.store import Store

#: How many calls an export reads at once, so that its memory is bounded and others get their turn.
EXPORT_ROWS = 500
_EVERYTHING = UsageAsked()


class UsageService:
    """Reads usage; every answer first lets what is in flight be posted."""

    def __init__(self, store: Store, clock: Clock, in_flight: InFlight) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight

    async def list_events(
        self,
        account_id: str,
        *,
        before: str | None = None,
        limit: int = 50,
        asked: UsageAsked = _EVERYTHING,
    ) -> tuple[list[UsageView], str | None]:
        """A page of calls, newest first, and the cursor of the next page, if there is one.

        Raises InvalidRequest.
        """
        check_page(before, limit)
        await self._in_flight.settle()

        def transaction(conn: Connection) -> tuple[list[UsageView], str | None]:
            where, _ = self._resolve(conn, account_id, asked)
            return _list(conn, account_id, where, before, limit)

        return await self._store.read(transaction)

    async def page(
        self, account_id: str, *, before: str | None, limit: int, asked: UsageAsked
    ) -> UsagePage:
        """A page of calls with the sum of all that are asked for. Raises InvalidRequest."""
        check_page(before, limit)
        await self._in_flight.settle()

        def transaction(conn: Connection) -> UsagePage:
            where, _ = self._resolve(conn, account_id, asked)
            totals = sum_span(conn, account_id, where)
            return UsagePage(*_list(conn, account_id, where, before, limit), totals)

        return await self._store.read(transaction)

    async def overview(
        self,
        account_id: str,
        *,
        asked: UsageAsked,
        split: Split = "app",
        per: Per | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> UsageOverview:
        """A page of calls with the sums that they are part of. Raises InvalidRequest."""
        check_page(before, limit)
        await self._in_flight.settle()

        def transaction(conn: Connection) -> UsageOverview:
            where, zone = self._resolve(conn, account_id, asked)
            bars = check_bars(where, per)
            calls = _list(conn, account_id, where, before, limit)
            choices = list_choices(conn, account_id, where.span)
            summary = None
            if before is None:
                summary = summarise(conn, account_id, where, zone=zone, per=bars, split=split)
            return UsageOverview(*calls, where, str(zone), choices, summary)

        return await self._store.read(transaction)

    async def summary(
        self, account_id: str, *, asked: UsageAsked, split: Split = "app", per: Per | None = None
    ) -> UsageSummary:
        """What the calls that are asked for add up to. Raises InvalidRequest."""
        await self._in_flight.settle()

        def transaction(conn: Connection) -> UsageSummary:
            where, zone = self._resolve(conn, account_id, asked)
            bars = check_bars(where, per)
            return summarise(conn, account_id, where, zone=zone, per=bars, split=split)

        return await self._store.read(transaction)

    async def apps(self, account_id: str, *, asked: UsageAsked) -> list[str]:
        """The apps of the calls that are asked for, the dearest first, by whole days; at most 50.

        Raises InvalidRequest.
        """
        await self._in_flight.settle()

        def transaction(conn: Connection) -> list[str]:
            where, _ = self._resolve(conn, account_id, asked)
            return list(list_apps(conn, account_id, where, limit=NAMES_LISTED_MAX))

        return await self._store.read(transaction)

    async def last_ip(self, account_id: str, api_key_id: str, at_us: int) -> str:
        """Where a key was used from when it was last used; empty where that is not known."""
        found = await self._store.read(rows.find_ip, account_id, api_key_id, at_us=at_us)
        return found or ""

    def _resolve(
        self, conn: Connection, account_id: str, asked: UsageAsked
    ) -> tuple[UsageFilter, ZoneInfo]:
        zone = get_zone(get_time_zone(conn, account_id))
        return asked.resolve(zone, self._clock.now_us()), zone

    async def export(
        self, account_id: str, *, asked: UsageAsked, form: Format
    ) -> AsyncGenerator[bytes, None]:
        """The calls that are asked for as a file, newest first, piece by piece.

        The memory that it takes does not grow with the calls. Calls that are let in from now on are
        not in it. Raises InvalidRequest, before the first piece.
        """
        await self._in_flight.settle()
        now_us = self._clock.now_us()
        where, _ = await self._store.read(self._resolve, account_id, asked)
        span = Span(where.span.since_us, min(where.span.until_us, now_us))
        where = replace(where, span=span)
        before, is_first = None, True
        while is_first or before:
            piece, before = await self._store.read(
                _export_piece, account_id, where, form, before, is_first
            )
            is_first = False
            yield piece

    async def get(self, account_id: str, request_id: str) -> Receipt:
        """One call's receipt. Raises NotFound for another account's call, as for a missing one."""
        found = await self.find(account_id, request_id)
        if found is None:
            raise NotFound("There is no such call.")
        return found

    async def find(self, account_id: str, request_id: str) -> Receipt | None:
        """The same, or None."""
        if not is_id(request_id):
            return None
        await self._in_flight.settle()
        row = await self._store.read(rows.find_event, account_id, request_id)
        if row is None:
            return None
        return Receipt(
            view_of(row), row.price_version, row.input_picos, row.cached_picos, row.output_picos
        )

    async def totals(
        self, account_id: str, *, since_us: int = 0, api_key_id: str | None = None
    ) -> UsageTotals:
        """The sum of all calls from the UTC day on that begins at ``since_us``, or of one key's."""
        await self._in_flight.settle()
        row = await self._store.read(
            usage_days.sum_all, account_id, since_us=since_us, api_key_id=api_key_id
        )
        return totals_of(row)

    async def months(self, account_id: str) -> Months:
        """What was used this month, and in the same part of the last one."""
        await self._in_flight.settle()
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> Months:
            zone = get_zone(get_time_zone(conn, account_id))
            this = named_span("month", zone, local_date(now_us, zone))
            last = same_part_of_last_month(zone, now_us)
            return Months(
                sum_span(conn, account_id, UsageFilter(this)),
                sum_span(conn, account_id, UsageFilter(last)),
                last,
                str(zone),
            )

        return await self._store.read(transaction)


def _list(
    conn: Connection, account_id: str, where: UsageFilter, before: str | None, limit: int
) -> tuple[list[UsageView], str | None]:
    found = rows.list_events(conn, account_id, before=before, limit=limit + 1, where=where)
    page = [view_of(row) for row in found[:limit]]
    return page, page[-1].request_id if len(found) > limit else None


def _export_piece(
    conn: Connection,
    account_id: str,
    where: UsageFilter,
    form: Format,
    before: str | None,
    is_first: bool,  # noqa: FBT001 - the store hands arguments on by position
) -> tuple[bytes, str | None]:
    """A piece of a file, written in the thread that reads it, and the cursor of the next."""
    found = rows.list_events(conn, account_id, before=before, limit=EXPORT_ROWS + 1, where=where)
    page = found[:EXPORT_ROWS]
    following: str | None = page[-1].request_id if len(found) > EXPORT_ROWS else None
    return write_piece(page, form, is_first=is_first, is_last=following is None), following
