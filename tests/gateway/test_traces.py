"""Guards traces: what a collector gets is OpenTelemetry's, and no call waits for a collector."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from latchgate.gateway import traces as module
from latchgate.gateway.traces import Traces
from tests.support.gateway import Gateway, running_gateway
from tests.support.model_server import Received, send_json

pytestmark = pytest.mark.anyio
PROMPT = "unmistakable prompt"


class _Collector(ThreadingHTTPServer):
    """Takes what it is sent, once it may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        """What ``traces.endpoint`` would say."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.may_answer.wait(60)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((self.path, headers, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def _collector() -> Iterator[_Collector]:
    with _Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.may_answer.set()
            collector.shutdown()
            thread.join()


@asynccontextmanager
async def _traced(folder: Path, endpoint: str) -> AsyncIterator[tuple[Gateway, Traces]]:
    async with running_gateway(folder) as gateway:
        traces = Traces(endpoint, "Bearer of-the-collector", gateway.engine.epoch_id)
        gateway.engine.drain.on_posted.append(traces.add)
        try:
            yield gateway, traces
        finally:
            gateway.engine.drain.on_posted.clear()
            await asyncio.to_thread(traces.close)


def _read(body: bytes) -> ExportTraceServiceRequest:
    """As OpenTelemetry's own schema reads it; an unknown field raises."""
    said = json.loads(body)
    for resource in said["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in ("traceId", "spanId"):  # OTLP's JSON has them as hex
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return json_format.ParseDict(said, ExportTraceServiceRequest())


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


async def _fail(_request: Received, writer: asyncio.StreamWriter) -> None:
    await send_json(writer, 500, {})


async def test_a_collector_gets_a_span_for_each_call(tmp_path: Path) -> None:
    with _collector() as collector:
        async with _traced(tmp_path, f"{collector.url}/") as (gateway, _):
            answered = await gateway.chat(PROMPT)
            await gateway.chat(PROMPT, stream=True)
            gateway.model_server.behaviour = _fail
            await gateway.chat(PROMPT)
            await gateway.engine.drain.flush()
            events = {event.request_id: event for event in await gateway.events()}
    spans = []
    for path, headers, body in collector.received:
        assert path == "/v1/traces"
        assert headers["content-type"] == "application/json"
        assert headers["authorization"] == "Bearer of-the-collector"
        assert PROMPT.encode() not in body
        for resource in _read(body).resource_spans:
            said = _values(resource.resource.attributes)
            assert said["service.name"] == "latchgate"
            assert said["service.instance.id"].startswith("epo_")
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    assert len(spans) == len(events) == 3
    for span in spans:
        values = _values(span.attributes)
        event = events[values["latchgate.request.id"]]
        assert span.name == "call m"
        assert span.start_time_unix_nano == event.started_us * 1000
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        assert values["latchgate.charge_nanousd"] == event.charge_nanos
        assert values["gen_ai.usage.output_tokens"] == event.output_tokens
        assert (span.status.code == 2) == (event.outcome == "failed")
    request_id = answered.headers["x-request-id"]
    digest = hashlib.sha256(request_id.encode()).digest()
    assert digest[:16] in {span.trace_id for span in spans}


async def test_a_collector_that_is_slow_or_away_costs_spans_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    monkeypatch.setattr(module, "TIMEOUT_S", 60.0)  # however busy this machine is
    with _collector() as collector:
        collector.may_answer.clear()
        async with _traced(tmp_path, collector.url) as (gateway, traces):
            for _ in range(5):
                assert (await gateway.chat()).status == 200
                await gateway.engine.drain.flush()
            assert traces.lost_spans == 3, "two wait, and the others are dropped"
            assert len(await gateway.events()) == 5
            collector.status = 503
            collector.may_answer.set()
        assert traces.lost_spans == 5
    other = tmp_path / "other"
    other.mkdir()
    async with _traced(other, collector.url) as (gateway, traces):
        assert (await gateway.chat()).status == 200
        await gateway.engine.drain.flush()
    assert traces.lost_spans == 1
