"""The personal page: what can be spent, what was, and the next step."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from latchgate.clock import month_start_us
from latchgate.console.rendering import api_base_url, model_to_try, page
from latchgate.http.sessions import LoggedIn, services_of

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
    return page(
        request,
        "home.html",
        identity=identity,
        balances=await services.billing.balances(account_id),
        standing=await services.limits.standing(account_id),
        month=await services.usage.totals(
            account_id, since_us=month_start_us(services.clock.now_us())
        ),
        key=next((key for key in keys if key.state == "live"), None),
        calls=calls,
        base_url=api_base_url(request),
        model=model_to_try(models),
    )
