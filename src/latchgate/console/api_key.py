"""One key's page: what used it, what it spent, what it is bound to, and how to change that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.rendering import page
from latchgate.console.usage import Address
from latchgate.console.usage_chart import draw
from latchgate.domain.errors import LatchgateError
from latchgate.domain.people import Identity
from latchgate.domain.usage_spans import UsageAsked, local_date
from latchgate.domain.windows import get_zone
from latchgate.http.sessions import LoggedIn, caller_of, client_ip, services_of
from latchgate.services.confirmations import REQUIRED
from latchgate.services.key_states import KeyView
from latchgate.services.key_terms import TermsAsked, written
from latchgate.services.limits import Standing

router = APIRouter()

DAYS_CHARTED = 30
#: Apps that are named where a key may be revoked.
APPS_NAMED_MAX = 5
TERMS = ("expires_at", "scope", "models", "addresses")
_SEE_OTHER = 303


def asked_terms(form: Mapping[str, str]) -> TermsAsked:
    """The terms that a form asks for; a field that it does not have changes nothing."""
    return TermsAsked(
        expires_at=form.get("expires_at"),
        models=form["models"].splitlines() if "models" in form else None,
        scope=form.get("scope"),
        addresses=form["addresses"].splitlines() if "addresses" in form else None,
    )


async def breaking(request: Request, key: KeyView, account_id: str) -> list[str]:
    """The apps that stop working when a key ends: those that used it in the last seven days."""
    asked = UsageAsked(period="7d", api_key_id=key.id)
    return await services_of(request).usage.apps(account_id, asked=asked)


async def _key_page(
    request: Request,
    identity: Identity,
    key_id: str,
    *,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    services, account_id = services_of(request), identity.account_id
    standing = await services.limits.standing(account_id)  # which also posts what has ended
    key = await services.api_keys.get(account_id, key_id)
    asked = _last_days(standing, services.clock.now_us(), key_id)
    summary = await services.usage.summary(account_id, asked=asked, split="app", per="day")
    last_us = key.last_used_us
    return page(
        request,
        "api_key.html",
        identity=identity,
        status=error.status if error else 200,
        key=key,
        last_ip=""
        if last_us is None
        else await services.usage.last_ip(account_id, key_id, last_us),
        summary=summary,
        chart=draw(summary, "spending", "app"),
        address=Address({"key": key_id, "from": asked.first}),
        standing=standing,
        key_limits=[view for view in standing.limits if view.kind == "key_limit"],
        breaking=await breaking(request, key, account_id),
        offered=[model.name for model in await services.catalog.list_models()],
        here=client_ip(request),
        typed=typed or written(key.terms),
        error=error,
        notice=request.query_params.get("notice", ""),
    )


def _last_days(standing: Standing, now_us: int, key_id: str) -> UsageAsked:
    today = local_date(now_us, get_zone(standing.time_zone))
    first = today - timedelta(days=DAYS_CHARTED - 1)
    return UsageAsked(first=first.isoformat(), api_key_id=key_id)


@router.get("/api-keys/{key_id}")
async def show(request: Request, key_id: str, identity: LoggedIn) -> Response:
    """The page."""
    return await _key_page(request, identity, key_id)


@router.post("/api-keys/{key_id}/terms")
async def change_terms(request: Request, key_id: str, identity: LoggedIn) -> Response:
    """Change the key's terms; where it may then do more, he is first asked who he is."""
    form = await read_form(request)
    services = services_of(request)
    try:
        await services.key_terms.change(
            identity.account_id,
            key_id,
            asked_terms(form),
            caller_of(request, identity),
            check_loosening=lambda: services.confirmations.require(identity, "sensitive"),
        )
    except LatchgateError as error:
        if error.code == REQUIRED or error.param not in TERMS:
            raise  # asked on a page of its own, and then it goes on here; or there is no such key
        typed = {name: form.get(name, "") for name in TERMS}
        return await _key_page(request, identity, key_id, typed=typed, error=error)
    return RedirectResponse(f"/api-keys/{key_id}?notice=terms", _SEE_OTHER)
