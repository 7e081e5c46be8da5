"""The verbs about what models cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from latchgate.commands import answers
from latchgate.commands.answers import Answer
from latchgate.domain.moments import parse_moment
from latchgate.domain.prices import parse_price

if TYPE_CHECKING:
    from latchgate.commands.arguments import Arguments
    from latchgate.commands.world import World
    from latchgate.services.catalog import ModelTerms


def terms_of(args: Arguments, *, writes: bool = True) -> ModelTerms:
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


async def _model_price(world: World, args: Arguments) -> Answer:
    name, written = args.text("name"), args.find_text("effective_from")
    terms, percent = terms_of(args), args.find_count("priority_percent")
    args.close()
    view = await world.services.prices.set_price(
        name,
        terms=terms,
        priority_percent=percent,
        from_us=parse_moment(written, param="effective_from") if written else None,
        caller=args.caller,
    )
    return answers.model(view)


async def _price_coming(world: World, args: Arguments) -> Answer:
    args.close()
    coming = await world.services.prices.list_coming(with_disabled=True)
    return {"prices": [answers.coming_price(price) for price in coming]}


async def _price_withdraw(world: World, args: Arguments) -> Answer:
    name, version = args.text("name"), args.count("version")
    args.close()
    await world.services.prices.withdraw(name, version, caller=args.caller)
    return {"name": name, "price_version": version, "state": "withdrawn"}


async def _price_import(world: World, args: Arguments) -> Answer:
    provider, percent = args.find_text("provider") or "", args.find_count("percent") or 100
    names, is_all = args.find_texts("take"), args.flag("all")
    args.close()
    imports = world.services.price_import
    preview = await imports.preview(provider=provider, percent=percent)
    if is_all:
        names = tuple(line.model.name for line in preview.changes)
    taken: set[str] = set()
    if names:
        done = await imports.apply(names, provider=provider, percent=percent, caller=args.caller)
        taken = {line.model.name for line in done.lines}
    return {
        "source": preview.source,
        "models": [
            answers.import_line(line, is_taken=line.model.name in taken) for line in preview.lines
        ],
    }


async def _price_correct(world: World, args: Arguments) -> Answer:
    name = args.text("name")
    since_us = parse_moment(args.text("since"), param="since")
    until_us = parse_moment(args.text("until"), param="until")
    terms, percent = terms_of(args), args.find_count("priority_percent")
    has_charges, below_zero = args.flag("charges"), args.flag("below_zero")
    is_posting, reason = args.flag("post"), args.find_text("reason") or ""
    args.close()
    corrections = world.services.price_corrections
    asked = await corrections.ask(
        name,
        since_us=since_us,
        until_us=until_us,
        terms=terms,
        priority_percent=percent,
        has_charges=has_charges,
        may_go_below_zero=below_zero,
    )
    if is_posting:
        found = await corrections.correct(asked, reason=reason, caller=args.caller)
    else:
        found = await corrections.preview(asked)
    return {**answers.correction(found), "posted": is_posting}


VERBS: dict[str, Callable[[World, Arguments], Awaitable[Answer]]] = {
    "model.price": _model_price,
    "price.coming": _price_coming,
    "price.withdraw": _price_withdraw,
    "price.import": _price_import,
    "price.correct": _price_correct,
}
