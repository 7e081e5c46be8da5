"""The machine: what runs us, and what it lets us have."""

from __future__ import annotations

import resource
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from latchgate.cli.doctor.check import FAILED, FINE, WARNING, Check

PYTHON_MIN = (3, 11)
#: STRICT tables came with it.
SQLITE_MIN = (3, 37, 0)
#: What both embedded models need, and what a server without them does.
MEMORY_BYTES_MIN = 512 * 1024 * 1024
#: A call has two sockets.
FILES_MIN = 4096
_MEMORY = Path("/proc/meminfo")


def examine() -> Iterator[Check]:
    """Python, SQLite, memory."""
    yield _python()
    yield _sqlite()
    yield _memory()


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON_MIN:
        return Check("Python", FAILED, f"{found}; install 3.11 or newer, then make clean setup")
    return Check("Python", FINE, found)


def _sqlite() -> Check:
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        says = f"{found}; 3.37 or newer is needed: take a Python that is built with it"
        return Check("SQLite", FAILED, says)
    return Check("SQLite", FINE, found)


def _memory() -> Check:
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return Check("memory", FINE, "the system does not say how much is free")
    says = f"{free / 2**30:.1f} GiB available"
    if free < MEMORY_BYTES_MIN:
        says += "; the embedded models may be killed: end something, or run --no-embedded-model"
        return Check("memory", WARNING, says)
    return Check("memory", FINE, says)


def files(pid: int | None) -> Check:
    """How many files and sockets the server may open; ``pid`` None: one that we would start."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE) if pid is None else _limits_of(pid)
    if 0 <= soft < FILES_MIN:
        says = (
            f"at most {soft}, and each call has two: set LimitNOFILE=65536 in its systemd unit, or"
            " ulimit -n 65536 before it starts"
        )
        return Check("open files", WARNING, says)
    return Check("open files", FINE, "without limit" if soft < 0 else f"at most {soft}")


def _limits_of(pid: int) -> tuple[int, int]:
    try:
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except (PermissionError, ProcessLookupError):
        return (-1, -1)
