"""The verbs of ``plan``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.accounts import find_open
from latchgate.commands.answers import Answer
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import parse_usd

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World
    from latchgate.services.plans import PlanTerms

_RATES = ("requests_per_minute", "tokens_per_minute", "calls_at_once")
_DIGITS_MAX = 12


def _terms(args: Arguments, before: PlanTerms) -> PlanTerms:
    """A plan's terms, changed in what is said; an empty text is what the configuration says."""
    changed: dict[str, int | bool | None] = {}
    for name in _RATES:
        if (written := args.find_text(name)) is not None:
            changed[name] = _count(written, name)
    if (gift := args.find_text("gift")) is not None:
        changed["gift_nanos"] = parse_usd(gift, param="gift", allow_zero=True) if gift else None
    if (line := args.find_text("credit_line")) is not None:
        changed["credit_line_nanos"] = parse_usd(line, param="credit_line", allow_zero=True)
    if (has_premium := args.find_flag("premium")) is not None:
        changed["has_premium"] = has_premium
    args.close()
    return replace(before, **changed)  # type: ignore[arg-type] # each is its field's kind


def _count(written: str, name: str) -> int | None:
    if not written:
        return None
    if not (written.isascii() and written.isdecimal() and len(written) <= _DIGITS_MAX):
        raise InvalidRequest(f"{name} is a whole number, or '' as configured.", param=name)
    return int(written)


async def _create(world: World, args: Arguments) -> Answer:
    from latchgate.services.plans import PlanTerms  # noqa: PLC0415 (keeps the start light)

    name = args.text("name")
    return answers.plan(
        await world.services.plans.create(name, _terms(args, PlanTerms()), args.caller)
    )


async def _list(world: World, args: Arguments) -> Answer:
    args.close()
    return {"plans": [answers.plan(plan) for plan in await world.services.plans.list_plans()]}


async def _show(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    args.close()
    return answers.plan(await world.services.plans.get(name))


async def _set(world: World, args: Arguments) -> Answer:
    plan = await world.services.plans.get(args.text("name"))
    terms = _terms(args, plan.terms)
    return answers.plan(await world.services.plans.change(plan.name, terms, args.caller))


async def _assign(world: World, args: Arguments) -> Answer:
    whose, name = args.whose(), args.text("name")
    args.close()
    account = await find_open(world, whose)
    plan = await world.services.plans.assign(account.account_id, name, args.caller)
    return {"account_id": account.account_id, "email": account.email, "plan": plan.name}


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "plan.create": _create,
    "plan.list": _list,
    "plan.show": _show,
    "plan.set": _set,
    "plan.assign": _assign,
}
