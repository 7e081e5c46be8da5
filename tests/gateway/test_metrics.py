"""Guards the metrics: they say what the books say, and every name is known and used."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from latchgate.gateway.metrics import EmbeddedState, Metrics
from latchgate.observe.metrics import METRICS, PROCESS_METRICS
from latchgate.upstream.breaker import FAILURES_MAX
from tests.support.gateway import Gateway, running_gateway
from tests.support.model_server import Received, answers, send_json, usage_of

pytestmark = pytest.mark.anyio
DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
Samples = dict[tuple[str, frozenset[str]], float]


async def _read(metrics: Metrics) -> Samples:
    """Every sample by its name and the values of its labels."""
    text = (await metrics.text()).decode()
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _of(samples: Samples, name: str, *labels: str) -> float:
    return samples[name, frozenset(labels)]


@asynccontextmanager
async def _measured(folder: Path, **options: int) -> AsyncIterator[tuple[Gateway, Metrics]]:
    async with running_gateway(folder, **options) as gateway:  # type: ignore[arg-type]
        metrics = Metrics(gateway.engine, gateway.directory, gateway.clock)
        yield gateway, metrics
        metrics.close()


async def _counted(gateway: Gateway, metrics: Metrics) -> Samples:
    """What is said once everything is posted, and the tally's thread has seen it."""
    await gateway.engine.drain.flush()
    await asyncio.get_running_loop().run_in_executor(metrics._tally._thread, lambda: None)
    return await _read(metrics)


async def _fail(_request: Received, writer: asyncio.StreamWriter) -> None:
    await send_json(writer, 502, {})


async def test_what_is_measured_is_what_the_books_say(tmp_path: Path) -> None:
    async with _measured(tmp_path) as (gateway, metrics):
        for number in range(5):
            await gateway.chat(stream=number % 2 == 0)
        gateway.model_server.behaviour = answers(usage=usage_of(7000, 900))
        await gateway.chat(max_tokens=10)
        gateway.model_server.behaviour = _fail
        for _ in range(3):
            assert (await gateway.chat()).status == 502
        samples = await _counted(gateway, metrics)
        events = await gateway.events()
    assert _of(samples, "latchgate_calls_total", "m", "answered", "2xx") == 6
    assert _of(samples, "latchgate_calls_total", "m", "failed", "5xx") == 3
    tokens = {
        "input": sum(event.input_tokens - event.cached_tokens for event in events),
        "cached": sum(event.cached_tokens for event in events),
        "output": sum(event.output_tokens for event in events),
    }
    for kind, count in tokens.items():
        assert _of(samples, "latchgate_tokens_total", "m", kind) == count
    charged = sum(event.charge_nanos for event in events)
    assert _of(samples, "latchgate_charge_nanousd_total", "m") == charged > 0
    assert _of(samples, "latchgate_overrun_nanousd_total", "m") > 0
    assert _of(samples, "latchgate_call_duration_seconds_count", "m") == 9
    assert _of(samples, "latchgate_first_byte_seconds_count", "m") == 9
    assert _of(samples, "latchgate_endpoint_calls_total", "chat") == 9
    assert _of(samples, "latchgate_before_upstream_seconds_count") == 9
    assert 0 < _of(samples, "latchgate_before_upstream_seconds_sum") < 9 * 30
    assert 0 < _of(samples, "latchgate_journal_sync_seconds_count") <= 9 * 2
    assert _of(samples, "latchgate_refusals_total", "api", "upstream_error") == 3
    assert _of(samples, "latchgate_upstream_failures_total", "fake") == 3
    assert _of(samples, "latchgate_unposted_nanousd", "credit") == 0


