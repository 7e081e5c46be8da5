"""The metrics: what each is called and means, and how they are counted and written.

    METRICS    every one, in the order of docs/metrics.md, which is made from it
    Tally      what ended calls add up to; fed with what the drain has posted
    Refusals   how often each code was refused
    Readings   one scrape's figures, written in Prometheus's text format

Hardly anything here runs while a call does: calls are counted from their close records after the
drain has posted them, in a thread of the tally's own, and levels are read when somebody asks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from latchgate.observe.histogram import CALL_BUCKETS_S, Histogram

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
#: What a name may end in, less a counter's ``_total``: its unit.
UNITS = (
    *("calls", "tokens", "refusals", "failures", "restarts", "connections"),
    *("nanousd", "seconds", "bytes", "bool", "info"),
)
_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric: its name, which ends in its unit, its labels, and what it says."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str


METRICS = (
    Definition(
        "latchgate_calls_total",
        COUNTER,
        ("model", "outcome", "status"),
        "Calls that were let in and have ended, by how (`answered`, `ran_dry`, `hung_up`, `cut`, "
        "`failed`) and the class of their status (`2xx`, `4xx`, `5xx`).",
    ),
    Definition(
        "latchgate_tokens_total",
        COUNTER,
        ("model", "class"),
        "Tokens of these calls, as they are priced: `input` that was not cached, `cached`, and "
        "`output`.",
    ),
    Definition("latchgate_charge_nanousd_total", COUNTER, ("model",), "What they were charged."),
    Definition(
        "latchgate_overrun_nanousd_total",
        COUNTER,
        ("model",),
        "What upstreams counted beyond the hold of a call: the operator's loss.",
    ),
    Definition(
        "latchgate_call_duration_seconds",
        HISTOGRAM,
        ("model",),
        "From a call's admission to the end of its answer.",
    ),
    Definition(
        "latchgate_first_byte_seconds",
        HISTOGRAM,
        ("model",),
        "From a call's admission to the first byte of its answer, where there was one.",
    ),
    Definition(
        "latchgate_before_upstream_seconds",
        HISTOGRAM,
        (),
        "From a call's head to the moment at which it is sent to its upstream: its body, its "
        "checks, its hold, and whatever it waited for. With the journal's syncs, this is what "
        "Latchgate adds.",
    ),
    Definition(
        "latchgate_endpoint_calls_total",
        COUNTER,
        ("endpoint",),
        "Calls that were let in, by the endpoint that they came to.",
    ),
    Definition(
        "latchgate_refusals_total",
        COUNTER,
        ("plane", "code"),
        "Requests that were refused, by code (docs/errors.md): on the `api` that keys call, or on "
        "the `console` and its management API.",
    ),
    Definition("latchgate_running_calls", GAUGE, (), "Calls that run just now."),
    Definition(
        "latchgate_leased_nanousd",
        GAUGE,
        ("budget",),
        "What this process has on lease, by kind of budget. A call binds on all budgets of its "
        "account at once, so these do not add up.",
    ),
    Definition("latchgate_held_nanousd", GAUGE, ("budget",), "What running calls hold of it."),
    Definition(
        "latchgate_unposted_nanousd",
        GAUGE,
        ("budget",),
        "What ended calls were charged of it that is not in the database yet.",
    ),
    Definition(
        "latchgate_journal_unsynced_calls",
        GAUGE,
        (),
        "Ended calls whose charge is not on the disk yet: their answers wait for it.",
    ),
    Definition(
        "latchgate_journal_unsynced_bytes",
        GAUGE,
        (),
        "What the journal has to write and sync, those of calls that have begun included.",
    ),
    Definition(
        "latchgate_journal_sync_seconds",
        HISTOGRAM,
        (),
        "How long the disk took to make charges durable; one sync serves all calls that end "
        "meanwhile.",
    ),
    Definition(
        "latchgate_journal_failed_bool",
        GAUGE,
        (),
        "1 while the journal can't be written, and paid calls are refused.",
    ),
    Definition(
        "latchgate_drain_unposted_calls",
        GAUGE,
        (),
        "Ended calls that are not in the database yet.",
    ),
    Definition(
        "latchgate_drain_lag_seconds",
        GAUGE,
        (),
        "How long ago the oldest of them ended; about 1 is usual, as they are posted in batches.",
    ),
    Definition(
        "latchgate_drain_last_post_seconds",
        GAUGE,
        (),
        "How long the database took for the last batch.",
    ),
    Definition(
        "latchgate_upstream_broken_bool",
        GAUGE,
        ("upstream",),
        "1 while an upstream keeps failing, and is left alone for a while.",
    ),
    Definition(
        "latchgate_upstream_failures_total",
        COUNTER,
        ("upstream",),
        "Calls that an upstream failed: unreachable, broken off, too slow, 502, 503 or 504.",
    ),
    Definition(
        "latchgate_upstream_running_calls", GAUGE, ("upstream",), "Calls that are at an upstream."
    ),
    Definition(
        "latchgate_upstream_waiting_calls",
        GAUGE,
        ("upstream",),
        "Calls that wait for their turn at an upstream which is bounded.",
    ),
    Definition(
        "latchgate_upstream_idle_connections",
        GAUGE,
        ("upstream",),
        "Connections that are kept open for the next call.",
    ),
    Definition(
        "latchgate_loop_lag_seconds",
        HISTOGRAM,
        (),
        "How much later than asked a timer of the server's loop rings, four times a second: what "
        "a full processor adds to whatever a call waits for.",
    ),
    Definition(
        "latchgate_embedded_up_bool", GAUGE, ("model",), "1 while an embedded model's process runs."
    ),
    Definition(
        "latchgate_embedded_restarts_total",
        COUNTER,
        ("model",),
        "How often an embedded model's process died and was started again.",
    ),
    Definition("latchgate_build_info", GAUGE, ("version",), "Which version runs; always 1."),
)
#: What the client library reads of this process.
PROCESS_METRICS = (
    Definition("process_cpu_seconds_total", COUNTER, (), "Processor time of the server."),
    Definition("process_resident_memory_bytes", GAUGE, (), "Its memory."),
    Definition("process_virtual_memory_bytes", GAUGE, (), "Its address space."),
    Definition("process_start_time_seconds", GAUGE, (), "When it was started, as Unix time."),
    Definition("process_open_fds", GAUGE, (), "Its open files and sockets (unit: descriptors)."),
    Definition("process_max_fds", GAUGE, (), "The most that it may open (unit: descriptors)."),
)
_BY_NAME = {metric.name: metric for metric in METRICS}
_FAMILIES = {
    COUNTER: CounterMetricFamily,
    GAUGE: GaugeMetricFamily,
    HISTOGRAM: HistogramMetricFamily,
}


class Ended(Protocol):
    """What the tally needs of a close record."""

    @property
    def model(self) -> str: ...  # noqa: D102 - as the journal says
    @property
    def outcome(self) -> str: ...  # noqa: D102
    @property
    def http_status(self) -> int: ...  # noqa: D102
    @property
    def input_tokens(self) -> int: ...  # noqa: D102
    @property
    def cached_tokens(self) -> int: ...  # noqa: D102
    @property
    def output_tokens(self) -> int: ...  # noqa: D102
    @property
    def charge_nanos(self) -> int: ...  # noqa: D102
    @property
    def overrun_nanos(self) -> int: ...  # noqa: D102
    @property
    def started_us(self) -> int: ...  # noqa: D102
    @property
    def first_byte_us(self) -> int | None: ...  # noqa: D102
    @property
    def ended_us(self) -> int: ...  # noqa: D102


class Readings:
    """The figures of one scrape."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def set(self, name: str, value: float, *labels: str) -> None:
        """One figure; its labels in the order of its definition."""
        self._family(name).add_metric(labels, value)  # type: ignore[attr-defined]

    def set_histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        """A histogram as it stands."""
        family = self._family(name)
        family.add_metric(labels, histogram.buckets, histogram.sum)  # type: ignore[attr-defined]

    def _family(self, name: str) -> Metric:
        family = self._families.get(name)
        if family is None:
            metric = _BY_NAME[name]
            kind = _FAMILIES[metric.kind]
            family = self._families[name] = kind(name, metric.says, labels=metric.labels)
        return family

    def collect(self) -> Iterator[Metric]:
        """As the client library asks for it."""
        yield from self._families.values()

    def text(self) -> bytes:
        """All of it in Prometheus's text format, with the process's own figures. Reads /proc."""
        registry = CollectorRegistry()
        registry.register(_Fixed(self._families))
        ProcessCollector(registry=registry)
        return generate_latest(registry)


