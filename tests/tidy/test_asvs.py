"""The table of OWASP ASVS 5.0 has every requirement of levels 1 and 2, and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = re.findall(
    r"^\| ([\d.]+)(?:–([\d.]+))? \| ([^|]+) \| ([^|]+) \|$",
    (ROOT / "docs" / "asvs.md").read_text(),
    re.MULTILINE,
)
#: How many requirements of the levels 1 and 2 each section has: they are its first ones.
SECTIONS = {
    "1": (2, 9, 11, 3, 2),
    "2": (3, 3, 4, 1),
    "3": (0, 2, 4, 6, 5, 0, 2),
    "4": (3, 1, 2, 4),
    "5": (1, 3, 2, 3),
    "6": (3, 12, 4, 4, 5, 3, 0, 4),
    "7": (3, 4, 2, 5, 2, 2),
    "8": (2, 3, 1, 1),
    "9": (3, 4),
    "10": (2, 2, 4, 11, 5, 2, 3),
    "11": (2, 3, 3, 4, 1, 1),
    "12": (3, 2, 4),
    "13": (1, 5, 2, 5),
    "14": (2, 4, 3),
    "15": (3, 3, 7),
    "16": (1, 5, 4, 3, 3),
    "17": (1, 4, 2),
}
ALL = [
    f"{chapter}.{section}.{number}"
    for chapter, sizes in SECTIONS.items()
    for section, size in enumerate(sizes, 1)
    for number in range(1, size + 1)
]
#: Met by something's not being there, which no test can look for.
BY_ABSENCE = {"6.2.10", "6.4.2"}


def test_every_requirement_is_in_the_table_once_and_in_order() -> None:
    assert len(ALL) == 253
    listed: list[str] = []
    for first, last, _, _ in TABLE:
        listed += ALL[ALL.index(first) : ALL.index(last or first) + 1]
    assert listed == ALL


def test_every_requirement_that_is_met_names_a_test_that_is_there() -> None:
    for number, _, state, by in TABLE:
        assert state in {"met", "in part", "not met", "does not apply"}, number
        named = re.findall(r"`(\S+\.py)::(test_\w+)`", by)
        for path, name in named:
            assert f"def {name}(" in (ROOT / "tests" / path).read_text(), (number, name)
        assert named or number in BY_ABSENCE or not state.startswith(("met", "in")), number
        assert len(re.findall(r"\btest_\w+`", by)) == len(named), number


def test_what_is_not_met_says_why() -> None:
    for number, _, state, by in TABLE:
        if state != "met":
            assert len(by.split("`")[0]) >= 5, number
