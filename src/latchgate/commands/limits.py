"""The verbs of ``limit``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.accounts import find, find_open
from latchgate.commands.answers import Answer
from latchgate.domain.money import parse_usd

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World


async def _list(world: World, args: Arguments) -> Answer:
    whose = args.whose()
    args.close()
    account = await find(world, whose)
    return answers.standing(await world.services.limits.standing(account.account_id))


async def _set(world: World, args: Arguments) -> Answer:
    whose, kind, period = args.whose(), args.text("what"), args.text("period")
    amount = args.find_text("amount")
    args.close()
    amount_nanos = None if amount is None else parse_usd(amount, allow_zero=True)
    account = await find_open(world, whose)
    limits = world.services.limits
    await limits.set_limit(account.account_id, f"{kind}_limit", period, amount_nanos, args.caller)
    return answers.standing(await limits.standing(account.account_id))


async def _premium(world: World, args: Arguments) -> Answer:
    whose, what, is_on = args.whose(), args.text("what"), args.flag("on")
    args.close()
    account = await find_open(world, whose)
    limits = world.services.limits
    await limits.set_premium(account.account_id, what, is_on=is_on, caller=args.caller)
    return answers.standing(await limits.standing(account.account_id))


async def _time_zone(world: World, args: Arguments) -> Answer:
    whose, time_zone = args.whose(), args.text("time_zone")
    args.close()
    account = await find_open(world, whose)
    await world.services.limits.set_time_zone(account.account_id, time_zone, args.caller)
    return answers.standing(await world.services.limits.standing(account.account_id))


async def _rate(world: World, args: Arguments) -> Answer:
    whose = args.whose()
    names = ("requests_per_minute", "tokens_per_minute", "calls_at_once")
    rates = {name: args.find_count(name, least=0) for name in names}
    args.close()
    account = await find_open(world, whose)
    await world.services.limits.set_rates(
        account.account_id,
        requests_per_minute=rates["requests_per_minute"],
        tokens_per_minute=rates["tokens_per_minute"],
        calls_at_once=rates["calls_at_once"] or None,
        caller=args.caller,
    )
    return {"email": account.email, **rates}


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "limit.list": _list,
    "limit.set": _set,
    "limit.remove": _set,
    "limit.premium": _premium,
    "limit.time-zone": _time_zone,
    "limit.rate": _rate,
}
