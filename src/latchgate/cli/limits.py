"""``latchgate limit``: what an account may spend in a day, a week, a month."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from latchgate.cli.accounts import Email
from latchgate.cli.output import print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place

limit = typer.Typer(help="Limits: what an account may spend in a day, a week, a month.")


class What(StrEnum):
    """What a limit binds."""

    ACCOUNT = "account"
    KEY = "key"


class Period(StrEnum):
    """How long a limit's window is."""

    NONE = "none"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Switch(StrEnum):
    """Two words for a switch."""

    ON = "on"
    OFF = "off"


WhatArgument = Annotated[What, typer.Argument(metavar="account|key", help="What it binds.")]
PeriodArgument = Annotated[
    Period, typer.Argument(metavar="day|week|month|none", help="For how long; none is for keys.")
]


@limit.command("set")
def limit_set(
    email: Email,
    what: WhatArgument,
    period: PeriodArgument,
    amount: Annotated[str, typer.Argument(metavar="USD", help="Decimal US dollars: 5.00")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Set, raise or lower a limit. It binds the next call."""
    place = Place(data, config, as_json)
    args = {"what": what.value, "period": period.value, "amount": amount}
    _print(place.perform("limit.set", email=email, **args), as_json=as_json)


@limit.command("remove")
def limit_remove(
    email: Email,
    what: WhatArgument,
    period: PeriodArgument,
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take a limit away."""
    place = Place(data, config, as_json)
    args = {"what": what.value, "period": period.value}
    _print(place.perform("limit.remove", email=email, **args), as_json=as_json)


@limit.command("list")
def limit_list(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """List what binds an account, its credit among it, and what is left of each."""
    _print(Place(data, config, as_json).perform("limit.list", email=email), as_json=as_json)


@limit.command("premium")
def limit_premium(
    email: Email,
    what: WhatArgument,
    switch: Annotated[Switch, typer.Argument(metavar="on|off", help="Allow them, or not.")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let an account, or its key, call models of the premium tier, or not. A call needs both."""
    place = Place(data, config, as_json)
    is_on = switch is Switch.ON
    answer = place.perform("limit.premium", email=email, what=what.value, on=is_on)
    if as_json:
        return print_json(answer)
    return print_line(_premium_sentence(answer))


@limit.command("time-zone")
def limit_time_zone(
    email: Email,
    time_zone: Annotated[str, typer.Argument(metavar="ZONE", help="Such as Europe/Berlin.")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Choose at whose midnight an account's limits begin anew."""
    place = Place(data, config, as_json)
    answer = place.perform("limit.time-zone", email=email, time_zone=time_zone)
    _print(answer, as_json=as_json)


@limit.command("rate")
def limit_rate(
    email: Email,
    *,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", metavar="N", help="0 is without limit.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option("--tokens-per-minute", metavar="N", help="0 is without limit.")
    ] = None,
    calls_at_once: Annotated[
        int | None, typer.Option("--calls-at-once", metavar="N", help="Calls that may run at once.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say how much an account may do at once and in a minute; what is not said is as configured."""
    answer = Place(data, config, as_json).perform(
        "limit.rate",
        email=email,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        calls_at_once=calls_at_once,
    )
    if as_json:
        return print_json(answer)
    return print_line(f"The rates of {email} are set.")


def _print(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(answer)
    columns = ("what", "period", "limit_usd", "spent_usd", "held_usd", "left_usd", "resets_at")
    print_table(answer["limits"], columns, when_empty="There are no limits.")
    print_line(f"Can be spent now: ${answer['available_usd']}")
    return print_line(_premium_sentence(answer))


def _premium_sentence(answer: dict[str, Any]) -> str:
    words = (
        f"{'on' if is_on else 'off'} for the {what}" for what, is_on in answer["premium"].items()
    )
    return f"Premium models: {', '.join(words)}"
