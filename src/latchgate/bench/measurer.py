"""Runs jobs on subjects in turn, and makes figures of what comes back.

Round after round every subject has its turn, so that what disturbs a machine for a while disturbs
all of them. A figure is the median of its rounds; processor time is the sum of all rounds over
the sum of all that was answered.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from latchgate.bench.load import Job, Result
from latchgate.bench.mock_upstream import MODEL
from latchgate.bench.processes import (
    BenchFailed,
    Crew,
    busy_seconds,
    cpu_seconds,
    memory_bytes,
    own_seconds,
    read_line,
)
from latchgate.bench.scene import Subject

LOAD = (sys.executable, "-m", "latchgate.bench.load")
#: The share of the machine that something else may use before a sample counts as disturbed.
QUIET = 0.05
#: Nobody does anything any more who uses less processor time in so long.
SETTLE_CPU_S, SETTLE_PERIOD_S, SETTLE_TIMEOUT_S = 0.02, 0.3, 30.0
PROMPT = "Say hello to whoever reads this, in one short sentence."

Samples = dict[str, list["Sample"]]


class Row(msgspec.Struct):
    """One figure of every subject."""

    key: str
    what: str
    unit: str
    values: dict[str, float]
    #: How subjects are compared: by ratio, by difference, or not at all.
    compare: Literal["ratio", "difference", ""] = "ratio"


@dataclass(frozen=True, slots=True)
class Sample:
    """One job's result, and the processor time that its subject used."""

    result: Result
    cpu_s: float
    #: The share of the machine that something else used meanwhile.
    elsewhere: float


@dataclass(slots=True)
class Measurer:
    """Runs jobs on subjects, and keeps count of calls and errors."""

    crew: Crew
    load_core: int | None
    #: Processes of ours that run all the time: what they use is not somebody else's.
    pids: Sequence[int]
    seconds: float
    rounds: int
    #: How often a job that something else disturbed is done again.
    retakes: int = 0
    #: Called before a subject's turn.
    on_turn: Callable[[Subject], None] = lambda _subject: None
    calls: int = 0
    #: Events of streams that were held open.
    events: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    first_error: str = ""
    rows: list[Row] = field(default_factory=list)
    #: Every sample, by what it was taken for and by subject.
    samples: dict[str, Samples] = field(default_factory=dict)

    @property
    def elsewhere(self) -> float:
        """The share of the machine that something else used while the samples were taken."""
        shares = [
            sample.elsewhere
            for samples in self.samples.values()
            for taken in samples.values()
            for sample in taken
        ]
        return statistics.mean(shares) if shares else 0.0

    def run(self, subject: Subject, job: Job) -> Sample:
        """One job on one subject; of several tries, the one that was disturbed least."""
        tries: list[Sample] = []
        while not tries or (tries[-1].elsewhere > QUIET and len(tries) <= self.retakes):
            tries.append(self._run_once(subject, job))
        return min(tries, key=lambda sample: sample.elsewhere)

    def _run_once(self, subject: Subject, job: Job) -> Sample:
        self.on_turn(subject)
        began_s, others_s = time.monotonic(), busy_seconds() - own_seconds(self.pids)
        before_s = cpu_seconds(subject.pids)
        load = self._start(job)
        line = read_line(load, timeout_s=job.warm_s + job.seconds + 60)
        self.crew.end(load)
        cpu_s = cpu_seconds(subject.pids) - before_s
        others_s = busy_seconds() - own_seconds(self.pids) - others_s
        elsewhere = others_s / (time.monotonic() - began_s) / (os.cpu_count() or 1)
        result = msgspec.json.decode(line, type=Result)
        self._note(subject, result)
        return Sample(result, cpu_s, max(0.0, elsewhere))

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        load = self.crew.start("load", LOAD, core=self.load_core)
        _tell(load, msgspec.json.encode(job) + b"\n")
        return load

    def _note(self, subject: Subject, result: Result) -> None:
        self.calls += result.calls_all
        if result.errors:
            self.errors[subject.name] = self.errors.get(subject.name, 0) + result.errors
            self.first_error = self.first_error or f"{subject.name}: {result.first_error}"

    def alternate(
        self, key: str, subjects: Sequence[Subject], job_for: Callable[[Subject], Job]
    ) -> Samples:
        """The same job on every subject in turn, as often as there are rounds."""
        found: Samples = {subject.name: [] for subject in subjects}
        for _ in range(self.rounds):
            for subject in subjects:
                found[subject.name].append(self.run(subject, job_for(subject)))
        self.samples[key] = found
        return found

    def hold(self, subject: Subject, streams: int) -> float:
        """Memory for each of many open streams, in bytes."""
        body = body_of(PROMPT, events=2, pause_ms=40_000)
        before = memory_bytes(subject.pids)
        with self.open_streams(subject, body, streams):
            time.sleep(0.3)
            during = memory_bytes(subject.pids)
        return (during - before) / streams

    @contextmanager
    def open_streams(self, subject: Subject, body: str, streams: int) -> Iterator[None]:
        """Many streams that are open meanwhile. Raises BenchFailed when one does not begin."""
        job = job_of(subject, body, mode="hold", connections=streams, is_stream=True)
        self.on_turn(subject)
        load = self._start(job)
        opened = json.loads(read_line(load, timeout_s=180))["open"]
        if opened < streams:
            raise BenchFailed(f"{subject.name} opened {opened} of {streams} streams")
        yield
        _tell(load, b"\n")
        result = msgspec.json.decode(read_line(load), type=Result)
        self.crew.end(load)
        self._note(subject, result)
        self.events += result.events_all
        _settle(subject)


def _settle(subject: Subject) -> None:
    """Wait until a subject has cleared up behind thousands of streams that were cut."""
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    before_s, now_s = -1.0, cpu_seconds(subject.pids)
    while now_s - before_s > SETTLE_CPU_S and time.monotonic() < deadline_s:
        time.sleep(SETTLE_PERIOD_S)
        before_s, now_s = now_s, cpu_seconds(subject.pids)


def _tell(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(data)
        process.stdin.flush()


def body_of(prompt: str, *, events: int = 0, pause_ms: int = 0) -> str:
    """A chat completion's request; with ``events`` a stream, which the mock is told so long."""
    text = f"{prompt} events={events} pause_ms={pause_ms}" if events else prompt
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": text},
        ],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    return json.dumps(body | {"stream": True} if events else body, separators=(",", ":"))


def job_of(subject: Subject, body: str, **how: Any) -> Job:
    """A job on a subject."""
    path = subject.stream_path if how.get("is_stream") else ""
    headers = {"accept": "application/json", "user-agent": "OpenAI/Python 1.0", **subject.headers}
    return Job(port=subject.port, path=path or subject.path, body=body, headers=headers, **how)


# ── figures from samples ────────────────────────────────────────────────────────────────────────
def medians(samples: Samples, attribute: str) -> dict[str, float]:
    """The median round of each subject."""
    return {
        name: statistics.median(getattr(sample.result, attribute) for sample in taken)
        for name, taken in samples.items()
    }


def cpu_us_per(samples: Samples, attribute: str) -> dict[str, float]:
    """Processor time for each call or event, in microseconds."""
    figures = {}
    for name, taken in samples.items():
        count = sum(getattr(sample.result, attribute) for sample in taken)
        figures[name] = sum(sample.cpu_s for sample in taken) / count * 1e6 if count else 0.0
    return figures
