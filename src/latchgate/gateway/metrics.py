"""What a serving process knows of itself, when somebody asks: one scrape's figures.

Nearly everything is read where it stands already: all that is counted while a call runs is when it
goes to its upstream, and where it came in.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate import __version__
from latchgate.clock import SECOND_US
from latchgate.observe.histogram import LAG_BUCKETS_S, Histogram
from latchgate.observe.metrics import Readings, Tally

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.gateway.directory import Directory
    from latchgate.gateway.engine import Engine

#: How often the loop's lag is looked at, in seconds.
LAG_EVERY_S = 0.25
#: The kind of a budget that no key in memory is bound by any more.
_UNKNOWN_KIND = "other"


@dataclass(frozen=True, slots=True)
class EmbeddedState:
    """An embedded model's process."""

    model: str
    is_up: bool
    restarts: int


class Metrics:
    """One serving process's; for its event loop. The engine has been started."""

    def __init__(self, engine: Engine, directory: Directory, clock: Clock) -> None:
        self._engine = engine
        self._directory = directory
        self._clock = clock
        self._tally = Tally()
        self._lag = Histogram(LAG_BUCKETS_S)
        #: The console's refusals by code; whoever renders them counts them here.
        self.refusals: Counter[str] = Counter()
        #: Asks for the embedded models' states.
        self.embedded: Callable[[], Iterable[EmbeddedState]] = tuple
        engine.drain.on_posted.append(self._tally.add)
        self._loop = asyncio.get_running_loop()
        self._watch_lag()

    def _watch_lag(self) -> None:
        due_s = self._loop.time() + LAG_EVERY_S
        self._timer = self._loop.call_at(due_s, self._on_timer, due_s)

    def _on_timer(self, due_s: float) -> None:
        self._lag.add(max(0.0, self._loop.time() - due_s))
        self._watch_lag()

    async def text(self) -> bytes:
        """All figures of this moment, in Prometheus's text format."""
        readings = Readings()
        self._read(readings)
        return await asyncio.to_thread(readings.text)

    def _read(self, readings: Readings) -> None:
        self._tally.read(readings)
        for endpoint, count in self._engine.calls.opened.items():
            readings.set("latchgate_endpoint_calls_total", count, endpoint)
        readings.set_histogram("latchgate_before_upstream_seconds", self._engine.sent)
        for plane, refusals in (("api", self._engine.refusals), ("console", self.refusals)):
            for code, count in refusals.items():
                readings.set("latchgate_refusals_total", count, plane, code)
        self._read_money(readings)
        self._read_journal(readings)
        self._read_upstreams(readings)
        readings.set_histogram("latchgate_loop_lag_seconds", self._lag)
        for state in self.embedded():
            readings.set("latchgate_embedded_up_bool", state.is_up, state.model)
            readings.set("latchgate_embedded_restarts_total", state.restarts, state.model)
        readings.set("latchgate_build_info", 1, __version__)

    def _read_money(self, readings: Readings) -> None:
        kinds = {budget.id: budget.kind for key in self._directory.keys for budget in key.budgets}
        levels: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for piece in self._engine.purse.slices:
            level = levels[kinds.get(piece.window.budget_id, _UNKNOWN_KIND)]
            level[0] += piece.leased_nanos
            level[1] += piece.held_nanos
            level[2] += piece.charged_nanos
        for kind, (leased, held, unposted) in levels.items():
            readings.set("latchgate_leased_nanousd", leased, kind)
            readings.set("latchgate_held_nanousd", held, kind)
            readings.set("latchgate_unposted_nanousd", unposted, kind)

    def _read_journal(self, readings: Readings) -> None:
        journal, drain = self._engine.journal, self._engine.drain
        readings.set("latchgate_journal_unsynced_calls", drain.unsynced_calls)
        readings.set("latchgate_journal_unsynced_bytes", journal.unsynced_bytes)
        readings.set_histogram("latchgate_journal_sync_seconds", journal.syncs)
        readings.set("latchgate_journal_failed_bool", journal.failure is not None)
        readings.set("latchgate_drain_unposted_calls", drain.waiting_calls)
        oldest_us = drain.oldest_ended_us
        lag_us = 0 if oldest_us is None else max(0, self._clock.now_us() - oldest_us)
        readings.set("latchgate_drain_lag_seconds", lag_us / SECOND_US)
        readings.set("latchgate_drain_last_post_seconds", drain.last_post_s)

    def _read_upstreams(self, readings: Readings) -> None:
        running = Counter(
            call.model.target.name for key in self._directory.keys for call in key.running
        )
        readings.set("latchgate_running_calls", running.total())
        for name, state in self._engine.pool.states().items():
            readings.set("latchgate_upstream_broken_bool", state.is_broken, name)
            readings.set("latchgate_upstream_failures_total", state.failures, name)
            at_it = max(0, running[name] - state.waiting_calls)
            readings.set("latchgate_upstream_running_calls", at_it, name)
            readings.set("latchgate_upstream_waiting_calls", state.waiting_calls, name)
            readings.set("latchgate_upstream_idle_connections", state.idle_connections, name)

    def close(self) -> None:
        """Stop counting."""
        self._engine.drain.on_posted.remove(self._tally.add)
        self._timer.cancel()
        self._tally.close()
