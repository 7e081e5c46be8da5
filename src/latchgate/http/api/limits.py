"""Limits: what the account may spend in a day, a week, a month, and what is left."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from latchgate.domain.money import format_usd, parse_usd
from latchgate.http.api.shapes import Answered, Asked, at_or_none, session_cookie
from latchgate.http.sessions import LoggedIn, RecentlyConfirmed, caller_of, services_of
from latchgate.services.limits import LimitView, Standing

router = APIRouter(prefix="/limits", tags=["limits"], dependencies=[session_cookie])


class LimitAsked(Asked):
    """A limit to be set, raised or lowered."""

    what: Literal["account", "key"]
    period: Literal["none", "day", "week", "month"]
    limit_usd: Annotated[
        str | None, Field(max_length=32, description="Decimal USD; null takes the limit away.")
    ]


class TimeZoneAsked(Asked):
    """At whose midnight limits begin anew."""

    time_zone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])]


class PremiumAsked(Asked):
    """A switch for premium models: the account's, or its key's. A call needs both."""

    what: Literal["account", "key"]
    is_on: bool


class PremiumAnswered(Answered):
    """The switches for premium models; a fresh key finds its own as it was."""

    account: bool
    key: bool


class LimitAnswered(Answered):
    """One budget that binds, in its running window."""

    what: str
    period: str
    limit_nanos: int
    limit_usd: str
    spent_nanos: int
    spent_usd: str
    held_nanos: int
    held_usd: str
    left_nanos: int
    left_usd: str
    resets_at: datetime | None


class LimitsAnswered(Answered):
    """Everything that binds the account; ``available`` is what can be spent now."""

    available_nanos: int
    available_usd: str
    time_zone: str
    premium: PremiumAnswered
    data: list[LimitAnswered]


@router.get("", operation_id="getLimits")
async def get_limits(request: Request, identity: LoggedIn) -> LimitsAnswered:
    """What binds the account, its credit among it."""
    return _answered(await services_of(request).limits.standing(identity.account_id))


@router.put("", operation_id="setLimit")
async def set_limit(request: Request, identity: LoggedIn, asked: LimitAsked) -> LimitsAnswered:
    """Set, raise, lower or take away a limit. It binds the next call.

    To raise it, or to take it away, is 403 `reauthentication_required` some time after the login:
    see `PUT /api/session/confirmation`.
    """
    limits, kind = services_of(request).limits, f"{asked.what}_limit"
    amount_nanos = None
    if asked.limit_usd is not None:
        amount_nanos = parse_usd(asked.limit_usd, param="limit_usd", allow_zero=True)
    standing = await limits.standing(identity.account_id)
    if standing.would_loosen(kind, asked.period, amount_nanos):
        services_of(request).confirmations.require(identity, "sensitive")
    await limits.set_limit(
        identity.account_id,
        kind,
        asked.period,
        amount_nanos,
        caller_of(request, identity),
    )
    return _answered(await limits.standing(identity.account_id))


@router.put("/premium", operation_id="setPremium")
async def set_premium(request: Request, identity: LoggedIn, asked: PremiumAsked) -> LimitsAnswered:
    """Let the account, or its key, call premium models, or not. It binds the next call."""
    limits = services_of(request).limits
    caller = caller_of(request, identity)
    if asked.is_on:
        services_of(request).confirmations.require(identity, "sensitive")
    await limits.set_premium(identity.account_id, asked.what, is_on=asked.is_on, caller=caller)
    return _answered(await limits.standing(identity.account_id))


@router.put("/time-zone", operation_id="setTimeZone")
async def set_time_zone(
    request: Request, identity: RecentlyConfirmed, asked: TimeZoneAsked
) -> LimitsAnswered:
    """Choose at whose midnight limits begin anew."""
    limits = services_of(request).limits
    await limits.set_time_zone(identity.account_id, asked.time_zone, caller_of(request, identity))
    return _answered(await limits.standing(identity.account_id))


def _answered(standing: Standing) -> LimitsAnswered:
    return LimitsAnswered(
        available_nanos=standing.available_nanos,
        available_usd=format_usd(standing.available_nanos),
        time_zone=standing.time_zone,
        premium=PremiumAnswered(**standing.premium),
        data=[_limit(view) for view in standing.limits],
    )


def _limit(view: LimitView) -> LimitAnswered:
    return LimitAnswered(
        what=view.kind.removesuffix("_limit"),
        period=view.period,
        limit_nanos=view.limit_nanos,
        limit_usd=format_usd(view.limit_nanos),
        spent_nanos=view.spent_nanos,
        spent_usd=format_usd(view.spent_nanos),
        held_nanos=view.held_nanos,
        held_usd=format_usd(view.held_nanos),
        left_nanos=view.left_nanos,
        left_usd=format_usd(view.left_nanos),
        resets_at=at_or_none(view.resets_us),
    )
