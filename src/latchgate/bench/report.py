"""The figures of a run, and how they are read."""

from __future__ import annotations

import msgspec

from latchgate.bench.machine import Machine
from latchgate.bench.measurer import Row


class Report(msgspec.Struct):
    """Everything that a run has found."""

    machine: Machine
    seconds: float
    rounds: int
    connections: int
    streams: int
    rows: list[Row]
    calls: int
    errors: int
    first_error: str
    #: The share of the machine that something else used meanwhile: figures are worth less then.
    elsewhere_percent: float
    audit_agrees: bool
    audit_checked: dict[str, int]
    audit_findings: list[str]


def figure(value: float | None) -> str:
    """A number with about three digits that matter."""
    if value is None:
        return "–"
    if abs(value) >= 100:  # noqa: PLR2004 - no decimals from here on
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004


def compared(row: Row, first: str, second: str) -> str:
    """How the first subject stands to the second."""
    one, other = row.values.get(first), row.values.get(second)
    if one is None or other is None:
        return ""
    match row.compare:
        case "ratio" if other:
            return f"{one / other:.2f} ×"
        case "difference":
            return f"{one - other:+.2f} {row.unit}"
    return ""


def machine_lines(machine: Machine) -> list[str]:
    """What the figures were taken on."""
    hardware = f"{machine.cores} cores of {machine.processor}, {machine.memory_gib} GiB of memory"
    return [
        f"{hardware}, Linux {machine.kernel}",
        f"Python {machine.python}, Latchgate {machine.latchgate}",
        f"fdatasync of the data directory's disk: {machine.fdatasync_ms} ms (median)",
    ]


def verdict(report: Report) -> list[str]:
    """Whether the figures may be believed."""
    checked = ", ".join(f"{count} {what}" for what, count in report.audit_checked.items())
    books = "agree" if report.audit_agrees else "DISAGREE"
    lines = [
        f"{report.calls} calls, {report.errors} errors"
        + (f" ({report.first_error})" if report.errors else ""),
        f"The books {books}: {checked}.",
        *report.audit_findings,
    ]
    if report.elsewhere_percent >= 5:  # noqa: PLR2004 - a quiet machine stays well below
        lines.append(
            f"Something else used {report.elsewhere_percent:.0f} % of this machine meanwhile: "
            "measure again on a quiet one."
        )
    return lines
