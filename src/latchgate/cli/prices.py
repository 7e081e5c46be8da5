"""``latchgate price``: what waits, what a public list has, and what was wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from latchgate.cli.catalog import PRICE_COLUMNS, CachedPrice, InputPrice, ModelName, OutputPrice
from latchgate.cli.output import print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place

price = typer.Typer(help="Prices: what waits, what a public list has, and what was wrong.")


@price.command("coming")
def price_coming(
    *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """List the prices that wait for their moment; USD per million tokens."""
    answer = Place(data, config, as_json).perform("price.coming")
    if as_json:
        return print_json(answer)
    return print_table(
        answer["prices"],
        ("name", "effective_from", "price_version", *PRICE_COLUMNS[:3]),
        when_empty="No price waits: latchgate model price ID … --from MOMENT announces one.",
    )


@price.command("import")
def price_import(
    *,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="Whose prices hold for upstreams whose address the list does not know: openai",
        ),
    ] = None,
    percent: Annotated[
        int | None,
        typer.Option("--percent", metavar="N", help="Percent of the list's prices; else 100."),
    ] = None,
    take: Annotated[
        list[str] | None,
        typer.Option("--take", metavar="ID", help="Take over this model's price; say it for each."),
    ] = None,
    take_all: Annotated[
        bool, typer.Option("--take-all", help="Take over every price that differs.")
    ] = False,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare prices with the list of the package genai-prices, and take over what you name.

    Without --take or --take-all it only compares. Nothing is fetched: the list comes along.
    """
    answer = Place(data, config, as_json).perform(
        "price.import", provider=provider, percent=percent, take=take, all=take_all
    )
    if as_json:
        return print_json(answer)
    print_line(f"{answer['source']}, in USD per million tokens: input, cached, output")
    return print_table(
        [
            {
                **row,
                "now": ", ".join(row["now"].values()),
                "listed": ", ".join(row["listed"].values()) if row["listed"] else None,
                "left_out": ", ".join(row["left_out"]) or None,
            }
            for row in answer["models"]
        ],
        ("name", "listed_as", "now", "listed", "state", "left_out"),
        when_empty="There are no models to compare with.",
    )


@price.command("withdraw")
def price_withdraw(
    name: ModelName,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="The version that waits.")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let a price that waits never come into force."""
    place = Place(data, config, as_json)
    answer = place.perform("price.withdraw", name=name, version=version)
    if as_json:
        return print_json(answer)
    return print_line(f"Version {version} of {name}'s price is withdrawn.")


@price.command("correct")
def price_correct(
    name: ModelName,
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="MOMENT", help="The first call's, in UTC.")
    ],
    until: Annotated[
        str, typer.Option("--until", metavar="MOMENT", help="Behind the last call's, in UTC.")
    ],
    input_price: InputPrice,
    output_price: OutputPrice,
    cached_price: CachedPrice = None,
    priority_percent: Annotated[
        int | None,
        typer.Option(
            "--priority-percent",
            metavar="N",
            help="What a priority call should have cost of it, in percent; else as it does now.",
        ),
    ] = None,
    charges: Annotated[
        bool, typer.Option("--charges", help="Charge those who paid too little, too.")
    ] = False,
    below_zero: Annotated[
        bool, typer.Option("--below-zero", help="… even where that leaves less than nothing.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; the owners read it.")
    ] = None,
    post: Annotated[bool, typer.Option("--post", help="Post it; else it is only shown.")] = False,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put right what a model's calls were charged in a span of time, by a posting an account.

    Without --post it only shows who would get what. Done again, it finds nothing to do.
    """
    answer = Place(data, config, as_json).perform(
        "price.correct",
        name=name,
        since=since,
        until=until,
        input_price=input_price,
        cached_price=cached_price,
        output_price=output_price,
        priority_percent=priority_percent,
        charges=charges,
        below_zero=below_zero,
        reason=reason,
        post=post,
    )
    if as_json:
        return print_json(answer)
    print_table(
        answer["accounts"],
        ("email", "calls", "charged_usd", "right_usd", "amount_usd", "left_out"),
        when_empty="Every call of that span has cost what you say: there is nothing to do.",
    )
    did = "Posted" if answer["posted"] else "Would be posted"
    back, taken = answer["refunded_usd"], answer["taken_usd"]
    return print_line(f"{did}: {back} USD to accounts, {taken} USD from accounts.")
