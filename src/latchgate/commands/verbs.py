"""One function for each verb: from arguments to an answer, over the services.

Whether it runs inside a serving process or in a command of its own makes no difference to what it
does.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from latchgate import __version__
from latchgate.commands import (
    accounts,
    admin_keys,
    answers,
    billing,
    catalog,
    keys,
    limits,
    mails,
    plans,
    prices,
)
from latchgate.commands.answers import Answer
from latchgate.commands.arguments import Arguments
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.people import CLI

if TYPE_CHECKING:
    from latchgate.commands.world import World
    from latchgate.domain.people import Caller


async def run(world: World, verb: str, args: dict[str, Any], caller: Caller = CLI) -> Answer:
    """Do what ``verb`` says, as ``caller`` asks; the audit log has his name.

    Raises InvalidRequest for an unknown one, and whatever its service raises.
    """
    command = VERBS.get(verb)
    if command is None:
        raise InvalidRequest(f"There is no verb {verb[:64]!r}.", code="unknown_verb", param="verb")
    return await command(world, Arguments(args, caller))


async def _invite_create(world: World, args: Arguments) -> Answer:
    email = args.find_text("email")
    args.close()
    made = await world.services.invitations.create(email, args.caller.actor)
    return {
        "id": made.id,
        "url": made.url,
        "email": made.email,
        "expires_us": made.expires_us,
        "expires_at": answers.iso(made.expires_us),
    }


async def _events(world: World, args: Arguments) -> Answer:
    before, limit = args.find_text("before"), args.rows()
    args.close()
    found, following = await world.services.audit_log.list_page(
        None, before=before, limit=limit, is_for_operator=True
    )
    return {"events": [answers.event(event) for event in found], "next": following}


async def _books(world: World, args: Arguments) -> Answer:
    args.close()
    return answers.books(await world.services.operations.books())


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
    **accounts.VERBS,
    **admin_keys.VERBS,
    **keys.VERBS,
    **billing.VERBS,
    **limits.VERBS,
    **mails.VERBS,
    **catalog.VERBS,
    **prices.VERBS,
    **plans.VERBS,
    "invite.create": _invite_create,
    "events": _events,
    "books": _books,
    "audit": _audit,
    "backup": _backup,
    "doctor": _doctor,
    "status": _status,
}
