"""``latchgate price``: versions of prices that wait."""

from __future__ import annotations

from typing import Annotated

import typer

from latchgate.cli.catalog import PRICE_COLUMNS, ModelName
from latchgate.cli.output import print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place

price = typer.Typer(help="Prices: what waits to come into force. (latchgate model price sets one.)")


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
        ("name", "from", "price_version", *PRICE_COLUMNS[:3]),
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
