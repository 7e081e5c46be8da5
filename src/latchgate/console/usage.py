"""What was used: totals, days, calls, and one call's receipt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.clock import SECOND_US
from latchgate.console.rendering import page
from latchgate.domain.prices import Price
from latchgate.domain.usage import Usage
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.usage import Receipt, UsageTotals

router = APIRouter()

#: The periods to choose from, in days with today (UTC), and their names.
PERIODS = {1: "Today", 7: "7 days", 30: "30 days", 90: "90 days"}
DAYS_USUAL = 30
CALLS_PER_PAGE = 50
BAR_HEIGHT = 100
DAYS_PER_LABEL = {7: 1, 30: 7, 90: 21}
_NO_CALLS = UsageTotals(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart; ``height`` of 100."""

    date: str
    label: str
    totals: UsageTotals
    height: int


@router.get("/usage")
async def show(request: Request, identity: LoggedIn) -> Response:
    """A period's sums, by day, app and model; and all calls, newest first."""
    services = services_of(request)
    before = request.query_params.get("before")
    days = _days(request.query_params.get("days", ""))
    found = await services.usage.overview(
        identity.account_id, before=before, limit=CALLS_PER_PAGE, days=days
    )
    bars = _bars(services.clock.now_us(), found.summary.by_day, days)
    return page(
        request,
        "usage.html",
        identity=identity,
        summary=found.summary,
        bars=bars,
        days=days,
        periods=PERIODS,
        most_nanos=max((bar.totals.charge_nanos for bar in bars), default=0),
        calls=found.calls,
        before=before,
        next_page=found.following,
    )


def _days(text: str) -> int:
    """One of the periods that the page offers; the usual one for anything else."""
    return next((days for days in PERIODS if str(days) == text), DAYS_USUAL)


def _bars(now_us: int, by_day: Iterable[tuple[str, UsageTotals]], days: int) -> list[Bar]:
    """A bar for every day, the empty ones too; what was spent at all is at least visible."""
    if days == 1:
        return []
    used = dict(by_day)
    most = max((totals.charge_nanos for totals in used.values()), default=0)
    today = datetime.fromtimestamp(now_us // SECOND_US, UTC).date()
    bars = []
    for back in range(days - 1, -1, -1):
        date = today - timedelta(days=back)
        totals = used.get(date.isoformat(), _NO_CALLS)
        height = -(-totals.charge_nanos * BAR_HEIGHT // most) if most else 0
        is_labelled = back % DAYS_PER_LABEL[days] == 0
        label = f"{date.day} {date:%b}" if is_labelled else ""
        bars.append(Bar(f"{date.day} {date:%b}", label, totals, height))
    return bars


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a receipt's arithmetic: tokens of a class at their price."""

    what: str
    tokens: int
    picos: int

    @property
    def cost_picos(self) -> int:
        """The product, exact, in pico-USD."""
        return self.tokens * self.picos


@router.get("/usage/{request_id}")
async def show_call(request: Request, request_id: str, identity: LoggedIn) -> Response:
    """One call's receipt, with its arithmetic."""
    receipt = await services_of(request).usage.get(identity.account_id, request_id)
    price = Price("", receipt.input_picos, receipt.cached_picos, receipt.output_picos)
    call = receipt.usage
    usage = Usage(call.input_tokens, call.cached_tokens, call.output_tokens)
    return page(
        request,
        "call.html",
        identity=identity,
        call=call,
        receipt=receipt,
        lines=_lines(receipt),
        cost_nanos=price.charge_nanos(usage),
    )


def _lines(receipt: Receipt) -> list[Line]:
    call = receipt.usage
    return [
        Line("Input", call.input_tokens - call.cached_tokens, receipt.input_picos),
        Line("Input, cached", call.cached_tokens, receipt.cached_picos),
        Line("Output", call.output_tokens, receipt.output_picos),
    ]
