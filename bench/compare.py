"""Measure Latchgate side by side with other gateways, and write docs/benchmarks.md.

    python bench/compare.py

Every gateway runs as one process on the same core, in front of the same model server; the model
server and the load generator have another core. Each figure is taken on all of them in turn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from page import Comparison, write_page
from peers import NGINX, STARTERS, Kit, NotHere, Peer

from latchgate.bench import measures, scene
from latchgate.bench.machine import describe
from latchgate.bench.measurer import Measurer
from latchgate.bench.processes import (
    BenchFailed,
    Crew,
    ended_by_sigterm,
    pick_cores,
    raise_file_limit,
)
from latchgate.bench.run import OTHER_FILES, refusals_of
from latchgate.bench.scene import Scene, Subject

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
STREAMS, STREAMS_MANY = 200, 5000
#: A rate that the slowest can do, and one for those that can do half as much again.
RATE_ALL, RATE_QUICK = 50.0, 1000.0


def say(what: str) -> None:
    """Tell the person who waits."""
    print(what, "…", file=sys.stderr)


def start_peers(kit: Kit) -> tuple[dict[str, Peer], dict[str, str]]:
    """Every peer that can be had, and why the others cannot."""
    peers: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    for name, start in STARTERS.items():
        say(f"starting {name}")
        try:
            peers[name] = start(kit)
        except NotHere as reason:
            missing[name] = str(reason)
    return peers, missing


def measure(
    measurer: Measurer, stage: Scene, peers: Sequence[Subject], connections: int
) -> dict[str, str]:
    """Everything, on everybody; returns what could not be measured, and why."""
    ours = [stage.gateway, stage.plain]
    everybody = [*ours, *peers]
    by_name = {subject.name: subject for subject in everybody}
    measures.measure_memory(measurer, everybody, "memory_idle_mib", "Memory, idle")
    say("open streams")
    unmeasured = open_streams(measurer, everybody, STREAMS, "stream_kib")
    many = min(STREAMS_MANY, (raise_file_limit() - OTHER_FILES) // 2)
    light = [subject for subject in everybody if subject in ours or subject.name == NGINX]
    unmeasured |= open_streams(measurer, light, many, "stream_many_kib")
    say("calls")
    measures.measure_calls(measurer, everybody, connections)
    per_s = next(row.values for row in measurer.rows if row.key == "calls_per_s")
    quick = [by_name[name] for name, value in per_s.items() if value >= 1.5 * RATE_QUICK]
    say("latency")
    measures.measure_latency(measurer, everybody, RATE_ALL)
    measures.measure_latency(measurer, quick, RATE_QUICK, key="latency_quick")
    say("streams")
    measures.measure_streams(measurer, everybody, connections)
    say("large prompts")
    measures.measure_large_prompt(measurer, everybody)
    say("refusals")
    for refusal in refusals_of(stage):
        measures.measure_refusal(measurer, refusal, connections)
    measures.measure_memory(measurer, everybody, "memory_after_mib", "Memory, after the run")
    return unmeasured


def open_streams(
    measurer: Measurer, subjects: Sequence[Subject], streams: int, key: str
) -> dict[str, str]:
    """Memory of open streams; who cannot open so many goes without a figure."""
    able: dict[str, float] = {}
    unable: dict[str, str] = {}
    for subject in subjects:
        try:
            able[subject.name] = measurer.hold(subject, streams) / 1024
        except BenchFailed as reason:
            unable[f"{subject.name}, {streams} streams"] = str(reason)
    what = f"Memory for each of {streams} open streams"
    measurer.rows.append(measures.Row(key, what, "KiB", able))
    return unable


class Turns:
    """Only whose turn it is runs; the others, which share its core, are stopped meanwhile."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = subjects

    def __call__(self, whose: Subject) -> None:
        """Stop the others, let this one run, and let it do what had been left to do."""
        for subject in self._subjects:
            is_on = subject.pids == whose.pids
            send(subject, signal.SIGCONT if is_on else signal.SIGSTOP)
        time.sleep(0.2)

    def end(self) -> None:
        """Let everybody run."""
        for subject in self._subjects:
            send(subject, signal.SIGCONT)


def send(subject: Subject, number: signal.Signals) -> None:
    """Send a signal to all processes of a subject that are still there."""
    for pid in subject.pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def compare(given: argparse.Namespace, folder: Path) -> Comparison:
    """Start everything, measure, audit."""
    raise_file_limit()
    subject_core, load_core = pick_cores()
    with Crew(folder) as crew:
        say("starting a model server, Latchgate and a plain proxy")
        stage = scene.build(folder, crew, subject_core=subject_core, load_core=load_core)
        tools = Path(given.tools) if given.tools else folder
        tools.mkdir(parents=True, exist_ok=True)
        peers, missing = start_peers(Kit(crew, tools, subject_core, stage.upstream_port))
        subjects = [peer.subject for peer in peers.values()]
        pids = [*stage.pids, *(pid for subject in subjects for pid in subject.pids)]
        machine = describe(stage.data)
        turns = Turns([stage.gateway, stage.plain, *subjects])
        measurer = Measurer(
            crew, load_core, pids, given.seconds, given.rounds, given.retakes, turns
        )
        try:
            unmeasured = measure(measurer, stage, subjects, given.connections)
        finally:
            turns.end()
        return Comparison(
            machine=machine,
            machine_after_sync_ms=describe(stage.data).fdatasync_ms,
            seconds=given.seconds,
            rounds=given.rounds,
            retakes=given.retakes,
            connections=given.connections,
            peers=peers,
            missing=missing | unmeasured,
            rows=measurer.rows,
            calls=measurer.calls,
            errors=dict(measurer.errors),
            first_error=measurer.first_error,
            elsewhere_percent=measurer.elsewhere * 100,
            audit=stage.audit(),
        )


def main() -> None:
    """Compare, and write the page."""
    parser = argparse.ArgumentParser(description="Latchgate beside other gateways")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure, each time")
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken")
    parser.add_argument("--retakes", type=int, default=3, help="when something else disturbs one")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--tools", help="a folder that keeps what is installed for the next time")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="latchgate-bench-"))
    try:
        with ended_by_sigterm():
            found = compare(given, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    given.page.write_text(write_page(found))
    print(given.page.read_text())


if __name__ == "__main__":
    main()
