"""``latchgate account`` and ``invite``."""

from __future__ import annotations

from typing import Annotated

import typer

from latchgate.cli.output import print_events, print_facts, print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place, read_secret

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The account's e-mail address.")]
Before = Annotated[
    str | None, typer.Option("--before", metavar="ID", help="What is older than this one.")
]

account = typer.Typer(help="Accounts: make, look at, suspend and resume them.")
invite = typer.Typer(help="Invitations, for when sign-up is by invitation.")

_ACCOUNT_FACTS = (
    "email",
    "account_id",
    "state",
    "is_operator",
    "is_premium_on",
    "created_at",
    "credit_usd",
    "spent_usd",
    "held_usd",
    "available_usd",
)


@account.command("create")
def account_create(
    email: Email,
    *,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    operator: Annotated[
        bool, typer.Option("--operator", help="Let the user run this installation.")
    ] = False,
    credit_usd: Annotated[
        str | None,
        typer.Option("--credit", metavar="USD", help="Credit in place of the sign-up gift."),
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="NAME", help="Its plan; else the default one.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an account and its user."""
    place = Place(data, config, as_json)
    password = read_secret("password", from_stdin=password_stdin)
    answer = place.perform(
        "account.create",
        email=email,
        password=password,
        operator=operator,
        credit=credit_usd,
        plan=plan,
    )
    if as_json:
        return print_json(answer)
    return print_facts(answer, _ACCOUNT_FACTS)


@account.command("show")
def account_show(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Show an account and its money."""
    answer = Place(data, config, as_json).perform("account.show", email=email)
    if as_json:
        return print_json(answer)
    return print_facts(answer, (*_ACCOUNT_FACTS, "plan"))


@account.command("list")
def account_list(
    *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """List all accounts."""
    answer = Place(data, config, as_json).perform("account.list")
    if as_json:
        return print_json(answer)
    return print_table(
        answer["accounts"],
        ("email", "account_id", "state", "is_operator", "created_at"),
        when_empty="There are no accounts yet: latchgate account create EMAIL makes one.",
    )


@account.command("find")
def account_find(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="[TEXT]", help="A part of an e-mail address, or an id; else every account."
        ),
    ] = "",
    *,
    before: Before = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find accounts with what they have and use, newest first, fifty at a time."""
    answer = Place(data, config, as_json).perform("account.find", q=asked, before=before)
    if as_json:
        return print_json(answer)
    print_table(
        answer["accounts"],
        (
            "email",
            "account_id",
            "state",
            "credit_left_usd",
            "spent_this_month_usd",
            "last_used_at",
            "created_at",
        ),
        when_empty="There is no such account.",
    )
    if answer["next"]:
        print_line(f"Older ones: latchgate account find {asked} --before {answer['next']}")
    return None


@account.command("events")
def account_events(
    email: Email,
    *,
    before: Before = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List what was done with an account, and by whom, newest first, fifty at a time."""
    answer = Place(data, config, as_json).perform("account.events", email=email, before=before)
    if as_json:
        return print_json(answer)
    print_events(answer["events"])
    if answer["next"]:
        print_line(f"Older ones: latchgate account events {email} --before {answer['next']}")
    return None


@account.command("suspend")
def account_suspend(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Refuse every call of an account from now on."""
    answer = Place(data, config, as_json).perform("account.suspend", email=email)
    if as_json:
        return print_json(answer)
    return print_line(f"{email} is suspended: its keys are refused.")


@account.command("resume")
def account_resume(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Take an account's calls again."""
    answer = Place(data, config, as_json).perform("account.resume", email=email)
    if as_json:
        return print_json(answer)
    return print_line(f"{email} is active again.")


@account.command("log-out")
def account_log_out(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """End all sessions of an account's user."""
    answer = Place(data, config, as_json).perform("account.log-out", email=email)
    if as_json:
        return print_json(answer)
    return print_line(f"{email} is logged out on all devices.")


@account.command("reset-factors")
def account_reset_factors(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Take second factor and passkeys away from a user who has lost them.

    Make sure first that it is he who asks. He is told by mail, and all his sessions end.
    """
    answer = Place(data, config, as_json).perform("account.reset-factors", email=email)
    if as_json:
        return print_json(answer)
    return print_line(f"{email} logs in with the password alone again, and was told by mail.")


@invite.command("create")
def invite_create(
    email: Annotated[
        str | None,
        typer.Argument(metavar="[EMAIL]", help="The only address that may use it; else anybody."),
    ] = None,
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an invitation to sign up. Its address is shown once."""
    answer = Place(data, config, as_json).perform("invite.create", email=email)
    if as_json:
        return print_json(answer)
    print_line(answer["url"])
    return print_line(f"It works once, until {answer['expires_at']}.")
