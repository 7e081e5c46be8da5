"""Traces for OpenTelemetry, where the configuration names a collector: a span for each ended call.

Written from close records after the drain has posted them, as OTLP's JSON over HTTP
(https://opentelemetry.io/docs/specs/otlp/), in a thread of its own: no call waits for it, and a
collector that is slow or away costs spans and nothing else. The ids are made of the call's own id,
so that its trace can be found by what the answer named as ``x-request-id``.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import json
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any

import structlog

from latchgate import __version__

if TYPE_CHECKING:
    from latchgate.storage.journal_file import CloseRecord

log = structlog.get_logger()

PATH = "/v1/traces"
TIMEOUT_S = 5.0
#: Batches that may wait for the collector; what comes beyond is dropped.
WAITING_MAX = 20
_SERVER, _OK, _ERROR = 2, 1, 2
_US_NS = 1000


class Traces:
    """Sends spans to one collector. ``authorization`` is that header's value; empty: none."""

    def __init__(self, endpoint: str, authorization: str, epoch_id: str) -> None:
        self._url = endpoint.rstrip("/") + PATH
        self._headers = {"content-type": "application/json", "user-agent": "latchgate"}
        if authorization:
            self._headers["authorization"] = authorization
        self._resource = {
            "attributes": _attributes(
                {
                    "service.name": "latchgate",
                    "service.version": __version__,
                    "service.instance.id": epoch_id,
                }
            )
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="traces")
        self._room = Semaphore(WAITING_MAX)
        self._is_closing = self._has_given_up = False
        self._lost = Lock()
        self.lost_spans = 0

    def add(self, ended: Sequence[CloseRecord]) -> None:
        """Send a span for each of these calls, soon, or drop them if too many wait."""
        if self._room.acquire(blocking=False):
            self._thread.submit(self._send, ended)
        else:
            self._lose(len(ended))

    def _lose(self, spans: int) -> None:
        with self._lost:
            self.lost_spans += spans

    def _send(self, ended: Sequence[CloseRecord]) -> None:
        if self._has_given_up:
            self._lose(len(ended))
            return
        body = json.dumps(
            {
                "resourceSpans": [
                    {
                        "resource": self._resource,
                        "scopeSpans": [
                            {
                                "scope": {"name": "latchgate", "version": __version__},
                                "spans": [_span(call) for call in ended],
                            }
                        ],
                    }
                ]
            }
        )
        try:
            request = urllib.request.Request(  # noqa: S310 - the setting takes http(s) only
                self._url, body.encode(), self._headers, method="POST"
            )
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                answer.read(1024)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._lose(len(ended))
            log.warning("traces.failed", error=str(error), lost_spans=self.lost_spans)
            self._has_given_up = self._is_closing
        finally:
            self._room.release()

    def close(self) -> None:
        """Send what waits; after the first failure no more."""
        self._is_closing = True
        self._thread.shutdown()


def _span(call: CloseRecord) -> dict[str, Any]:
    digest = hashlib.sha256(call.request_id.encode()).hexdigest()
    is_well = call.outcome != "failed" and call.http_status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    span = {
        "traceId": digest[:32],
        "spanId": digest[32:48],
        "name": f"call {call.model}",
        "kind": _SERVER,
        "startTimeUnixNano": str(call.started_us * _US_NS),
        "endTimeUnixNano": str(call.ended_us * _US_NS),
        "status": {"code": _OK if is_well else _ERROR},
        "attributes": _attributes(
            {
                "gen_ai.request.model": call.model,
                "gen_ai.usage.input_tokens": call.input_tokens,
                "gen_ai.usage.output_tokens": call.output_tokens,
                "http.response.status_code": call.http_status,
                "client.address": call.ip,
                "latchgate.request.id": call.request_id,
                "latchgate.account.id": call.account_id,
                "latchgate.key.id": call.api_key_id,
                "latchgate.app": call.app,
                "latchgate.outcome": call.outcome,
                "latchgate.is_stream": call.is_stream,
                "latchgate.cached_tokens": call.cached_tokens,
                "latchgate.charge_nanousd": call.charge_nanos,
            }
        ),
    }
    if call.first_byte_us is not None:
        at = str(call.first_byte_us * _US_NS)
        span["events"] = [{"name": "first byte", "timeUnixNano": at}]
    return span


def _attributes(values: dict[str, str | int | bool]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: str | int | bool) -> dict[str, Any]:  # noqa: FBT001 - any of these
    if isinstance(value, bool):
        return {"boolValue": value}
    # 64 bits are text in OTLP's JSON: not every reader's numbers have so many.
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
