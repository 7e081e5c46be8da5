"""One run: start everything, measure gateway and plain proxy in turn, audit, end everything."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from latchgate.bench import measures, scene
from latchgate.bench.machine import describe
from latchgate.bench.measurer import Measurer
from latchgate.bench.processes import (
    Crew,
    ended_by_sigterm,
    pick_cores,
    raise_file_limit,
)
from latchgate.bench.report import Report
from latchgate.bench.scene import GATEWAY, Scene, Subject
from latchgate.domain.secrets import mint_key

#: A run of at least this many seconds a figure takes each of them so many times.
ROUNDS, SECONDS_FOR_ROUNDS = 3, 1.0
#: How often a figure that something else on the machine disturbed is taken again.
RETAKES = 3
#: Files that a process needs beside two for each of its streams.
OTHER_FILES = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run is asked for."""

    seconds: float
    connections: int
    streams: int

    @property
    def rounds(self) -> int:
        """How often each figure is taken."""
        return ROUNDS if self.seconds >= SECONDS_FOR_ROUNDS else 1


def run(wish: Wish, *, say: Callable[[str], None]) -> Report:
    """Measure. Raises BenchFailed; whatever happens, no process is left behind."""
    streams = min(wish.streams, (raise_file_limit() - OTHER_FILES) // 2)
    subject_core, load_core = pick_cores()
    with (
        ended_by_sigterm(),
        tempfile.TemporaryDirectory(prefix="latchgate-bench-") as name,
        Crew(Path(name)) as crew,
    ):
        say("starting a model server, a gateway and a plain proxy")
        stage = scene.build(Path(name), crew, subject_core=subject_core, load_core=load_core)
        machine = describe(stage.data)
        retakes = RETAKES if wish.rounds > 1 else 0
        measurer = Measurer(crew, load_core, stage.pids, wish.seconds, wish.rounds, retakes)
        measure(measurer, stage, wish.connections, streams, say)
        say("auditing")
        audit = stage.audit()
        return Report(
            machine=machine,
            seconds=wish.seconds,
            rounds=wish.rounds,
            connections=wish.connections,
            streams=streams,
            rows=measurer.rows,
            calls=measurer.calls,
            errors=sum(measurer.errors.values()),
            first_error=measurer.first_error,
            elsewhere_percent=round(measurer.elsewhere * 100, 1),
            audit_agrees=audit["agrees"],
            audit_checked=audit["checked"],
            audit_findings=audit["findings"],
        )


def measure(
    measurer: Measurer, stage: Scene, connections: int, streams: int, say: Callable[[str], None]
) -> None:
    """Everything, in an order that leaves memory to be measured before it is used."""
    pair = [stage.gateway, stage.plain]
    measures.measure_memory(measurer, pair, "memory_idle_mib", "Memory, idle")
    say(f"opening {streams} streams")
    measures.measure_open_streams(measurer, pair, streams)
    say("calls")
    measures.measure_calls(measurer, pair, connections)
    say("latency")
    per_s = next(row.values[GATEWAY] for row in measurer.rows if row.key == "calls_per_s")
    is_quick = per_s >= measures.RATE * 1.5
    measures.measure_latency(measurer, pair, measures.RATE if is_quick else measures.RATE_SLOW)
    say("streams")
    measures.measure_streams(measurer, pair, connections)
    say("large prompts")
    measures.measure_large_prompt(measurer, pair)
    say("refusals")
    for refusal in refusals_of(stage):
        measures.measure_refusal(measurer, refusal, connections)
    measures.measure_memory(measurer, pair, "memory_after_mib", "Memory, after the run")


def refusals_of(stage: Scene) -> list[measures.Refusal]:
    """Whom the gateway refuses, and why."""
    gateway = stage.gateway
    # A key of the right shape that was never made: the gateway has to look for it.
    unknown, typo = mint_key().text, gateway.headers["authorization"][7:-1] + "_"
    return [
        measures.Refusal("refused_typo_per_s", "Refusals: a mistyped key", _as(gateway, typo), 401),
        measures.Refusal("refused_key_per_s", "Refusals: no such key", _as(gateway, unknown), 401),
        measures.Refusal(
            "refused_credit_per_s", "Refusals: no credit", _as(gateway, stage.poor_secret), 429
        ),
    ]


def _as(subject: Subject, secret: str) -> Subject:
    return Subject(subject.name, subject.port, subject.pids, scene.bearer(secret))
