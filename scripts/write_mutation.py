"""Write docs/mutation.md from what the last ``make mutants`` has found.

Every figure is the run's. Why a mutant that no test notices does no harm stands in
``equivalent_mutants.toml`` beside this script, by what was changed to what.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "mutation.md"
REASONS = Path(__file__).with_name("equivalent_mutants.toml")
KILLED_PERCENT_MIN = 90
#: An endless loop is noticed too: by the limit of time that the run sets.
NOTICED = ("killed", "timeout")
HEAD = """# Mutation tests

`make mutants` changes the code that moves money in one place after the other, and runs the tests
each time: a change that no test notices is a test that is missing, or a change without an effect.
`scripts/write_mutation.py` has written this page from the run; {bound} of each hundred must be
noticed. The tests of a run are the quick ones, on SQLite: `tool.mutmut` in `pyproject.toml` names
them. What runs servers, kills and crowds is not among them, and would notice more. Every figure is
the run's; why a change that was not noticed does no harm is a person's word, kept in
`scripts/equivalent_mutants.toml`.
"""


@dataclass(frozen=True)
class Survivor:
    """A change that no test noticed."""

    path: str
    function: str
    was: str
    becomes: str


def _files() -> list[SourceFileMutationData]:
    found = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        if data.exit_code_by_key:
            found.append(data)
    return sorted(found, key=lambda data: str(data.path))


def _statuses(data: SourceFileMutationData) -> Counter[str]:
    return Counter(status_by_exit_code[code] for code in data.exit_code_by_key.values())


def _survivors(data: SourceFileMutationData) -> Iterator[Survivor]:
    for key, code in data.exit_code_by_key.items():
        if status_by_exit_code[code] in NOTICED:
            continue
        changed: dict[str, list[str]] = {"-": [], "+": []}
        for line in get_diff_for_mutant(key, path=data.path).splitlines():
            if line[:1] in changed and line[:3] not in ("---", "+++"):
                changed[line[:1]].append(line[1:].strip())
        name = key.rpartition(".")[2].partition("__mutmut")[0]
        function = name.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
        yield Survivor(
            str(data.path), function, " ".join(changed["-"]), " ".join(changed["+"]) or "nothing"
        )


def _reasons() -> dict[tuple[str, str, str], str]:
    rows = tomllib.loads(REASONS.read_text())["mutant"]
    return {(row["function"], row["was"], row["becomes"]): row["why"] for row in rows}


def _row(name: str, counts: Counter[str]) -> str:
    total = counts.total()
    noticed = sum(counts[status] for status in NOTICED)
    rest = total - noticed
    shown = (name, total, counts["killed"], counts["timeout"], rest)
    return f"| {' | '.join(map(str, shown))} | {100 * noticed / total:.1f} % |"


def _page(files: list[SourceFileMutationData]) -> str:
    counts = {str(data.path): _statuses(data) for data in files}
    total = sum(counts.values(), Counter[str]())
    lines = [
        HEAD.format(bound=KILLED_PERCENT_MIN),
        "| file | changes | a test fails | it never ends | not noticed | noticed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(_row(f"`{path}`", found) for path, found in counts.items()),
        _row("all", total),
        "",
        "## Not noticed",
        "",
    ]
    reasons = _reasons()
    for survivor in (found for data in files for found in _survivors(data)):
        why = reasons.get((survivor.function, survivor.was, survivor.becomes), "no reason known")
        lines += [
            f"* `{survivor.path}`, `{survivor.function}`: {why}",
            f"  - `{survivor.was}`",
            f"  - `{survivor.becomes}`",
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page. 1: the run is not whole, or too little was noticed."""
    files = _files()
    total = sum((_statuses(data) for data in files), Counter[str]())
    left = total["not checked"]
    if left or not files:
        sys.stdout.write(f"{left} changes are left to try: run make mutants again.\n")
        return 1
    PAGE.write_text(_page(files))
    noticed = 100 * sum(total[status] for status in NOTICED) / total.total()
    sys.stdout.write(f"{noticed:.1f} % of {total.total()} changes were noticed: {PAGE.name}\n")
    return int(noticed < KILLED_PERCENT_MIN)


if __name__ == "__main__":
    sys.exit(main())
