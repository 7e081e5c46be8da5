"""``latchgate bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latchgate.cli.output import print_error, print_json, print_line, print_table
from latchgate.cli.place import Json

if TYPE_CHECKING:
    from latchgate.bench.report import Report


def bench(
    *,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            metavar="S",
            min=0.1,
            max=600,
            help="How long to take each figure; from 1 on, three times.",
        ),
    ] = 2.0,
    connections: Annotated[
        int,
        typer.Option(
            "--connections", metavar="C", min=1, max=1000, help="Connections that call at once."
        ),
    ] = 64,
    streams: Annotated[
        int,
        typer.Option(
            "--streams", metavar="N", min=1, max=5000, help="Streams that are held open at once."
        ),
    ] = 1000,
    as_json: Json = False,
) -> None:
    """Measure the gateway beside a plain proxy; exit 1 on errors, or if the books disagree.

    It takes a temporary data directory of its own; TMPDIR chooses the disk.
    """
    import msgspec  # noqa: PLC0415 (most commands need none of this)

    from latchgate.bench.processes import BenchFailed  # noqa: PLC0415
    from latchgate.bench.run import Wish, run  # noqa: PLC0415

    try:
        report = run(Wish(seconds, connections, streams), say=_say)
    except BenchFailed as failure:
        print_error(f"{failure}.")
        raise typer.Exit(1) from None
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        _print(report)
    if report.errors or not report.audit_agrees:
        raise typer.Exit(1)


def _say(what: str) -> None:
    print_error(f"{what} …")


def _print(report: Report) -> None:
    from latchgate.bench.report import compared, figure, machine_lines, verdict  # noqa: PLC0415
    from latchgate.bench.scene import GATEWAY, PLAIN  # noqa: PLC0415

    rows = [
        {
            "what": row.what,
            "gateway": figure(row.values.get(GATEWAY)),
            "plain proxy": figure(row.values.get(PLAIN)),
            "unit": row.unit,
            "compared": compared(row, GATEWAY, PLAIN),
        }
        for row in report.rows
    ]
    print_table(rows, ("what", "gateway", "plain proxy", "unit", "compared"), when_empty="")
    for line in (*machine_lines(report.machine), *verdict(report)):
        print_line(line)
