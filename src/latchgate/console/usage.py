"""What was used: totals, days, calls, and one call's receipt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.clock import DAY_US, SECOND_US
from latchgate.console.rendering import page
from latchgate.domain.prices import Price
from latchgate.domain.usage import Usage
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.usage import Receipt, UsageTotals

router = APIRouter()

DAYS_SHOWN = 30
CALLS_PER_PAGE = 50
BAR_HEIGHT = 100
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
    """The last thirty days, and the calls, newest first."""
    services = services_of(request)
    account_id = identity.account_id
    today_us = services.clock.now_us() // DAY_US * DAY_US
    since_us = today_us - (DAYS_SHOWN - 1) * DAY_US
    before = request.query_params.get("before")
    calls, next_page = await services.usage.list_events(
        account_id, before=before, limit=CALLS_PER_PAGE
    )
    bars = _bars(today_us, await services.usage.by_day(account_id, since_us=since_us))
    return page(
        request,
        "usage.html",
        identity=identity,
        totals=await services.usage.totals(account_id, since_us=since_us),
        bars=bars,
        days=DAYS_SHOWN,
        most_nanos=max((bar.totals.charge_nanos for bar in bars), default=0),
        calls=calls,
        before=before,
        next_page=next_page,
    )


def _bars(today_us: int, days: list[tuple[str, UsageTotals]]) -> list[Bar]:
    """A bar for every day, the empty ones too; what was spent at all is at least visible."""
    spent = dict(days)
    most = max((totals.charge_nanos for _, totals in days), default=0)
    today = datetime.fromtimestamp(today_us // SECOND_US, UTC).date()
    bars = []
    for back in range(DAYS_SHOWN - 1, -1, -1):
        date = today - timedelta(days=back)
        totals = spent.get(date.isoformat(), _NO_CALLS)
        height = -(-totals.charge_nanos * BAR_HEIGHT // most) if most else 0
        is_labelled = back % 7 == 0
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
