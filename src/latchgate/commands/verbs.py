"""One function for each verb: from arguments to an answer, over the services.

Whether it runs inside a serving process or in a command of its own makes no difference to what it
does.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from latchgate import __version__
from latchgate.commands import answers, billing, keys
from latchgate.commands.answers import Answer
from latchgate.commands.arguments import Arguments
from latchgate.domain.endpoints import CHAT, EMBEDDINGS, SPEAKS_DEFAULT
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import parse_usd
from latchgate.domain.people import CLI
from latchgate.domain.prices import parse_price

if TYPE_CHECKING:
    from latchgate.commands.world import World
    from latchgate.domain.people import Caller
    from latchgate.services.accounts import AccountView
    from latchgate.services.bundle import Services
    from latchgate.services.catalog import ModelTerms


async def run(world: World, verb: str, args: dict[str, Any]) -> Answer:
    """Do what ``verb`` says.

    Raises InvalidRequest for an unknown one, and whatever its service raises.
    """
    command = VERBS.get(verb)
    if command is None:
        raise InvalidRequest(f"There is no verb {verb[:64]!r}.", code="unknown_verb", param="verb")
    return await command(world, Arguments(args))


async def _account_create(world: World, args: Arguments) -> Answer:
    email, password = args.text("email"), args.text("password")
    is_operator, credit = args.flag("operator"), args.find_text("credit")
    args.close()
    credit_nanos = None
    if credit is not None:
        credit_nanos = parse_usd(credit, param="credit", allow_zero=True)
    account = await world.services.accounts.create(
        email, password, is_operator=is_operator, credit_nanos=credit_nanos, actor=CLI.actor
    )
    return await billing.with_balances(world, account)


async def _account_show(world: World, args: Arguments) -> Answer:
    email = args.text("email")
    args.close()
    return await billing.with_balances(world, await world.services.accounts.get(email))


async def _account_list(world: World, args: Arguments) -> Answer:
    args.close()
    accounts = await world.services.accounts.list_all()
    return {"accounts": [answers.account(account) for account in accounts]}


def _of_account(
    chosen: Callable[[Services], Callable[[str, Caller], Awaitable[AccountView]]],
) -> Callable[[World, Arguments], Awaitable[Answer]]:
    """A verb that does one thing to an account, named by its e-mail."""

    async def command(world: World, args: Arguments) -> Answer:
        email = args.text("email")
        args.close()
        return answers.account(await chosen(world.services)(email, CLI))

    return command


async def _limit_list(world: World, args: Arguments) -> Answer:
    email = args.text("email")
    args.close()
    account = await world.services.accounts.get(email)
    return answers.standing(await world.services.limits.standing(account.account_id))


async def _limit_set(world: World, args: Arguments) -> Answer:
    email, kind, period = args.text("email"), args.text("what"), args.text("period")
    amount = args.find_text("amount")
    args.close()
    amount_nanos = None if amount is None else parse_usd(amount, allow_zero=True)
    account = await world.services.accounts.get(email)
    limits = world.services.limits
    await limits.set_limit(account.account_id, f"{kind}_limit", period, amount_nanos, CLI)
    return answers.standing(await limits.standing(account.account_id))


async def _limit_premium(world: World, args: Arguments) -> Answer:
    email, what, is_on = args.text("email"), args.text("what"), args.flag("on")
    args.close()
    account = await world.services.accounts.get(email)
    limits = world.services.limits
    await limits.set_premium(account.account_id, what, is_on=is_on, caller=CLI)
    return answers.standing(await limits.standing(account.account_id))


async def _limit_time_zone(world: World, args: Arguments) -> Answer:
    email, time_zone = args.text("email"), args.text("time_zone")
    args.close()
    account = await world.services.accounts.get(email)
    await world.services.limits.set_time_zone(account.account_id, time_zone, CLI)
    return answers.standing(await world.services.limits.standing(account.account_id))


async def _limit_rate(world: World, args: Arguments) -> Answer:
    email = args.text("email")
    names = ("requests_per_minute", "tokens_per_minute", "calls_at_once")
    rates = {name: args.find_count(name, least=0) for name in names}
    args.close()
    account = await world.services.accounts.get(email)
    await world.services.limits.set_rates(
        account.account_id,
        requests_per_minute=rates["requests_per_minute"],
        tokens_per_minute=rates["tokens_per_minute"],
        calls_at_once=rates["calls_at_once"] or None,
        caller=CLI,
    )
    return {"email": email, **rates}


async def _upstream_add(world: World, args: Arguments) -> Answer:
    name, base_url = args.text("name"), args.text("base_url")
    api_key, extra_fields = args.find_text("api_key"), args.texts("extra_fields")
    speaks = args.texts("speaks") or SPEAKS_DEFAULT
    calls_at_once = args.find_count("calls_at_once")
    args.close()
    view = await world.services.catalog.add_upstream(
        name,
        base_url=base_url,
        api_key=api_key,
        speaks=speaks,
        extra_fields=extra_fields,
        calls_at_once=calls_at_once,
        caller=CLI,
    )
    return answers.upstream(view)


async def _upstream_list(world: World, args: Arguments) -> Answer:
    args.close()
    upstreams = await world.services.catalog.list_upstreams()
    return {"upstreams": [answers.upstream(view) for view in upstreams]}


async def _upstream_remove(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    args.close()
    await world.services.catalog.remove_upstream(name, caller=CLI)
    return {"name": name, "state": "removed"}


async def _model_add(world: World, args: Arguments) -> Answer:
    name, upstream = args.text("name"), args.text("upstream")
    upstream_model, tier = args.find_text("upstream_model"), args.find_text("tier")
    context_tokens = args.count("context_tokens")
    output_tokens_max = args.find_count("output_tokens_max")
    is_thinking, takes_images = args.flag("thinks"), args.flag("images")
    kind = args.find_text("kind") or CHAT
    terms = _terms(args, writes=kind != EMBEDDINGS)
    args.close()
    view = await world.services.catalog.add_model(
        name,
        upstream=upstream,
        upstream_model=upstream_model,
        tier=tier or "standard",
        context_tokens=context_tokens,
        output_tokens_max=output_tokens_max,
        kind=kind,
        takes_images=takes_images,
        is_thinking=is_thinking,
        terms=terms,
        caller=CLI,
    )
    return answers.model(view)


async def _model_list(world: World, args: Arguments) -> Answer:
    args.close()
    return {"models": [answers.model(view) for view in await world.services.catalog.list_models()]}


async def _model_price(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    terms, percent = _terms(args), args.find_count("priority_percent")
    args.close()
    view = await world.services.catalog.set_price(
        name, terms=terms, priority_percent=percent, caller=CLI
    )
    return answers.model(view)


async def _model_remove(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    args.close()
    await world.services.catalog.remove_model(name, caller=CLI)
    return {"name": name, "state": "removed"}


async def _invite_create(world: World, args: Arguments) -> Answer:
    email = args.find_text("email")
    args.close()
    made = await world.services.invitations.create(email, CLI.actor)
    return {
        "id": made.id,
        "url": made.url,
        "email": made.email,
        "expires_us": made.expires_us,
        "expires_at": answers.iso(made.expires_us),
    }


async def _audit(world: World, args: Arguments) -> Answer:
    args.close()
    report = await world.audit()
    return {
        "agrees": not report.findings,
        "findings": list(report.findings),
        "checked": dict(report.checked),
    }


async def _backup(world: World, args: Arguments) -> Answer:
    args.close()
    copy = await world.copy_database()
    return {"engine": copy.engine, "revision": copy.revision, "epochs": list(copy.epochs)}


async def _doctor(world: World, args: Arguments) -> Answer:
    args.close()
    return await world.condition()


async def _status(world: World, args: Arguments) -> Answer:
    args.close()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "url": world.settings.server.base_url,
        "data_dir": str(world.settings.data_dir.resolve()),
    }


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "account.create": _account_create,
    "account.show": _account_show,
    "account.list": _account_list,
    "account.suspend": _of_account(lambda services: services.accounts.suspend),
    "account.resume": _of_account(lambda services: services.accounts.resume),
    "account.log-out": _of_account(lambda services: services.rescues.log_out),
    "account.reset-factors": _of_account(lambda services: services.rescues.reset_factors),
    **keys.VERBS,
    **billing.VERBS,
    "limit.list": _limit_list,
    "limit.set": _limit_set,
    "limit.remove": _limit_set,
    "limit.premium": _limit_premium,
    "limit.time-zone": _limit_time_zone,
    "limit.rate": _limit_rate,
    "upstream.add": _upstream_add,
    "upstream.list": _upstream_list,
    "upstream.remove": _upstream_remove,
    "model.add": _model_add,
    "model.list": _model_list,
    "model.price": _model_price,
    "model.remove": _model_remove,
    "invite.create": _invite_create,
    "audit": _audit,
    "backup": _backup,
    "doctor": _doctor,
    "status": _status,
}


def _terms(args: Arguments, *, writes: bool = True) -> ModelTerms:
    """Prices from their texts; cached input costs as much as input when nothing is said.

    A model that ``writes`` needs a price of its output.
    """
    from latchgate.services.catalog import ModelTerms  # noqa: PLC0415 (keeps the start light)

    input_price = args.text("input_price")
    cached_price = args.find_text("cached_price") or input_price
    output_price = args.text("output_price") if writes else args.find_text("output_price") or "0"
    return ModelTerms(
        input_picos=parse_price(input_price, param="input_price"),
        cached_picos=parse_price(cached_price, param="cached_price"),
        output_picos=parse_price(output_price, param="output_price"),
    )
