"""Monthly statements: closed when an account's month has ended, and the same ever after."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog

from latchgate.clock import DAY_US, MINUTE_US, SECOND_US
from latchgate.domain.errors import NotFound
from latchgate.domain.ids import is_id, new_id
from latchgate.domain.monthly_statements import (
    CreditLine,
    FullStatement,
    Statement,
    UsageLine,
    Used,
    day_of,
    days_of,
    end_of_month_us,
    months_begin_us,
)
from latchgate.domain.windows import get_zone
from latchgate.services.billing import check_page
from latchgate.services.statement_pdf import pdf_of
from latchgate.storage import accounts as account_rows
from latchgate.storage import monthly_statements as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.services.billing import InFlight
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: How often a serving process looks for months that have ended.
LOOK_EVERY_US = 10 * MINUTE_US
ACCOUNTS_PER_LOOK = 500
#: A posting may be written just behind the close of its own month, or bear the time of a clock that
#: was put back: it is on the next statement, if it is no older than this when that one begins.
LATE_US = 31 * DAY_US

log = structlog.get_logger(__name__)


class MonthlyStatements:
    """Closes months and reads what was closed."""

    def __init__(self, store: Store, clock: Clock, in_flight: InFlight) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight
        # The fonts that a PDF is drawn with are everybody's, and so is the processor.
        self._drawing = asyncio.Semaphore(1)
        self._stopping = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Close months as they end, for as long as the process serves."""
        self._closing = asyncio.create_task(self._keep_closing())

    async def stop(self) -> None:
        """End that, behind the month that is just being closed."""
        self._stopping.set()
        if self._closing is not None:
            await self._closing

    async def _keep_closing(self) -> None:
        while not self._stopping.is_set():
            try:
                closed = await self.close_all()
                if closed:
                    log.info("statements.closed", statements=closed)
            except Exception as error:  # noqa: BLE001 - it is tried again at the next look
                log.warning("statements.failed", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_US / SECOND_US):
                    await self._stopping.wait()

    async def close_all(self) -> int:
        """Close every account's months that have ended; how many there were."""
        now_us = self._clock.now_us()
        await self._in_flight.settle()
        closed, after = 0, ""
        while True:
            found = await self._store.read(
                rows.list_behind,
                ended_before_us=months_begin_us(now_us),
                after=after,
                limit=ACCOUNTS_PER_LOOK,
            )
            for account_id in found:
                closed += await self._close(account_id, now_us)
            if len(found) < ACCOUNTS_PER_LOOK or self._stopping.is_set():
                return closed
            after = found[-1]

    async def close_due(self, account_id: str) -> int:
        """Close an account's months that have ended; how many there were."""
        now_us = self._clock.now_us()
        last, created_us, zone = await self._store.read(_standing, account_id)
        starts_us = last.ends_us if last is not None else created_us
        if end_of_month_us(starts_us, zone, is_first=last is None) > now_us:
            return 0
        await self._in_flight.settle()
        return await self._close(account_id, now_us)

    async def _close(self, account_id: str, now_us: int) -> int:
        closed = 0
        while not self._stopping.is_set() and await self._store.write(
            _close_one, account_id, now_us
        ):
            closed += 1
        return closed

    async def next_close_us(self, account_id: str) -> int:
        """When the account's running month closes."""
        last, created_us, zone = await self._store.read(_standing, account_id)
        starts_us = last.ends_us if last is not None else created_us
        return end_of_month_us(starts_us, zone, is_first=last is None)

    async def list_statements(
        self, account_id: str, *, before: str | None = None, limit: int = 50
    ) -> tuple[list[Statement], str | None]:
        """A page of statements, newest first, and the cursor of the next page, if there is one."""
        check_page(before, limit)
        await self.close_due(account_id)
        found = await self._store.read(
            rows.list_statements, account_id, before=before, limit=limit + 1
        )
        page = [_statement(row) for row in found[:limit]]
        return page, page[-1].id if len(found) > limit else None

    async def get(self, account_id: str, statement_id: str) -> FullStatement:
        """One statement with its lines. Raises NotFound for another account's, too."""
        found = None
        if is_id(statement_id):
            found = await self._store.read(_find_full, account_id, statement_id)
        if found is None:
            raise NotFound("There is no such statement.")
        return found

    async def draw(self, full: FullStatement) -> bytes:
        """A statement as PDF, drawn off the event loop and one at a time."""
        async with self._drawing:
            return await asyncio.to_thread(pdf_of, full)


def _standing(conn: Connection, account_id: str) -> tuple[AnyRow | None, int, ZoneInfo]:
    account = account_rows.get_account(conn, account_id)
    zone = get_zone(account.time_zone)
    return rows.find_last(conn, account_id), account.created_us, zone


def _close_one(conn: Connection, account_id: str, now_us: int) -> bool:
    """Close an account's oldest month that is open and has ended. False: there is none."""
    last, created_us, zone = _standing(conn, account_id)
    starts_us = last.ends_us if last is not None else created_us
    ends_us = end_of_month_us(starts_us, zone, is_first=last is None)
    if ends_us > now_us:
        return False
    opening_nanos = last.closing_nanos if last is not None else 0
    # The first one has everything that came before: clocks of long ago may have been wrong.
    since_us = starts_us - LATE_US if last is not None else 0
    period = {"from_us": since_us, "ends_us": ends_us}
    total_nanos, first_us = rows.sum_unlisted(conn, account_id, **period)
    statement_id = new_id("stm", now_us)
    is_new = rows.insert_statement(
        conn,
        id=statement_id,
        account_id=account_id,
        number=last.number + 1 if last is not None else 1,
        holder=rows.find_holder(conn, account_id),
        time_zone=zone.key,
        starts_us=starts_us,
        ends_us=ends_us,
        opening_nanos=opening_nanos,
        closing_nanos=opening_nanos + total_nanos,
        closed_us=now_us,
    )
    if not is_new:
        return False
    rows.list_postings_on(conn, statement_id, account_id, **period)
    for from_us, behind_us in days_of(first_us, ends_us, zone):
        day = day_of(from_us, zone).isoformat()
        rows.add_usage(conn, statement_id, account_id, day=day, from_us=from_us, ends_us=behind_us)
    return True


def _find_full(conn: Connection, account_id: str, statement_id: str) -> FullStatement | None:
    row = rows.find_statement(conn, account_id, statement_id)
    if row is None:
        return None
    zone = get_zone(row.time_zone)
    credit_lines = tuple(
        CreditLine(line.id, line.kind, day_of(line.created_us, zone), line.note, line.amount_nanos)
        for line in rows.list_credits(conn, account_id, statement_id)
    )
    usage = tuple(
        UsageLine(
            date.fromisoformat(line.day),
            line.model,
            line.service_tier,
            Used(
                line.calls,
                line.input_tokens,
                line.cached_tokens,
                line.output_tokens,
                line.charge_nanos,
            ),
        )
        for line in rows.list_usage(conn, statement_id)
    )
    return FullStatement(_statement(row), credit_lines, usage)


def _statement(row: AnyRow) -> Statement:
    return Statement(
        id=row.id,
        account_id=row.account_id,
        number=row.number,
        holder=row.holder,
        time_zone=row.time_zone,
        starts_us=row.starts_us,
        ends_us=row.ends_us,
        opening_nanos=row.opening_nanos,
        closing_nanos=row.closing_nanos,
        closed_us=row.closed_us,
    )
