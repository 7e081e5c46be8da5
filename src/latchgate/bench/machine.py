"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import msgspec

from latchgate import __version__

SYNCS = 200


class Machine(msgspec.Struct):
    """A machine, and how long its disk takes to make a write durable."""

    cores: int
    processor: str
    memory_gib: float
    kernel: str
    python: str
    latchgate: str
    fdatasync_ms: float


def describe(folder: Path) -> Machine:
    """This machine; ``folder`` lies on the disk that is asked."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_processor(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=".".join(platform.release().split("-")[0].split(".")[:2]),
        python=platform.python_version(),
        latchgate=__version__,
        fdatasync_ms=round(fdatasync_ms(folder), 3),
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def fdatasync_ms(folder: Path) -> float:
    """The median time of appending 300 bytes, about a charge, and making them durable."""
    path = folder / "fdatasync"
    taken_s = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(SYNCS):
            os.write(file, b"x" * 300)
            began_s = time.perf_counter()
            os.fdatasync(file)
            taken_s.append(time.perf_counter() - began_s)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(taken_s) * 1000
