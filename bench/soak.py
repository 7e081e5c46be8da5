"""Hold thousands of streams open for minutes, and see that nothing grows; write docs/soak.md.

    python bench/soak.py

One gateway on one core; the model server, which sends every stream an event now and then, and who
reads them all, on another.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from latchgate.bench import scene
from latchgate.bench.machine import Machine, describe
from latchgate.bench.measurer import PROMPT, Measurer, body_of
from latchgate.bench.processes import (
    Crew,
    ended_by_sigterm,
    memory_bytes,
    pick_cores,
    raise_file_limit,
)

PAGE = Path(__file__).parents[1] / "docs" / "soak.md"
EVENT_PERIOD_S = 5
SAMPLES = 20
MIB = 2**20
TEXT = """\
# Streams that stay open

`python bench/soak.py` holds {streams:,} streams open for {minutes:g} minutes in one process on one
core, and writes this page. Each stream has an event every {period} seconds, passed on as it comes.

* {machine.cores} cores of {machine.processor}, Python {machine.python}
* {each_kib:.1f} KiB of memory for each stream, once all were open
* from the second quarter of the time to the last, memory grew by {growth:+.2%}
* {events:,} events were passed on; {errors} streams erred
* afterwards `latchgate audit` derived every balance again: the books {books}

| minute | memory |
| ---: | ---: |
{rows}
"""


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it; samples are a time in seconds and resident memory in bytes."""

    machine: Machine
    before_bytes: int
    samples: list[tuple[float, int]]
    events: int
    errors: int
    agrees: bool


def soak(folder: Path, crew: Crew, *, streams: int, minutes: float) -> Soak:
    """Open the streams, look at the memory now and then, hang up, audit."""
    subject_core, load_core = pick_cores()
    built = scene.build(folder, crew, subject_core=subject_core, load_core=load_core)
    measurer = Measurer(crew, load_core, built.pids, seconds=0, rounds=1)
    before = memory_bytes(built.gateway.pids)
    # Twice as many events as there is time for: no stream ends by itself.
    events = int(minutes * 60 / EVENT_PERIOD_S) * 2 + 20
    body = body_of(PROMPT, events=events, pause_ms=EVENT_PERIOD_S * 1000)
    samples = []
    with measurer.open_streams(built.gateway, body, streams):
        began_s = time.monotonic()
        for turn in range(SAMPLES + 1):
            time.sleep(max(0.0, began_s + turn * minutes * 60 / SAMPLES - time.monotonic()))
            samples.append((time.monotonic() - began_s, memory_bytes(built.gateway.pids)))
            print(f"{samples[-1][0] / 60:6.2f} min {samples[-1][1] / MIB:8.1f} MiB")
    return Soak(
        machine=describe(folder),
        before_bytes=before,
        samples=samples,
        events=measurer.events,
        errors=sum(measurer.errors.values()),
        agrees=built.audit()["agrees"],
    )


def write_page(found: Soak, *, streams: int, minutes: float) -> None:
    """Say what was seen."""
    sizes = [size for _, size in found.samples]
    quarter = len(sizes) // 4
    rows = [f"| {at_s / 60:.1f} | {size / MIB:.1f} MiB |" for at_s, size in found.samples]
    text = TEXT.format(
        streams=streams,
        minutes=minutes,
        period=EVENT_PERIOD_S,
        machine=found.machine,
        each_kib=(sizes[1] - found.before_bytes) / streams / 1024,
        growth=mean(sizes[-quarter:]) / mean(sizes[quarter : 2 * quarter]) - 1,
        events=found.events,
        errors=found.errors,
        books="agree" if found.agrees else "DISAGREE",
        rows="\n".join(rows),
    )
    PAGE.write_text(text)


def main() -> int:
    """Run, and write the page; 1 when a stream erred, or the books disagree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    raise_file_limit()
    with (
        tempfile.TemporaryDirectory() as folder,
        ended_by_sigterm(),
        Crew(Path(folder)) as crew,
    ):
        found = soak(Path(folder), crew, streams=given.streams, minutes=given.minutes)
    write_page(found, streams=given.streams, minutes=given.minutes)
    return 1 if found.errors or not found.agrees else 0


if __name__ == "__main__":
    sys.exit(main())
