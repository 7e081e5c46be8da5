"""What is measured, on every subject in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latchgate.bench.measurer import (
    PROMPT,
    Measurer,
    Row,
    body_of,
    cpu_us_per,
    job_of,
    medians,
)
from latchgate.bench.processes import memory_bytes
from latchgate.bench.scene import Subject

LARGE_PROMPT_BYTES = 400_000
#: The open loop's rates: the higher one where the gateway can do half as much again.
RATE, RATE_SLOW = 1000.0, 200.0
#: Streams whose events come as fast as they can, and streams at a model's pace.
FAST_EVENTS = 200
PACED_STREAMS, PACED_EVENTS, PACED_PAUSE_MS = 100, 40, 50


def measure_calls(measurer: Measurer, subjects: Sequence[Subject], connections: int) -> None:
    """How many calls go through when every connection calls again at once."""
    body = body_of(PROMPT)
    samples = measurer.alternate(
        "calls",
        subjects,
        lambda subject: job_of(
            subject, body, mode="closed", connections=connections, seconds=measurer.seconds
        ),
    )
    measurer.rows += [
        Row(
            "calls_per_s", "Calls that are not streamed", "calls/s", medians(samples, "calls_per_s")
        ),
        Row("calls_cpu_us", "Processor time of a call", "µs", cpu_us_per(samples, "calls_all")),
    ]


def measure_latency(
    measurer: Measurer, subjects: Sequence[Subject], rate: float, *, key: str = "latency"
) -> None:
    """How long calls take at a rate that leaves every subject idle now and then."""
    body = body_of(PROMPT)
    samples = measurer.alternate(
        key,
        subjects,
        lambda subject: job_of(
            subject, body, mode="open", connections=16, rate=rate, seconds=measurer.seconds
        ),
    )
    what = f"Latency at {rate:.0f} calls/s"
    for share in ("p50", "p99"):
        values = medians(samples, f"{share}_ms")
        measurer.rows.append(
            Row(f"{key}_{share}_ms", f"{what}, {share}", "ms", values, "difference")
        )


def measure_streams(measurer: Measurer, subjects: Sequence[Subject], connections: int) -> None:
    """Events as fast as they can, and processor time when each comes by itself."""
    fast = body_of(PROMPT, events=FAST_EVENTS)
    samples = measurer.alternate(
        "streams_fast",
        subjects,
        lambda subject: job_of(
            subject,
            fast,
            mode="closed",
            connections=connections,
            seconds=measurer.seconds,
            is_stream=True,
        ),
    )
    measurer.rows += [
        Row("events_per_s", "Events of streams", "events/s", medians(samples, "events_per_s")),
        Row("events_cpu_us", "Processor time of an event", "µs", cpu_us_per(samples, "events_all")),
    ]
    paced = body_of(PROMPT, events=PACED_EVENTS, pause_ms=PACED_PAUSE_MS)
    samples = measurer.alternate(
        "streams_paced",
        subjects,
        lambda subject: job_of(
            subject,
            paced,
            mode="closed",
            connections=PACED_STREAMS,
            seconds=measurer.seconds,
            warm_s=PACED_PAUSE_MS / 1000,
            is_stream=True,
        ),
    )
    what = f"… when {PACED_STREAMS} streams have one each {PACED_PAUSE_MS} ms"
    measurer.rows.append(Row("events_paced_cpu_us", what, "µs", cpu_us_per(samples, "events_all")))


def measure_large_prompt(measurer: Measurer, subjects: Sequence[Subject]) -> None:
    """How long a call with a large prompt takes, one after the other."""
    body = body_of("word " * (LARGE_PROMPT_BYTES // 5))
    samples = measurer.alternate(
        "large",
        subjects,
        lambda subject: job_of(
            subject, body, mode="closed", connections=1, seconds=measurer.seconds
        ),
    )
    what = f"Latency with a prompt of {LARGE_PROMPT_BYTES // 1000} KB"
    for share in ("p50", "p99"):
        values = medians(samples, f"{share}_ms")
        measurer.rows.append(
            Row(f"large_{share}_ms", f"{what}, {share}", "ms", values, "difference")
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Who is refused, why, and with which status."""

    key: str
    what: str
    subject: Subject
    status: int


def measure_refusal(measurer: Measurer, refusal: Refusal, connections: int) -> None:
    """How many calls are refused in a second."""
    job = job_of(
        refusal.subject,
        body_of(PROMPT),
        mode="closed",
        connections=connections,
        seconds=measurer.seconds,
        expect_status=refusal.status,
    )
    samples = measurer.alternate(refusal.key, [refusal.subject], lambda _: job)
    values = medians(samples, "calls_per_s")
    measurer.rows.append(Row(refusal.key, refusal.what, "refusals/s", values, ""))


def measure_open_streams(measurer: Measurer, subjects: Sequence[Subject], streams: int) -> None:
    """Memory for each stream that is open."""
    values = {subject.name: measurer.hold(subject, streams) / 1024 for subject in subjects}
    what = f"Memory for each of {streams} open streams"
    measurer.rows.append(Row("stream_kib", what, "KiB", values))


def measure_memory(measurer: Measurer, subjects: Sequence[Subject], key: str, what: str) -> None:
    """Resident memory just now."""
    values = {subject.name: memory_bytes(subject.pids) / 2**20 for subject in subjects}
    measurer.rows.append(Row(key, what, "MiB", values))
