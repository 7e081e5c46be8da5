"""What a command prints: tables for people, JSON for programs."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Columns of a table when nobody's terminal says how many there are.
WIDTH_PIPED = 160


class NobodyReads(Exception):
    """The reader of our output has gone, as ``head`` does when it has enough."""


def print_json(answer: object) -> None:
    """One JSON document."""
    print_line(json.dumps(answer, indent=2, ensure_ascii=False))


def print_line(text: str) -> None:
    """One line, as it is. Raises NobodyReads when whoever read us has gone."""
    try:
        sys.stdout.write(text + "\n")
    except BrokenPipeError:
        raise NobodyReads from None


def print_error(text: str) -> None:
    """One line on stderr, in the program's name."""
    sys.stderr.write(f"latchgate: {' '.join(text.split())}\n")


def print_facts(answer: Mapping[str, Any], names: Iterable[str]) -> None:
    """Name and value, one a line."""
    from rich.table import Table  # noqa: PLC0415 (tables are for people, and JSON is not)

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name in names:
        grid.add_row(_title(name), _cell(answer.get(name)))
    _print(grid)


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, when_empty: str
) -> None:
    """A table of the rows, or the sentence for when there are none."""
    if not rows:
        print_line(when_empty)
        return
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        is_number = name.endswith(("_usd", "_price")) or all(
            type(row.get(name)) is int for row in rows
        )
        table.add_column(
            _title(name),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=name == columns[0],  # it is what people copy
        )
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    _print(table)


def print_events(rows: Sequence[Mapping[str, Any]]) -> None:
    """Lines of the audit log."""
    columns = ("id", "at", "actor", "action", "target", "address")
    print_table(rows, columns, when_empty="Nothing was done yet.")


def _print(renderable: object) -> None:
    from rich.console import Console  # noqa: PLC0415

    is_terminal = sys.stdout.isatty()
    # Rendered first and written by us: Rich ends the process when nobody reads it.
    console = Console(
        file=io.StringIO(),
        force_terminal=is_terminal,
        markup=False,
        highlight=False,
        emoji=False,
        width=shutil.get_terminal_size().columns if is_terminal else WIDTH_PIPED,
    )
    with console.capture() as rendered:
        console.print(renderable)
    for line in rendered.get().splitlines():
        print_line(line.rstrip())


def _title(name: str) -> str:
    words = name.removesuffix("_at").replace("_usd", " (USD)").replace("_", " ")
    return words[:1].upper() + words[1:]


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value)) or "-"
        case _:
            return str(value)
