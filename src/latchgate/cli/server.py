"""``latchgate serve``, ``status``, ``audit``, ``doctor``, ``config show`` and ``version``."""

from __future__ import annotations

import asyncio
import platform
from typing import TYPE_CHECKING, Annotated

import typer

from latchgate import __version__
from latchgate.cli.output import print_events, print_facts, print_json, print_line, print_table
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place
from latchgate.domain.errors import InvalidRequest

if TYPE_CHECKING:
    from latchgate.config import Settings

config_app = typer.Typer(help="The configuration.")

_BOOKS = (
    "revenue_usd",
    "charged_usd",
    "given_usd",
    "outstanding_usd",
    "owed_usd",
    "overrun_usd",
    "loss_usd",
    "accounts",
)


def serve(
    *,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="The port to listen on.")
    ] = None,
    no_embedded_model: Annotated[
        bool, typer.Option("--no-embedded-model", help="Do not run the embedded models.")
    ] = False,
    insecure_http: Annotated[
        bool,
        typer.Option("--insecure-http", help="Listen beyond this machine even without TLS."),
    ] = False,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run the server, until it is told to stop."""
    overrides: dict[str, object] = {
        "server.host": host,
        "server.port": port,
        "server.insecure_http": insecure_http or None,
        "embedded.enabled": False if no_embedded_model else None,
        "log.format": "json" if as_json else None,
    }
    settings = Place(data, config, as_json).read_settings(overrides).settings
    refuse_exposure(settings)
    _run_server(settings)


def refuse_exposure(settings: Settings) -> None:
    """Raise InvalidRequest when keys and passwords would cross a network in the clear."""
    server = settings.server
    if server.is_loopback or server.tls_certificate or server.insecure_http:
        return
    raise InvalidRequest(
        f"Refused: {server.host} is reachable from other machines, and without TLS anybody on the"
        " way can read keys and passwords. Set server.tls_certificate and server.tls_key, listen"
        " on 127.0.0.1 behind a proxy with TLS, or say --insecure-http.",
        code="insecure_http",
        param="host",
    )


def _run_server(settings: Settings) -> None:
    import uvloop  # noqa: PLC0415 (only a server needs it)

    from latchgate.observe import logs  # noqa: PLC0415
    from latchgate.server import serve as run  # noqa: PLC0415

    def say(url: str) -> None:
        print_line(f"Latchgate is ready: open {url} (Ctrl+C ends it)")

    logs.configure(settings.log.level, settings.log.format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, on_ready=say))


def status(*, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False) -> None:
    """Say whether a server runs on this data directory."""
    from latchgate.http.control_client import NobodyListens, ask  # noqa: PLC0415

    try:
        answer = {"running": True, **ask(Place(data, config, as_json).socket, "status", {})}
    except NobodyListens:
        answer = {"running": False, "data_dir": str(data)}
    if as_json:
        print_json(answer)
    elif answer["running"]:
        print_facts(answer, ("running", "url", "pid", "version", "data_dir"))
    else:
        print_line(f"No server runs on {data}: latchgate serve starts one.")


def events(
    *,
    before: Annotated[
        str | None, typer.Option("--before", metavar="ID", help="What is older than this one.")
    ] = None,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List what was done with upstreams, models, codes and invitations, and by whom."""
    answer = Place(data, config, as_json).perform("events", before=before)
    if as_json:
        return print_json(answer)
    print_events(answer["events"])
    if answer["next"]:
        print_line(f"Older ones: latchgate events --before {answer['next']}")
    return None


def books(*, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False) -> None:
    """Show what the platform has earned, owes and bears, and what its postings add up to."""
    answer = Place(data, config, as_json).perform("books")
    if as_json:
        return print_json(answer)
    print_facts(answer, _BOOKS)
    return print_table(
        answer["postings"], ("kind", "count", "sum_usd"), when_empty="There are no postings yet."
    )


def audit(*, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False) -> None:
    """Derive every balance again from its rows; exit 1 if anything disagrees."""
    answer = Place(data, config, as_json).perform("audit")
    if as_json:
        print_json(answer)
    else:
        for finding in answer["findings"]:
            print_line(finding)
        checked = ", ".join(f"{count} {what}" for what, count in answer["checked"].items())
        verdict = "Everything agrees" if answer["agrees"] else "The books disagree"
        print_line(f"{verdict}: {checked or 'nothing to check'}.")
    if not answer["agrees"]:
        raise typer.Exit(1)


def doctor(*, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False) -> None:
    """Check everything that a server needs; exit 1 if something is wrong."""
    from latchgate.cli.doctor import FAILED, examine  # noqa: PLC0415

    checks = examine(Place(data, config, as_json))
    is_well = all(check.outcome != FAILED for check in checks)
    if as_json:
        rows = [
            {"check": check.name, "outcome": check.outcome, "says": check.says} for check in checks
        ]
        print_json({"well": is_well, "checks": rows})
    else:
        for check in checks:
            print_line(f"{check.outcome:<7} {check.name}: {check.says}")
    if not is_well:
        raise typer.Exit(1)


@config_app.command("show")
def config_show(*, data: Data = DATA_DEFAULT, config: Config = None, as_json: Json = False) -> None:
    """Show every setting with its value and where it came from."""
    from latchgate.config.document import shown  # noqa: PLC0415

    rows = shown(Place(data, config, as_json).read_settings())
    if as_json:
        print_json({"data_dir": str(data), "settings": rows})
    else:
        print_table(rows, ("setting", "value", "unit", "source"), when_empty="")


def version(*, as_json: Json = False) -> None:
    """Say which version this is."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        print_line(f"latchgate {__version__}")
