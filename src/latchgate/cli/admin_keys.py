"""``latchgate admin-key``."""

from __future__ import annotations

from typing import Annotated

import typer

from latchgate.cli.output import print_facts, print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place

admin_key = typer.Typer(help="Admin keys: what operators' programs use the admin API with.")

_FACTS = ("id", "name", "masked", "email", "scopes", "state", "expires_at")


@admin_key.command("create")
def admin_key_create(
    email: Annotated[
        str, typer.Argument(metavar="EMAIL", help="The operator that the key acts for.")
    ],
    *,
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="read, accounts, money, catalog, or all; again for more.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="A name to know it by.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="DAY", help="The last day it works, in UTC, or a moment."
        ),
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an admin key. It is shown once, here, and never again.

    It ends with its operator: once he is suspended or closes his account, it is refused.
    """
    answer = Place(data, config, as_json).perform(
        "admin-key.create", email=email, scopes=scopes, name=name, expires_at=expires
    )
    if as_json:
        return print_json(answer)
    print_line(answer["secret"])
    return print_line("Keep it now: it will not be shown again.")


@admin_key.command("list")
def admin_key_list(
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Keys older than this one.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List admin keys, without their secrets, newest first, fifty at a time."""
    answer = Place(data, config, as_json).perform("admin-key.list", before=before)
    if as_json:
        return print_json(answer)
    print_table(
        answer["admin_keys"],
        (*_FACTS, "last_used_at", "last_used_from"),
        when_empty="There are no admin keys: latchgate admin-key create EMAIL makes one.",
    )
    if answer["next"]:
        print_line(f"Older ones: latchgate admin-key list --before {answer['next']}")
    return None


@admin_key.command("revoke")
def admin_key_revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id: adm_…")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End an admin key: its next request is refused."""
    answer = Place(data, config, as_json).perform("admin-key.revoke", id=key_id)
    return print_json(answer) if as_json else print_facts(answer, _FACTS)
