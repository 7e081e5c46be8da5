"""The verbs of ``key``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.accounts import find, find_open
from latchgate.commands.answers import Answer
from latchgate.services.key_terms import TermsAsked

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World


async def _create(world: World, args: Arguments) -> Answer:
    whose, name = args.whose(), args.find_text("name") or ""
    replace, at_once = args.flag("replace"), args.flag("now")
    terms = _terms(args)
    args.close()
    account = await find_open(world, whose)
    new = await world.services.api_keys.create(
        account.account_id,
        name,
        caller=args.caller,
        replace=replace,
        at_once=at_once,
        terms=world.services.key_terms.first(terms),
    )
    replaces = new.replaces.id if new.replaces else None
    return {**answers.key(new.view), "secret": new.secret, "replaces": replaces}


def _terms(args: Arguments) -> TermsAsked:
    return TermsAsked(
        args.find_text("expires_at"),
        args.find_texts("models"),
        args.find_text("scope"),
        args.find_texts("addresses"),
    )


async def _change_terms(world: World, args: Arguments) -> Answer:
    key_id, terms = args.text("id"), _terms(args)
    args.close()
    return answers.key(await world.services.key_terms.change(None, key_id, terms, args.caller))


async def _list(world: World, args: Arguments) -> Answer:
    whose = args.whose()
    args.close()
    account = await find(world, whose)
    keys = await world.services.api_keys.list_keys(account.account_id)
    return {"keys": [answers.key(key) for key in keys]}


async def _revoke(world: World, args: Arguments) -> Answer:
    key_id = args.text("id")
    args.close()
    await world.services.api_keys.revoke(None, key_id, args.caller)
    return {"id": key_id, "state": "revoked"}


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "key.create": _create,
    "key.list": _list,
    "key.revoke": _revoke,
    "key.terms": _change_terms,
}
