"""The verbs of ``mail``: which mails an owner gets, beside those that nobody can refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from latchgate.commands.accounts import find, find_open
from latchgate.commands.answers import Answer
from latchgate.domain.errors import InvalidRequest
from latchgate.services.key_notices import SWITCHES

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World
    from latchgate.services.accounts import AccountView

#: Alerts that are mailed, and the field of the account's terms that says so.
_ALERTS = {"limits": "mails_limits", "credit": "mails_credit"}


async def _switches(world: World, account: AccountView) -> Answer:
    notices = await world.services.key_notices.switches(account.account_id)
    terms = await world.services.alerts.terms(account.account_id)
    alerts = {what: getattr(terms, field) for what, field in _ALERTS.items()}
    return {"email": account.email, **notices, **alerts}


async def _list(world: World, args: Arguments) -> Answer:
    whose = args.whose()
    args.close()
    return await _switches(world, await find(world, whose))


async def _switch(world: World, args: Arguments) -> Answer:
    whose, what, is_on = args.whose(), args.text("what"), args.flag("on")
    args.close()
    account = await find_open(world, whose)
    services, account_id = world.services, account.account_id
    if what in SWITCHES:
        await services.key_notices.switch(account_id, what, is_on=is_on, caller=args.caller)
    elif what in _ALERTS:
        terms = await services.alerts.terms(account_id)
        if what == "limits":
            changed = replace(terms, mails_limits=is_on)
        else:
            changed = replace(terms, mails_credit=is_on)
        if changed != terms:
            await services.alerts.set_terms(account_id, changed, args.caller)
    else:
        raise InvalidRequest(f"A mail is one of: {', '.join((*SWITCHES, *_ALERTS))}.", param="what")
    return await _switches(world, account)


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "mail.list": _list,
    "mail.switch": _switch,
}
