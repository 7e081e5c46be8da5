"""The verbs of ``upstream`` and ``model``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.answers import Answer
from latchgate.commands.prices import terms_of
from latchgate.domain.endpoints import CHAT, EMBEDDINGS, SPEAKS_DEFAULT

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World


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
        caller=args.caller,
    )
    return answers.upstream(view)


async def _upstream_list(world: World, args: Arguments) -> Answer:
    args.close()
    upstreams = await world.services.catalog.list_upstreams()
    return {"upstreams": [answers.upstream(view) for view in upstreams]}


async def _upstream_remove(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    args.close()
    await world.services.catalog.remove_upstream(name, caller=args.caller)
    return {"name": name, "state": "removed"}


async def _model_add(world: World, args: Arguments) -> Answer:
    name, upstream = args.text("name"), args.text("upstream")
    upstream_model, tier = args.find_text("upstream_model"), args.find_text("tier")
    context_tokens = args.count("context_tokens")
    output_tokens_max = args.find_count("output_tokens_max")
    is_thinking, takes_images = args.flag("thinks"), args.flag("images")
    kind = args.find_text("kind") or CHAT
    terms = terms_of(args, writes=kind != EMBEDDINGS)
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
        caller=args.caller,
    )
    return answers.model(view)


async def _model_list(world: World, args: Arguments) -> Answer:
    args.close()
    found = await world.services.catalog.list_models(with_disabled=True)
    return {"models": [answers.model(view) for view in found]}


async def _model_remove(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    args.close()
    await world.services.catalog.remove_model(name, caller=args.caller)
    return {"name": name, "state": "removed"}


async def _upstream_test(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    args.close()
    problem = await world.services.upstreams.test(name)
    return {"name": name, "works": not problem, "problem": problem}


async def _upstream_key(world: World, args: Arguments) -> Answer:
    name, api_key = args.text("name"), args.text("api_key")
    args.close()
    await world.services.upstreams.set_credential(name, api_key, caller=args.caller)
    return {"name": name, "has_credential": True}


def _upstream_switch(*, is_enabled: bool) -> Callable[[World, Arguments], Awaitable[Answer]]:
    async def command(world: World, args: Arguments) -> Answer:
        name = args.text("name")
        args.close()
        upstreams = world.services.upstreams
        await upstreams.set_enabled(name, is_enabled=is_enabled, caller=args.caller)
        return {"name": name, "is_enabled": is_enabled}

    return command


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "upstream.add": _upstream_add,
    "upstream.list": _upstream_list,
    "upstream.test": _upstream_test,
    "upstream.key": _upstream_key,
    "upstream.enable": _upstream_switch(is_enabled=True),
    "upstream.disable": _upstream_switch(is_enabled=False),
    "upstream.remove": _upstream_remove,
    "model.add": _model_add,
    "model.list": _model_list,
    "model.remove": _model_remove,
}
