"""``latchgate plan``."""

from __future__ import annotations

from typing import Annotated

import typer

from latchgate.cli.accounts import Email
from latchgate.cli.output import print_facts, print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place

plan = typer.Typer(help="Plans: named sets of terms that you give to accounts.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The plan's name.")]
Gift = Annotated[
    str | None,
    typer.Option("--gift", metavar="USD", help="What an account gets that is made with it."),
]
Requests = Annotated[
    str | None,
    typer.Option("--requests-per-minute", metavar="N", help="0: no limit; '': as configured."),
]
Tokens = Annotated[
    str | None,
    typer.Option("--tokens-per-minute", metavar="N", help="0: no limit; '': as configured."),
]
AtOnce = Annotated[
    str | None,
    typer.Option("--calls-at-once", metavar="N", help="Of one key; '': as configured."),
]
Premium = Annotated[
    bool | None,
    typer.Option(
        "--premium/--no-premium", help="Whether premium models and priority can be switched on."
    ),
]
CreditLine = Annotated[
    str | None,
    typer.Option("--credit-line", metavar="USD", help="How far below zero its accounts may go."),
]

_FACTS = (
    *("name", "accounts", "gift_usd"),
    *("requests_per_minute", "tokens_per_minute", "calls_at_once"),
    *("has_premium", "credit_line_usd"),
)


@plan.command("create")
def plan_create(
    name: Name,
    *,
    gift: Gift = None,
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    calls_at_once: AtOnce = None,
    premium: Premium = None,
    credit_line: CreditLine = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a plan. What is not said is as the plan default has it at first."""
    answer = Place(data, config, as_json).perform(
        "plan.create",
        name=name,
        gift=gift,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        calls_at_once=calls_at_once,
        premium=premium,
        credit_line=credit_line,
    )
    return print_json(answer) if as_json else print_facts(answer, _FACTS)


@plan.command("list")
def plan_list(*, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False) -> None:
    """List the plans, the default one first."""
    answer = Place(data, config, as_json).perform("plan.list")
    if as_json:
        return print_json(answer)
    return print_table(answer["plans"], _FACTS, when_empty="There are no plans.")


@plan.command("show")
def plan_show(
    name: Name, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Show a plan."""
    answer = Place(data, config, as_json).perform("plan.show", name=name)
    return print_json(answer) if as_json else print_facts(answer, _FACTS)


@plan.command("set")
def plan_set(
    name: Name,
    *,
    gift: Gift = None,
    requests_per_minute: Requests = None,
    tokens_per_minute: Tokens = None,
    calls_at_once: AtOnce = None,
    premium: Premium = None,
    credit_line: CreditLine = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change what is named of a plan. It binds the next call of every account that has it."""
    answer = Place(data, config, as_json).perform(
        "plan.set",
        name=name,
        gift=gift,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        calls_at_once=calls_at_once,
        premium=premium,
        credit_line=credit_line,
    )
    return print_json(answer) if as_json else print_facts(answer, _FACTS)


@plan.command("assign")
def plan_assign(
    email: Email,
    name: Name,
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give an account a plan. It binds its next call."""
    answer = Place(data, config, as_json).perform("plan.assign", email=email, name=name)
    if as_json:
        return print_json(answer)
    return print_line(f"{email} has the plan {name}.")