class _Fixed(Collector):
    """Figures that were read already."""

    def __init__(self, families: dict[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families.values()


class Tally:
    """What ended calls add up to. ``add`` only hands over; a thread of its own counts."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._lock = Lock()
        self._calls: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._charges: defaultdict[str, int] = defaultdict(int)
        self._overruns: defaultdict[str, int] = defaultdict(int)
        self._durations: defaultdict[str, Histogram] = defaultdict(_call_histogram)
        self._first_bytes: defaultdict[str, Histogram] = defaultdict(_call_histogram)

    def add(self, ended: Iterable[Ended]) -> None:
        """Count these calls, soon."""
        self._thread.submit(self._count, ended)

    def _count(self, ended: Iterable[Ended]) -> None:
        with self._lock:
            for call in ended:
                model = call.model
                self._calls[model, call.outcome, f"{call.http_status // 100}xx"] += 1
                self._tokens[model, "input"] += call.input_tokens - call.cached_tokens
                self._tokens[model, "cached"] += call.cached_tokens
                self._tokens[model, "output"] += call.output_tokens
                self._charges[model] += call.charge_nanos
                self._overruns[model] += call.overrun_nanos
                self._durations[model].add((call.ended_us - call.started_us) / _SECOND_US)
                if call.first_byte_us is not None:
                    first_s = (call.first_byte_us - call.started_us) / _SECOND_US
                    self._first_bytes[model].add(first_s)

    def read(self, readings: Readings) -> None:
        """Write what was counted by now."""
        with self._lock:
            for (model, outcome, status), count in self._calls.items():
                readings.set("latchgate_calls_total", count, model, outcome, status)
            for (model, kind), count in self._tokens.items():
                readings.set("latchgate_tokens_total", count, model, kind)
            for model, nanos in self._charges.items():
                readings.set("latchgate_charge_nanousd_total", nanos, model)
            for model, nanos in self._overruns.items():
                readings.set("latchgate_overrun_nanousd_total", nanos, model)
            for model, times in self._durations.items():
                readings.set_histogram("latchgate_call_duration_seconds", times, model)
            for model, times in self._first_bytes.items():
                readings.set_histogram("latchgate_first_byte_seconds", times, model)

    def close(self) -> None:
        """Count what was handed over, and end the thread."""
        self._thread.shutdown()


def _call_histogram() -> Histogram:
    return Histogram(CALL_BUCKETS_S)


def markdown() -> str:
    """The text of docs/metrics.md; a test holds the file to it."""
    rows = [_row(metric) for metric in (*METRICS, *PROCESS_METRICS)]
    return _OPENING + "\n".join(rows) + "\n"


def _row(metric: Definition) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.says} |"


_OPENING = """\
# Metrics

`GET /metrics` answers in Prometheus's text format, once `metrics.token` is set, and only to who
sends it as a bearer token: see [operate.md](operate.md#metrics). Without that setting there is no
such page, and nothing is counted. Counters begin at zero when the server starts.

A name ends in its unit; `nanousd` is billionths of a US dollar, and `bool` is 1 or 0. Calls are
counted once the database has them, about a second after their end.

| metric | type | labels | what it says |
| --- | --- | --- | --- |
"""
