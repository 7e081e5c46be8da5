"""Draws pages: the template environment, its filters, and what every page is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from latchgate.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from latchgate.domain.endpoints import CHAT
from latchgate.domain.money import NANOS_PER_USD, format_usd
from latchgate.domain.monthly_statements import day_of
from latchgate.domain.people import Identity
from latchgate.domain.prices import format_price
from latchgate.http.sessions import services_of
from latchgate.services.catalog import ModelView

STATIC = Path(__file__).parent / "static"
_JUST_NOW_US = 45 * SECOND_US


def page(
    request: Request,
    template: str,
    *,
    identity: Identity | None = None,
    status: int = 200,
    **context: Any,
) -> HTMLResponse:
    """Draw a page. ``identity`` puts it into the shell of whoever is logged in."""
    services = services_of(request)
    text = (
        _environment()
        .get_template(template)
        .render(
            identity=identity,
            path=request.url.path,
            now_us=services.clock.now_us(),
            is_signup_closed=services.settings.signup.mode == "closed",
            **context,
        )
    )
    return HTMLResponse(text, status)


def api_base_url(request: Request) -> str:
    """The address to paste into an app: the public one, or the one that this browser uses."""
    public_url = services_of(request).settings.server.public_url
    return (public_url or str(request.base_url)).rstrip("/") + "/v1"


def model_to_try(models: Sequence[ModelView]) -> str:
    """The model for a first call: one that writes, and that a new account may call."""
    able = (model for model in models if model.kind == CHAT and model.tier != "premium")
    return next((model.name for model in able), "MODEL")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("latchgate.console"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "usd": usd,
        "usd_full": usd_full,
        "usd_short": usd_short,
        "price": lambda picos: f"${format_price(picos)}",
        "times": lambda percent: f"{percent / 100:g}×",
        "count": lambda number: f"{number:,}",
        "when": when,
        "day_in": day_in,
        "moment": moment,
        "grouped": lambda text: " ".join(text[at : at + 4] for at in range(0, len(text), 4)),
    }
    environment.globals["asset"] = asset
    return environment


@cache
def asset(name: str) -> str:
    """A static file's address, which changes with its content, so that it can be kept for good."""
    version = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={version}"


def usd(nanos: int) -> str:
    """An amount, exact to the nano-dollar: ``$0.00002182``, ``−$1.50``."""
    sign = "−" if nanos < 0 else ""
    return f"{sign}${format_usd(abs(nanos))}"


def usd_full(nanos: int) -> str:
    """An amount for a column: exact, and always to the nano-dollar: ``$0.000021820``."""
    sign = "−" if nanos < 0 else ""
    return f"{sign}${format_usd(abs(nanos), decimals_min=9)}"


def usd_short(nanos: int) -> Markup:
    """An amount for a headline: cut, never rounded up, to what matters; the exact one on hover."""
    exact = usd(nanos)
    whole, _, decimals = exact.partition(".")
    if abs(nanos) >= NANOS_PER_USD:
        decimals = decimals[:2]
    elif abs(nanos) >= NANOS_PER_USD // 100:
        decimals = decimals[:4]
    shown = f"{whole}.{decimals}"
    if shown == exact:
        return escape(exact)
    return Markup('<span title="{} exactly">{}</span>').format(exact, shown)


def moment(at_us: int) -> str:
    """A time in full, UTC: ``2026-11-23 09:12:01 UTC``."""
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def day_in(at_us: int, time_zone: str) -> str:
    """A moment's day by a zone's calendar: ``1 December 2026``."""
    day = day_of(at_us, ZoneInfo(time_zone))
    return f"{day.day} {day:%B %Y}"


def when(at_us: int | None, now_us: int) -> Markup:
    """A time as people say it, the exact one on hover; an em dash for never."""
    if at_us is None:
        return Markup("—")
    machine = datetime.fromtimestamp(at_us // SECOND_US, UTC).isoformat()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        machine, moment(at_us), _spoken(at_us, now_us)
    )


def _spoken(at_us: int, now_us: int) -> str:
    ago_us = now_us - at_us
    if ago_us < _JUST_NOW_US:
        return "just now"
    if ago_us < HOUR_US:
        return _ago(ago_us // MINUTE_US or 1, "minute")
    if ago_us < DAY_US:
        return _ago(ago_us // HOUR_US, "hour")
    at = datetime.fromtimestamp(at_us // SECOND_US, UTC)
    is_this_year = at.year == datetime.fromtimestamp(now_us // SECOND_US, UTC).year
    return f"{at.day} {at:%b}" if is_this_year else f"{at.day} {at:%b %Y}"


def _ago(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'} ago"
