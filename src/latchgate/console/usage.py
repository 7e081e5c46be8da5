"""What was used: a chart, the calls behind it, and one call's receipt.

Everything that is chosen stands in the address, so that a page can be kept, sent, and gone back to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import page
from latchgate.console.usage_chart import SHOWN, Bar, draw
from latchgate.domain.people import Identity
from latchgate.domain.prices import Price
from latchgate.domain.usage import Usage
from latchgate.domain.usage_spans import Per, UsageAsked, can_cut, local_date
from latchgate.domain.windows import get_zone
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.usage_summary import SPLITS
from latchgate.services.usage_views import Receipt

router = APIRouter()

#: The periods to choose from, and their names.
PERIODS = {"today": "Today", "7d": "7 days", "month": "This month", "last_month": "Last month"}
PERIOD_USUAL = "month"
CALLS_PER_PAGE = 50
PER: tuple[Per, ...] = ("hour", "day")
SEARCH_CHARS_MAX = 64
#: What an address may say, in its order.
_NAMES = ("period", "from", "to", "model", "app", "key", "show", "split", "per", "q", "before")


@dataclass(frozen=True, slots=True)
class Address:
    """What the page's address says; links change a part of it and keep the rest."""

    params: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.params.get(name, "")

    def to(self, path: str = "/usage", **changes: str) -> str:
        """The address with changes; what is empty is left out, and another list begins anew."""
        changes = {"before": "", **changes, "from": changes.pop("since", self["from"])}
        changes["to"] = changes.pop("until", self["to"])
        if changes.get("period"):
            changes |= {"from": "", "to": ""}
        elif changes["from"]:
            changes["period"] = ""
        merged = {name: changes.get(name, self[name]) for name in _NAMES}
        query = urlencode({name: value for name, value in merged.items() if value})
        return f"{path}?{query}" if query else path

    def pick(self, name: str, value: str, **changes: str) -> str:
        """The address with another choice of the page."""
        return self.to(**{name: value, **changes})

    def of_bars(self, bars: Iterable[Bar]) -> list[tuple[Bar, str]]:
        """Each bar of a chart with the address of its calls, which is said more than once."""
        return [
            (bar, self.to(since=bar.since, until=bar.until, period="", per="") + "#calls")
            for bar in bars
        ]

    def asked(self) -> UsageAsked:
        """The calls that it means."""
        return UsageAsked(
            self["period"] if self["period"] in PERIODS else "",
            self["from"],
            self["to"],
            self["model"],
            self["app"],
            self["key"],
            usual="month",
        )


@router.get("/usage")
async def show(request: Request, identity: LoggedIn) -> Response:
    """A period's chart and its calls, newest first; or an older page of them, or one call."""
    address = Address({name: request.query_params.get(name, "") for name in _NAMES})
    if address["q"].strip():
        return await _show_found(request, identity, address)
    split = next((split for split in SPLITS if split == address["split"]), SPLITS[0])
    shown = next((shown for shown in SHOWN if shown == address["show"]), SHOWN[0])
    found = await services_of(request).usage.overview(
        identity.account_id,
        asked=address.asked(),
        split=split,
        per=next((per for per in PER if per == address["per"]), None),
        before=address["before"] or None,
        limit=CALLS_PER_PAGE,
    )
    summary, span, zone = found.summary, found.where.span, get_zone(found.time_zone)
    period = address["period"] if address["period"] in PERIODS else PERIOD_USUAL
    first, last = local_date(span.since_us, zone), local_date(span.until_us - 1, zone)
    return page(
        request,
        "usage.html",
        identity=identity,
        address=address,
        found=found,
        summary=summary,
        chart=draw(summary, shown, split) if summary else None,
        split=split,
        shown=shown,
        pers=[per for per in PER if can_cut(span, per)],
        periods=PERIODS,
        period="" if address["from"] else period,
        first=first,
        last=last,
        span_words=_span_words(first, last),
    )


def _span_words(first: date, last: date) -> str:
    """A span's days in words."""
    if first == last:
        return f"{last.day} {last:%b %Y}"
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first.day} {first:%b}{year} to {last.day} {last:%b %Y}"


async def _show_found(request: Request, identity: Identity, address: Address) -> Response:
    """The call whose request id was typed, whenever it was; its prefix may be missing."""
    sought = address["q"].strip()[:SEARCH_CHARS_MAX].lower()
    request_id = sought if sought.startswith("req_") else f"req_{sought}"
    receipt = await services_of(request).usage.find(identity.account_id, request_id)
    return page(
        request,
        "usage_found.html",
        identity=identity,
        address=address,
        sought=sought,
        calls=[receipt.usage] if receipt else [],
    )


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
    lines = _lines(receipt)
    return page(
        request,
        "call.html",
        identity=identity,
        call=call,
        receipt=receipt,
        lines=lines,
        sum_picos=sum(line.cost_picos for line in lines),
        cost_nanos=price.charge_nanos(usage),
    )


def _lines(receipt: Receipt) -> list[Line]:
    call = receipt.usage
    return [
        Line("Input", call.input_tokens - call.cached_tokens, receipt.input_picos),
        Line("Input, cached", call.cached_tokens, receipt.cached_picos),
        Line("Output", call.output_tokens, receipt.output_picos),
    ]