async def test_levels_are_those_of_the_moment(tmp_path: Path) -> None:
    async with _measured(tmp_path, calls_at_once=1) as (gateway, metrics):
        gate = asyncio.Event()
        usual = gateway.model_server.behaviour

        async def wait(request: Received, writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await usual(request, writer)

        gateway.model_server.behaviour = wait
        calls = [asyncio.create_task(gateway.chat()) for _ in range(3)]
        while gateway.directory.running_calls < 3:  # noqa: ASYNC110 - a level has no event
            await asyncio.sleep(0.01)
        samples = await _read(metrics)
        assert _of(samples, "latchgate_running_calls") == 3
        assert _of(samples, "latchgate_upstream_running_calls", "fake") == 1
        assert _of(samples, "latchgate_upstream_waiting_calls", "fake") == 2
        held = _of(samples, "latchgate_held_nanousd", "credit")
        assert 0 < held <= _of(samples, "latchgate_leased_nanousd", "credit")
        assert held == gateway.engine.purse.held_nanos_all()
        assert _of(samples, "latchgate_journal_failed_bool") == 0
        gate.set()
        await asyncio.gather(*calls)
        samples = await _counted(gateway, metrics)
        assert _of(samples, "latchgate_running_calls") == 0
        assert _of(samples, "latchgate_held_nanousd", "credit") == 0
        assert _of(samples, "latchgate_drain_unposted_calls") == 0
        assert _of(samples, "latchgate_journal_unsynced_calls") == 0
        assert _of(samples, "latchgate_drain_last_post_seconds") > 0


async def test_an_upstream_that_keeps_failing_shows(tmp_path: Path) -> None:
    async with _measured(tmp_path) as (gateway, metrics):
        gateway.model_server.behaviour = _fail
        for _ in range(FAILURES_MAX):
            await gateway.chat()
        samples = await _read(metrics)
        assert _of(samples, "latchgate_upstream_broken_bool", "fake") == 1
        assert (await gateway.chat()).status == 503
        samples = await _read(metrics)
        assert _of(samples, "latchgate_refusals_total", "api", "server_is_overloaded") == 1
        assert _of(samples, "latchgate_upstream_failures_total", "fake") == FAILURES_MAX


async def test_every_refusal_is_counted_once_by_its_code(tmp_path: Path) -> None:
    async with _measured(tmp_path) as (gateway, metrics):
        for _ in range(2):
            assert (await gateway.chat(key="sk-lg-nonsense")).status == 401
        assert (await gateway.chat(model="gone")).status == 404
        assert (await gateway.raw(b"NONSENSE\r\n\r\n")).status == 400
        samples = await _read(metrics)
    refused = {name: value for name, value in samples.items() if name[0].endswith("refusals_total")}
    assert {min(labels - {"api"}): value for (_, labels), value in refused.items()} == {
        "invalid_api_key": 2,
        "model_not_found": 1,
        "invalid_http": 1,
    }


async def test_every_metric_is_there_and_every_query_of_the_dashboard_names_one(
    tmp_path: Path,
) -> None:
    async with _measured(tmp_path) as (gateway, metrics):
        await gateway.chat()
        await gateway.chat(key="sk-lg-nonsense")
        metrics.embedded = lambda: [EmbeddedState("small", is_up=True, restarts=2)]
        samples = await _counted(gateway, metrics)
    found = {name for name, _ in samples}
    bare = {re.sub("_(bucket|count|sum)$", "", name) for name in found}
    assert bare == {metric.name for metric in (*METRICS, *PROCESS_METRICS)}
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    ]
    named = {name for query in queries for name in re.findall(r"(?:latchgate|process)_\w+", query)}
    assert named <= found
    used = {re.sub("_(bucket|count|sum)$", "", name) for name in named}
    plain = {"process_virtual_memory_bytes", "process_start_time_seconds", "latchgate_build_info"}
    assert used == bare - plain, "each figure is drawn somewhere"
    for query in queries:
        assert query.count("(") == query.count(")")
        assert query.count("{") == query.count("}")
    labels = {label for metric in METRICS for label in metric.labels}
    grouped = {
        name.strip() for query in queries for by in re.findall(r"by \((.*?)\)", query)
        for name in by.split(",")
    }  # fmt: skip
    assert grouped <= labels | {"le"}
