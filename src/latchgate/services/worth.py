"""What an account's amounts mean: in calls like its own, and if its key leaked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latchgate.clock import DAY_US
from latchgate.domain.endpoints import CHAT
from latchgate.domain.prices import Price
from latchgate.domain.worth import Worth, most_to_lose, worth_of_letter
from latchgate.storage.budgets import CREDIT

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.services.auto_top_ups import TopUpView
    from latchgate.services.catalog import Catalog
    from latchgate.services.limits import Standing
    from latchgate.services.usage import UsageService

DAYS = 30


async def worth_for(
    account_id: str, usage: UsageService, catalog: Catalog, clock: Clock
) -> Worth | None:
    """What a call costs: the account's own of the last 30 days, else a newcomer's letter."""
    since_us = clock.now_us() // DAY_US * DAY_US - DAYS * DAY_US
    totals = await usage.totals(account_id, since_us=since_us)
    if totals.charge_nanos:
        return Worth(totals.charge_nanos, totals.calls)
    return worth_of_letter(
        (
            model.name,
            Price(model.name, model.input_picos, model.cached_picos, model.output_picos),
        )
        for model in await catalog.list_models()
        if model.kind == CHAT and model.tier != "premium"
    )


def most_to_lose_today(standing: Standing, top_up: TopUpView | None) -> int:
    """What a leaked key could cost up to midnight: every window lasts until then at least."""
    credit = next(view for view in standing.limits if view.kind == CREDIT)
    # Below zero too: where more was taken away than was there, a top-up fills that first.
    credit_left_nanos = credit.limit_nanos - credit.spent_nanos - credit.held_nanos
    others = (view.left_nanos for view in standing.limits if view.kind != CREDIT)
    return most_to_lose(credit_left_nanos, others, _top_ups(top_up))


def _top_ups(top_up: TopUpView | None) -> int:
    """What could still be paid for by itself this month, in whole top-ups."""
    if top_up is None or top_up.state != "on":
        return 0
    room_nanos = max(0, top_up.terms.month_max_nanos - top_up.paid_this_month_nanos)
    return room_nanos // top_up.terms.amount_nanos * top_up.terms.amount_nanos
