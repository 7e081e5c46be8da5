"""``latchgate doctor``: everything that a server needs, checked; one sentence each.

check.py       what a check found
machine.py     Python, SQLite, memory, open files
directory.py   the data directory: rights, owner, file system, room, speed, leftovers
settings.py    the configuration, and what in it is dangerous
state.py       the running server or what the last one left: database, journal, clocks, upstreams

Nothing is changed by it, and a sentence about something wrong says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from latchgate.cli.doctor import directory, machine, settings, state
from latchgate.cli.doctor.check import FAILED, FINE, Check
from latchgate.config.reading import FILE_NAME
from latchgate.domain.errors import LatchgateError

if TYPE_CHECKING:
    from latchgate.cli.place import Place

__all__ = ["FAILED", "Check", "examine"]


def examine(place: Place) -> list[Check]:
    """Run every check that can be run."""
    checks = [*machine.examine(), *directory.examine(place.data_dir)]
    try:
        read = place.read_settings().settings
    except LatchgateError as refusal:
        return [*checks, Check("configuration", FAILED, refusal.public)]
    checks.append(Check("configuration", FINE, "every setting is valid"))
    file = place.config_file or place.data_dir / FILE_NAME
    return [*checks, *settings.examine(read, file), *state.examine(place, read)]
