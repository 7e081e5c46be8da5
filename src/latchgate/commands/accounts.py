"""The verbs of ``account``, and how each verb finds the account that is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.answers import Answer
from latchgate.domain.errors import Conflict
from latchgate.domain.money import parse_usd

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments, Whose
    from latchgate.commands.world import World
    from latchgate.domain.people import Caller
    from latchgate.services.accounts import AccountView
    from latchgate.services.bundle import Services


async def find(world: World, whose: Whose) -> AccountView:
    """The account that is meant, a closed one too. Raises NotFound."""
    if whose.account_id is not None:
        return (await world.services.operator_accounts.get(whose.account_id)).view
    return await world.services.accounts.get(whose.email or "")


async def find_open(world: World, whose: Whose) -> AccountView:
    """The account that is to be changed. Raises NotFound, or Conflict for one that is closed."""
    account = await find(world, whose)
    if account.state == "closed":
        raise Conflict("This account is closed for good. Nothing of it can be changed.")
    return account


async def with_balances(world: World, account: AccountView) -> Answer:
    """An account and its money."""
    balances = await world.services.billing.balances(account.account_id)
    return {
        **answers.account(account),
        **answers.money("credit", balances.credit_nanos),
        **answers.money("spent", balances.spent_nanos),
        **answers.money("held", balances.held_nanos),
        **answers.money("credit_line", balances.credit_line_nanos),
        **answers.money("available", balances.available_nanos),
    }


async def _create(world: World, args: Arguments) -> Answer:
    email, password = args.text("email"), args.text("password")
    is_operator, credit = args.flag("operator"), args.find_text("credit")
    plan = args.find_text("plan")
    args.close()
    credit_nanos = None
    if credit is not None:
        credit_nanos = parse_usd(credit, param="credit", allow_zero=True)
    account = await world.services.accounts.create(
        email,
        password,
        is_operator=is_operator,
        credit_nanos=credit_nanos,
        actor=args.caller.actor,
        plan=plan,
    )
    return await with_balances(world, account)


async def _show(world: World, args: Arguments) -> Answer:
    whose = args.whose()
    args.close()
    account = await find(world, whose)
    plan = await world.services.plans.get_of(account.account_id)
    return {**await with_balances(world, account), "plan": plan.name}


async def _list(world: World, args: Arguments) -> Answer:
    args.close()
    accounts = await world.services.accounts.list_all()
    return {"accounts": [answers.account(account) for account in accounts]}


async def _find(world: World, args: Arguments) -> Answer:
    asked, before, limit = args.find_text("q") or "", args.find_text("before"), args.rows()
    args.close()
    found, following = await world.services.operator_accounts.list_page(
        asked=asked, before=before, limit=limit
    )
    return {"accounts": [answers.account_line(line) for line in found], "next": following}


async def _events(world: World, args: Arguments) -> Answer:
    whose, before, limit = args.whose(), args.find_text("before"), args.rows()
    args.close()
    account = await find(world, whose)
    found, following = await world.services.audit_log.list_page(
        account.account_id, before=before, limit=limit, is_for_operator=True
    )
    return {"events": [answers.event(event) for event in found], "next": following}


def _to(
    chosen: Callable[[Services], Callable[[str, Caller], Awaitable[AccountView]]],
) -> Callable[[World, Arguments], Awaitable[Answer]]:
    """A verb that does one thing to an account."""

    async def command(world: World, args: Arguments) -> Answer:
        whose = args.whose()
        args.close()
        account = await find_open(world, whose)
        return answers.account(await chosen(world.services)(account.email, args.caller))

    return command


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "account.create": _create,
    "account.show": _show,
    "account.list": _list,
    "account.find": _find,
    "account.events": _events,
    "account.suspend": _to(lambda services: services.accounts.suspend),
    "account.resume": _to(lambda services: services.accounts.resume),
    "account.log-out": _to(lambda services: services.rescues.log_out),
    "account.reset-factors": _to(lambda services: services.rescues.reset_factors),
}
