"""The verbs of ``admin-key``: no admin key may make another, so the admin API has none of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.answers import Answer

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World


async def _create(world: World, args: Arguments) -> Answer:
    email, name = args.text("email"), args.find_text("name") or ""
    scopes, expires_at = args.texts("scopes"), args.find_text("expires_at") or ""
    args.close()
    made = await world.services.admin_keys.create(
        email, name, scopes=scopes, expires_at=expires_at, caller=args.caller
    )
    return {**answers.admin_key(made.view), "secret": made.secret}


async def _list(world: World, args: Arguments) -> Answer:
    before, limit = args.find_text("before"), args.rows()
    args.close()
    found, following = await world.services.admin_keys.list_page(before=before, limit=limit)
    return {"admin_keys": [answers.admin_key(view) for view in found], "next": following}


async def _revoke(world: World, args: Arguments) -> Answer:
    key_id = args.text("id")
    args.close()
    return answers.admin_key(await world.services.admin_keys.revoke(key_id, args.caller))


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "admin-key.create": _create,
    "admin-key.list": _list,
    "admin-key.revoke": _revoke,
}
