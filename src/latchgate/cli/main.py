"""The whole command line, its exit codes, and one line for every mistake.

0    done
1    refused: not there, not allowed by the present state, or the books disagree
2    the input is wrong
6    what answers on the control socket is not a server of ours
130  interrupted by Ctrl-C
141  nobody reads what we print
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import Exit, TyperException

from latchgate.cli import (
    accounts,
    admin_keys,
    backups,
    bench,
    billing,
    catalog,
    keys,
    limits,
    mails,
    plans,
    prices,
    server,
)
from latchgate.cli.output import NobodyReads, print_error
from latchgate.domain.errors import LatchgateError
from latchgate.http.control_client import NotOurServer

REFUSED, BAD_INPUT, NOT_OURS, INTERRUPTED, NOBODY_READS = 1, 2, 6, 130, 141

#: What to do next, where the error's own sentence, which apps see as well, does not say it.
HINTS = {
    "live_key_exists": "Say --replace to replace it.",
    "database_unavailable": "Check storage.url, and that PostgreSQL runs and lets us in.",
    "data_dir_in_use": "Stop the other process, or name another directory with --data.",
}


def build() -> typer.Typer:
    """Put every command in its place."""
    app = typer.Typer(
        name="latchgate",
        help="Latchgate: an API-key platform for language models that anybody can host.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.command("serve")(server.serve)
    app.command("status")(server.status)
    app.add_typer(accounts.account, name="account")
    app.add_typer(keys.key, name="key")
    app.add_typer(admin_keys.admin_key, name="admin-key")
    app.add_typer(billing.credit, name="credit")
    app.add_typer(billing.code, name="code")
    app.add_typer(billing.payment, name="payment")
    app.add_typer(billing.statement, name="statement")
    app.add_typer(limits.limit, name="limit")
    app.add_typer(mails.mail, name="mail")
    app.add_typer(plans.plan, name="plan")
    app.add_typer(accounts.invite, name="invite")
    app.add_typer(catalog.upstream, name="upstream")
    app.add_typer(catalog.model, name="model")
    app.add_typer(prices.price, name="price")
    app.command("events")(server.events)
    app.command("books")(server.books)
    app.command("audit")(server.audit)
    app.command("backup")(backups.backup)
    app.command("restore")(backups.restore)
    app.command("doctor")(server.doctor)
    app.command("bench")(bench.bench)
    app.add_typer(server.config_app, name="config")
    app.command("version")(server.version)
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; it never raises."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except (NobodyReads, BrokenPipeError):
        # What is still buffered must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    return code


def _run(argv: Sequence[str]) -> int:
    try:
        # Alone, the name asks what there is.
        returned = build()(list(argv) or ["--help"], prog_name="latchgate", standalone_mode=False)
    except Exit as ended:
        return ended.exit_code
    except TyperException as mistake:
        print_error(_usage_sentence(mistake))
        return mistake.exit_code
    except LatchgateError as refusal:
        _print_refusal(refusal)
        return BAD_INPUT if refusal.status in {400, 413, 415} else REFUSED
    except ExceptionGroup as several:
        # What ends a server may end several of its tasks; the operator needs the first reason.
        refusals, others = several.split(LatchgateError)
        if refusals is None or others is not None:
            raise
        _print_refusal(_first(refusals))
        return REFUSED
    except NotOurServer as strange:
        print_error(f"{strange}. Is another program using that socket?")
        return NOT_OURS
    except SystemExit as ended:
        # uvicorn's, when it cannot listen; it has logged why.
        print_error("The server could not start; the line above says why. See: latchgate doctor")
        return REFUSED if ended.code else 0
    except (KeyboardInterrupt, EOFError, typer.Abort):
        return INTERRUPTED
    except OSError as failure:
        print_error(f"{failure.filename or 'the system'}: {failure.strerror or failure}.")
        return REFUSED
    return returned if isinstance(returned, int) else 0


def _first(group: ExceptionGroup[LatchgateError]) -> LatchgateError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, ExceptionGroup) else found


def _usage_sentence(mistake: TyperException) -> str:
    sentence = mistake.format_message().rstrip(".").replace("Value error, ", "")
    possibilities: Sequence[str] = getattr(mistake, "possibilities", None) or ()
    if possibilities:
        sentence = f"{mistake.message}. Did you mean {' or '.join(sorted(possibilities))}?"
    elif not sentence.endswith("?"):
        context = getattr(mistake, "ctx", None)
        path = context.command_path if context else "latchgate"
        sentence = f"{sentence}. See: {path} --help"
    return sentence


def _print_refusal(refusal: LatchgateError) -> None:
    problems: Sequence[str] = getattr(refusal, "problems", ())  # a ConfigError's
    for problem in problems:
        print_error(problem)
    if problems:
        print_error("Nothing was done. docs/configuration.md has every setting.")
    else:
        print_error(f"{refusal.public} {HINTS.get(refusal.code, '')}")
