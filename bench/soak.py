"""See that nothing grows: a million calls, then thousands of streams for minutes; docs/soak.md.

    python bench/soak.py

One gateway on one core; the model server, which answers at once and sends every stream an event now
and then, and who reads all of it, on another.
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
from latchgate.bench.measurer import PROMPT, Measurer, body_of, job_of
from latchgate.bench.processes import (
    Crew,
    ended_by_sigterm,
    memory_bytes,
    pick_cores,
    raise_file_limit,
)

PAGE = Path(__file__).parents[1] / "docs" / "soak.md"
CONNECTIONS, TURN_S = 64, 5.0
EVENT_PERIOD_S = 5
SAMPLES = 20
#: By how much memory may grow, of what it was: through all calls, and while streams stay open.
CALLS_GROWTH_MAX, STREAMS_GROWTH_MAX = 0.10, 0.01
MIB = 2**20
TEXT = """\
# What does not grow

`python bench/soak.py` makes {calls:,} calls, then holds {streams:,} streams open for {minutes:g}
minutes, all in one process on one core, and writes this page.

* {machine.cores} cores of {machine.processor}, Python {machine.python}
* {errors} answers were not what was expected
* afterwards `latchgate audit` derived every balance again: the books {books}

## Calls, one after the other

{connections} connections, each of which calls again as soon as it is answered. From the first
call to the last, the process's memory grew by {calls_growth:+.1%}.

| calls | memory |
| ---: | ---: |
{calls_rows}

## Streams that stay open

Each stream has an event every {period} seconds, passed on as it comes.

* {each_kib:.1f} KiB of memory for each stream, once all were open
* from the second quarter of the time to the last, memory grew by {growth:+.2%}
* {events:,} events were passed on

| minute | memory |
| ---: | ---: |
{rows}
"""


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it: resident memory in bytes, after so many calls, and after so many seconds."""

    machine: Machine
    by_calls: list[tuple[int, int]]
    by_time: list[tuple[float, int]]
    events: int
    errors: int
    agrees: bool

    @property
    def calls_growth(self) -> float:
        """By how much memory grew from before the first call to the last, of what it was."""
        return self.by_calls[-1][1] / self.by_calls[0][1] - 1

    @property
    def streams_growth(self) -> float:
        """By how much it grew from the second quarter of the streams' time to the last."""
        sizes = [size for _, size in self.by_time[1:]]
        quarter = len(sizes) // 4
        return mean(sizes[-quarter:]) / mean(sizes[quarter : 2 * quarter]) - 1

    @property
    def is_well(self) -> bool:
        """Whether nothing was wrong, and nothing grew."""
        return (
            self.agrees
            and not self.errors
            and self.calls_growth <= CALLS_GROWTH_MAX
            and self.streams_growth <= STREAMS_GROWTH_MAX
        )


def soak(folder: Path, crew: Crew, *, calls: int, streams: int, minutes: float) -> Soak:
    """Call, open the streams, look at the memory now and then, hang up, audit."""
    subject_core, load_core = pick_cores()
    built = scene.build(folder, crew, subject_core=subject_core, load_core=load_core)
    measurer = Measurer(crew, load_core, built.pids, seconds=TURN_S, rounds=1)
    by_calls = _call(measurer, built.gateway, calls)
    by_time = _hold(measurer, built.gateway, streams, minutes)
    return Soak(
        machine=describe(folder),
        by_calls=by_calls,
        by_time=by_time,
        events=measurer.events,
        errors=sum(measurer.errors.values()),
        agrees=built.audit()["agrees"],
    )


def _call(measurer: Measurer, gateway: scene.Subject, calls: int) -> list[tuple[int, int]]:
    """Memory before the first call, and after some more of them until there are enough."""
    body = body_of(PROMPT)
    job = job_of(gateway, body, mode="closed", connections=CONNECTIONS, seconds=TURN_S)
    samples = [(0, memory_bytes(gateway.pids))]
    while measurer.calls < calls:
        measurer.run(gateway, job)
        samples.append((measurer.calls, memory_bytes(gateway.pids)))
        print(f"{samples[-1][0]:9,} calls {samples[-1][1] / MIB:8.1f} MiB", flush=True)
    return samples


def _hold(
    measurer: Measurer, gateway: scene.Subject, streams: int, minutes: float
) -> list[tuple[float, int]]:
    """Memory before the streams are open, and at times while they are."""
    # Twice as many events as there is time for: no stream ends by itself.
    events = int(minutes * 60 / EVENT_PERIOD_S) * 2 + 20
    body = body_of(PROMPT, events=events, pause_ms=EVENT_PERIOD_S * 1000)
    samples = [(0.0, memory_bytes(gateway.pids))]
    with measurer.open_streams(gateway, body, streams):
        began_s = time.monotonic()
        for turn in range(SAMPLES + 1):
            time.sleep(max(0.0, began_s + turn * minutes * 60 / SAMPLES - time.monotonic()))
            samples.append((time.monotonic() - began_s, memory_bytes(gateway.pids)))
            print(f"{samples[-1][0] / 60:6.2f} min {samples[-1][1] / MIB:8.1f} MiB", flush=True)
    return samples


def write_page(found: Soak, *, streams: int, minutes: float) -> None:
    """Say what was seen."""
    (_, before), _, (_, opened), *_ = found.by_time
    text = TEXT.format(
        machine=found.machine,
        errors=found.errors,
        books="agree" if found.agrees else "DISAGREE",
        connections=CONNECTIONS,
        calls=found.by_calls[-1][0],
        calls_growth=found.calls_growth,
        calls_rows="\n".join(
            f"| {calls:,} | {size / MIB:.1f} MiB |" for calls, size in found.by_calls
        ),
        streams=streams,
        minutes=minutes,
        period=EVENT_PERIOD_S,
        each_kib=(opened - before) / streams / 1024,
        growth=found.streams_growth,
        events=found.events,
        rows="\n".join(
            f"| {at_s / 60:.1f} | {size / MIB:.1f} MiB |" for at_s, size in found.by_time[1:]
        ),
    )
    PAGE.write_text(text)


def main() -> int:
    """Run, and write the page; 1 when an answer was wrong, the books disagree, or memory grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    raise_file_limit()
    with (
        tempfile.TemporaryDirectory() as folder,
        ended_by_sigterm(),
        Crew(Path(folder)) as crew,
    ):
        found = soak(
            Path(folder), crew, calls=given.calls, streams=given.streams, minutes=given.minutes
        )
    write_page(found, streams=given.streams, minutes=given.minutes)
    return 0 if found.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
