"""``latchgate credit``, ``code``, ``payment`` and ``statement``."""

from __future__ import annotations

from typing import Annotated

import typer

from latchgate.cli.accounts import Email
from latchgate.cli.output import print_facts, print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place
from latchgate.domain.redemption_codes import csv_of_codes

Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the account's owner reads it.")
]
Once = Annotated[
    str | None,
    typer.Option(
        "--once", metavar="NAME", help="Your own name for this: said again, it is done once."
    ),
]

credit = typer.Typer(help="Credit: give it, put it right, and see what became of it.")
code = typer.Typer(help="Redemption codes: make them in batches, and withdraw them.")
payment = typer.Typer(help="Payments by Stripe: what became of them.")
statement = typer.Typer(help="Monthly statements: close what has ended, and look at them.")

_BALANCES = ("email", "credit_usd", "spent_usd", "held_usd", "available_usd")
_PAYMENT = ("id", "created_at", "amount_usd", "state", "session_id")
_TOP_UP = (
    "email",
    "state",
    "threshold_usd",
    "amount_usd",
    "month_max_usd",
    "paid_this_month_usd",
)
_BATCH = (
    "id",
    "created_at",
    "amount_usd",
    "codes",
    "redeemed",
    "expires_at",
    "withdrawn_at",
    "note",
)


@credit.command("add")
def credit_add(
    email: Email,
    amount: Annotated[str, typer.Argument(metavar="USD", help="Decimal US dollars: 5.00")],
    *,
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="Shown beside the posting.")
    ] = None,
    once: Once = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give an account credit."""
    place = Place(data, config, as_json)
    answer = place.perform("credit.add", email=email, amount=amount, note=note, once=once)
    if as_json:
        return print_json(answer)
    return print_facts(answer, _BALANCES)


@credit.command("refund")
def credit_refund(
    email: Email,
    amount: Annotated[str, typer.Argument(metavar="USD", help="Decimal US dollars: 5.00")],
    *,
    reason: Reason,
    once: Once = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give back what was charged. The charge stays on the books; the refund is a new posting."""
    place = Place(data, config, as_json)
    answer = place.perform("credit.refund", email=email, amount=amount, reason=reason, once=once)
    return print_json(answer) if as_json else print_facts(answer, _BALANCES)


@credit.command("correct")
def credit_correct(
    email: Email,
    *,
    reason: Reason,
    add: Annotated[
        str | None, typer.Option("--add", metavar="USD", help="How much more the account gets.")
    ] = None,
    take: Annotated[
        str | None, typer.Option("--take", metavar="USD", help="How much is taken from it.")
    ] = None,
    once: Once = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a wrong posting right by a new one. What is taken may leave the account below zero."""
    place = Place(data, config, as_json)
    answer = place.perform(
        "credit.correct", email=email, add=add, take=take, reason=reason, once=once
    )
    return print_json(answer) if as_json else print_facts(answer, _BALANCES)


@credit.command("line")
def credit_line(
    email: Email,
    amount: Annotated[str, typer.Argument(metavar="USD", help="Decimal US dollars; 0 for none")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let an account that pays afterwards go so far below zero."""
    answer = Place(data, config, as_json).perform("credit.line", email=email, amount=amount)
    if as_json:
        return print_json(answer)
    return print_facts(answer, ("email", "credit_usd", "credit_line_usd", "available_usd"))


@credit.command("history")
def credit_history(
    email: Email,
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Postings older than this one.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List an account's postings, newest first, fifty at a time."""
    answer = Place(data, config, as_json).perform("credit.history", email=email, before=before)
    if as_json:
        return print_json(answer)
    print_table(
        answer["postings"],
        ("id", "created_at", "kind", "amount_usd", "note", "actor"),
        when_empty="There are no postings.",
    )
    if answer["next"]:
        print_line(f"Older ones: latchgate credit history {email} --before {answer['next']}")
    return None


@code.command("create")
def code_create(
    amount: Annotated[str, typer.Argument(metavar="USD", help="What each code gives: 5.00")],
    *,
    number: Annotated[
        int, typer.Option("--number", metavar="N", help="How many codes, at most 10000.")
    ] = 1,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="DAY", help="The last day (UTC), such as 2030-12-31."),
    ] = None,
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="Shown beside the posting.")
    ] = None,
    once: Once = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a batch of codes, and print them as CSV. They are shown once, here, and never again."""
    answer = Place(data, config, as_json).perform(
        "code.create", amount=amount, number=number, expires=expires, note=note, once=once
    )
    if as_json:
        return print_json(answer)
    written = csv_of_codes(
        answer["secrets"],
        amount_usd=answer["amount_usd"],
        expires_at=answer["expires_at"],
        batch_id=answer["id"],
    )
    return _print_lines(written)


@code.command("list")
def code_list(
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Batches older than this one.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the batches, newest first, fifty at a time; codes themselves are kept nowhere."""
    answer = Place(data, config, as_json).perform("code.list", before=before)
    if as_json:
        return print_json(answer)
    print_table(answer["batches"], _BATCH, when_empty="There are no codes yet: code create.")
    if answer["next"]:
        print_line(f"Older ones: latchgate code list --before {answer['next']}")
    return None


