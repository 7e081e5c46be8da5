"""``latchgate key``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from latchgate.cli.accounts import Email
from latchgate.cli.output import print_facts, print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place

key = typer.Typer(help="API keys: make, list and revoke them, and change their terms.")


class Scope(StrEnum):
    """What a key is for."""

    ALL = "all"
    INFERENCE = "inference"
    READ_ONLY = "read_only"


KeyID = Annotated[str, typer.Argument(metavar="ID", help="The key's id: key_…")]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="DAY", help="The last day it works, in UTC, or a moment; '' for none."
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="NAME", help="A model it may call; again for more."),
]
ScopeOption = Annotated[
    Scope | None,
    typer.Option(
        "--scope", help="all; inference: calls, no reports; read_only: reports, no calls."
    ),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address", metavar="IP", help="An address or network to call from; again for more."
    ),
]
#: What of an answer says a key's terms.
TERMS = ("expires_at", "scope", "models", "addresses")


def _terms(
    expires: str | None, models: list[str] | None, scope: Scope | None, addresses: list[str] | None
) -> dict[str, object]:
    """The terms that are named, as the verb takes them."""
    return {
        "expires_at": expires,
        "models": models or None,
        "scope": scope and scope.value,
        "addresses": addresses or None,
    }


@key.command("create")
def key_create(
    email: Email,
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="A name to know it by.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace the live key, which dies at the new one's use."),
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="With --replace: the replaced key dies at once.")
    ] = False,
    expires: Expires = None,
    models: Models = None,
    scope: ScopeOption = None,
    addresses: Addresses = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a secret key. It is shown once, here, and never again.

    Without terms, a replacement has those of the key that it replaces, but for its expiry.
    """
    if now and not replace:
        raise typer.BadParameter("--now goes with --replace.")
    place = Place(data, config, as_json)
    answer = place.perform(
        "key.create",
        email=email,
        name=name,
        replace=replace,
        now=now,
        **_terms(expires, models, scope, addresses),
    )
    if as_json:
        return print_json(answer)
    print_line(answer["secret"])
    print_line("Keep it now: it will not be shown again.")
    if answer["replaces"] and answer["state"] == "pending":
        print_line("The key before it works until this one is first used.")
    return None


@key.command("list")
def key_list(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """List an account's keys, without their secrets."""
    answer = Place(data, config, as_json).perform("key.list", email=email)
    if as_json:
        return print_json(answer)
    return print_table(
        answer["keys"],
        (
            "id",
            "name",
            "masked",
            "state",
            "expires_at",
            "scope",
            "models",
            "addresses",
            "last_used_at",
            "calls",
            "spent_usd",
        ),
        when_empty=f"{email} has no keys yet: latchgate key create {email} makes one.",
    )


@key.command("terms")
def key_terms(
    key_id: KeyID,
    *,
    expires: Expires = None,
    models: Models = None,
    scope: ScopeOption = None,
    addresses: Addresses = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change a key's terms, or show them. They bind its next call.

    What is not named stays as it is; an empty text takes a term away: --model "".
    """
    place = Place(data, config, as_json)
    terms = _terms(expires, models, scope, addresses)
    answer = place.perform("key.terms", id=key_id, **terms)
    if as_json:
        return print_json(answer)
    return print_facts(answer, ("id", "name", "masked", "state", *TERMS))


@key.command("revoke")
def key_revoke(
    key_id: KeyID,
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End a key: its next call is refused, and what it streams is cut."""
    answer = Place(data, config, as_json).perform("key.revoke", id=key_id)
    if as_json:
        return print_json(answer)
    return print_line(f"{key_id} is revoked.")
