"""Write docs/conformance.md from what ``make conformance`` has seen, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEEN = ROOT / "build" / "conformance" / "seen.json"
PAGE = ROOT / "docs" / "conformance.md"
#: The tables: each with its columns, in the order in which a reader would ask.
TABLES = {
    "Answers": {
        "models": "It lists the models.",
        "answers": "Whole answers and streams from the scripted model server arrive, and each is "
        "charged exactly what its tokens cost, to the nano-dollar: those that the client counts, "
        "where it shows them.",
        "embedded": "The same with the embedded model.",
        "tools": "Tools are called, whole and in a stream, and their results answered.",
        "images": "An image is seen.",
        "schema": "An answer has the JSON schema that was asked for.",
        "reasoning": "What a model thought is shown, and paid for.",
        "embeddings": "Embeddings of both kinds of model, charged exactly.",
        "count": "Tokens are counted, free of charge.",
        "its own tests": "The tests that the client's makers have for such servers pass.",
    },
    "Refusals": {
        "wrong key": "A key that is none raises the client's own error, and is not tried again.",
        "no credit": "So does a call that the credit cannot carry; whoever heeds `x-should-retry` "
        "does not try it again.",
        "limit": "So does one that a limit of the account cannot carry.",
        "rate limit": "So does one that comes too fast, and the client is told how long to "
        "wait, or waits so long by itself.",
        "unknown model": "So does a model that is not there.",
        "upstream's errors": "So does each failure of a model server, also in mid-stream; none "
        "shows the server's own text.",
        "retries": "A model server that fails twice and then answers is charged for once.",
        "hang-up": "A client that leaves in mid-stream pays for what had arrived.",
    },
}
INTRODUCTION = """\
# Conformance

What people's own clients do with a Latchgate: unmodified, in their own environments, against a real
server, with the embedded models and with a scripted model server behind it. `make conformance` runs
it and then writes this page; nothing stands here that the run did not see.

A number is of tests, and all of them held; **no** says that one did not; empty: the client does not
do it, or not in this mode. The tests are in `tests/conformance/`.
"""


def page(seen: dict[str, Any]) -> str:
    """The whole page."""
    outcomes: dict[tuple[str, str], list[str]] = {}
    for result in seen["results"]:
        outcomes.setdefault((result["client"], result["column"]), []).append(result["outcome"])
    lines = [INTRODUCTION, "## Clients", ""]
    lines += ["| client | version | mode | endpoint |", "| --- | --- | --- | --- |"]
    rows = [row for row in seen["clients"] if any(key[0] == row["id"] for key in outcomes)]
    for row in rows:
        version = f"{row['package']} {row['version']}".strip()
        lines.append(f"| {row['name']} | {version} | {row['mode']} | {row['endpoint']} |")
    for title, columns in TABLES.items():
        lines += ["", f"## {title}", "", f"| client | mode | {' | '.join(columns)} |"]
        lines.append(f"|{' --- |' * (len(columns) + 2)}")
        for row in rows:
            cells = [_cell(outcomes.get((row["id"], column), [])) for column in columns]
            lines.append(f"| {row['name']} | {row['mode']} | {' | '.join(cells)} |")
        lines.append("")
        lines += [f"* **{column}**: {meaning}" for column, meaning in columns.items()]
    return "\n".join(lines) + "\n"


def _cell(outcomes: list[str]) -> str:
    """How many tests held, or that one did not."""
    if not outcomes:
        return ""
    return str(len(outcomes)) if set(outcomes) == {"passed"} else "**no**"


if __name__ == "__main__":
    if not SEEN.exists():
        sys.exit("Nothing was seen yet: make conformance")
    PAGE.write_text(page(json.loads(SEEN.read_text())))