@code.command("withdraw")
def code_withdraw(
    batch_id: Annotated[str, typer.Argument(metavar="ID", help="The batch's id: cbt_…")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let the codes of a batch that are not redeemed yet be worth nothing."""
    answer = Place(data, config, as_json).perform("code.withdraw", id=batch_id)
    return print_json(answer) if as_json else print_facts(answer, _BATCH)


@payment.command("list")
def payment_list(
    email: Email,
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Payments older than this one.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List an account's payments, newest first, fifty at a time."""
    answer = Place(data, config, as_json).perform("payment.list", email=email, before=before)
    if as_json:
        return print_json(answer)
    print_table(answer["payments"], _PAYMENT, when_empty="This account has not paid anything.")
    if answer["next"]:
        print_line(f"Older ones: latchgate payment list {email} --before {answer['next']}")
    return None


@payment.command("held")
def payment_held(
    *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """List payments that are held for review: what was paid is not what was asked for."""
    answer = Place(data, config, as_json).perform("payment.held")
    if as_json:
        return print_json(answer)
    return print_table(
        answer["payments"], ("id", "account_id", *_PAYMENT[1:]), when_empty="None is held."
    )


@payment.command("auto")
def payment_auto(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Show on what terms an account's credit is paid for by itself."""
    answer = Place(data, config, as_json).perform("payment.auto", email=email)
    return print_json(answer) if as_json else print_facts(answer, _TOP_UP)


@payment.command("auto-off")
def payment_auto_off(
    email: Email, *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Let nothing be paid by itself for an account any more; its owner can confirm a card anew."""
    answer = Place(data, config, as_json).perform("payment.auto-off", email=email)
    return print_json(answer) if as_json else print_facts(answer, _TOP_UP)


@statement.command("list")
def statement_list(
    email: Email,
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="Statements older than this one.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List an account's closed months, newest first, fifty at a time."""
    answer = Place(data, config, as_json).perform("statement.list", email=email, before=before)
    if as_json:
        return print_json(answer)
    print_table(
        answer["statements"],
        ("id", "number", "month", "opening_usd", "closing_usd", "closed_at"),
        when_empty="No month of this account is closed yet.",
    )
    if answer["next"]:
        print_line(f"Older ones: latchgate statement list {email} --before {answer['next']}")
    return None


@statement.command("show")
def statement_show(
    email: Email,
    statement_id: Annotated[str, typer.Argument(metavar="ID", help="The statement's id: stm_…")],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print a statement's lines as CSV, between its opening and its closing balance."""
    answer = Place(data, config, as_json).perform("statement.show", email=email, id=statement_id)
    if as_json:
        return print_json(answer)
    return _print_lines(answer["csv"])


@statement.command("close")
def statement_close(
    *, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False
) -> None:
    """Close every month that has ended. A server that runs does so by itself."""
    answer = Place(data, config, as_json).perform("statement.close")
    if as_json:
        return print_json(answer)
    return print_line(f"Statements closed: {answer['closed']}")


def _print_lines(text: str) -> None:
    for line in text.splitlines():
        print_line(line)
