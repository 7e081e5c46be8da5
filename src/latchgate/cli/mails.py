"""``latchgate mail``: which mails an account's owner gets."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from latchgate.cli.accounts import Email
from latchgate.cli.limits import Switch
from latchgate.cli.output import print_facts, print_json
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place

mail = typer.Typer(help="Mails: which of them an account's owner gets; security notices always go.")

_FACTS = ("email", "new_app", "new_address", "limits", "credit")


class Mail(StrEnum):
    """A kind of mail that can be switched off."""

    NEW_APP = "new_app"
    NEW_ADDRESS = "new_address"
    LIMITS = "limits"
    CREDIT = "credit"


@mail.command("list")
def mail_list(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Show which mails an account's owner gets."""
    answer = Place(data, config, as_json).perform("mail.list", email=email)
    return print_json(answer) if as_json else print_facts(answer, _FACTS)


@mail.command("switch")
def mail_switch(
    email: Email,
    what: Annotated[
        Mail, typer.Argument(metavar="new_app|new_address|limits|credit", help="Which mail.")
    ],
    to: Annotated[Switch, typer.Argument(metavar="on|off", help="Whether it is sent.")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Switch a mail on or off: of an app or an address that is new, of limits, or of credit."""
    answer = Place(data, config, as_json).perform(
        "mail.switch", email=email, what=what.value, on=to is Switch.ON
    )
    return print_json(answer) if as_json else print_facts(answer, _FACTS)
