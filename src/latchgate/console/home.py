"""The personal page: what can be spent, what binds, this month beside the last, the next step."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.console.rendering import api_base_url, model_to_try, page
from latchgate.domain.usage_spans import local_date
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.usage_views import Months

router = APIRouter()

CALLS_SHOWN = 5


@router.get("/home")
async def show(request: Request, identity: LoggedIn) -> Response:
    """One number, one sentence, the latest calls; for a newcomer the three steps."""
    services = services_of(request)
    account_id = identity.account_id
    calls, _ = await services.usage.list_events(account_id, limit=CALLS_SHOWN)
    keys = await services.api_keys.list_keys(account_id)
    models = await services.catalog.list_models()
    standing = await services.limits.standing(account_id)
    months = await services.usage.months(account_id)
    return page(
        request,
        "home.html",
        identity=identity,
        balances=await services.billing.balances(account_id),
        standing=standing,
        alerts=await services.alerts.list_shown(account_id),
        months=months,
        compared=compared(months),
        key=next((key for key in keys if key.state == "live"), None),
        pending=next((key for key in keys if key.state == "pending"), None),
        has_limit=any(view.kind != "credit" for view in standing.limits),
        calls=calls,
        base_url=api_base_url(request),
        model=model_to_try(models),
    )


def compared(months: Months) -> str:
    """This month's spending against the same part of the last one, in words."""
    zone, span = ZoneInfo(months.time_zone), months.last_span
    last = f"{local_date(span.since_us, zone):%B}"
    this_nanos, last_nanos = months.this.charge_nanos, months.last.charge_nanos
    if not last_nanos:
        return f"nothing in {last} at this time" if this_nanos else f"nothing in {last} either"
    percent = (abs(this_nanos - last_nanos) * 100 + last_nanos // 2) // last_nanos
    if not percent:
        return f"as much as in {last} at this time"
    more = "more" if this_nanos > last_nanos else "less"
    return f"{percent:,} % {more} than in {last} at this time"
