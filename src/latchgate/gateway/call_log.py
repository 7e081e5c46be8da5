"""A line in the log for each ended call, where the configuration asks for it.

Written from close records after the drain has posted them, in a thread of its own: no call waits
for a line, and none is in the log that is not in the books.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from latchgate.storage.journal_file import CloseRecord

log = structlog.get_logger("latchgate.calls")

_MS_US = 1000


class CallLog:
    """Writes what it is handed."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="call-log")

    def add(self, ended: Sequence[CloseRecord]) -> None:
        """Write a line for each of these calls, soon."""
        self._thread.submit(_write, ended)

    def close(self) -> None:
        """Write what was handed over, and end the thread."""
        self._thread.shutdown()


def _write(ended: Sequence[CloseRecord]) -> None:
    for call in ended:
        first_us = call.first_byte_us
        log.info(
            "call.ended",
            request_id=call.request_id,
            account=call.account_id,
            key=call.api_key_id,
            app=call.app,
            ip=call.ip,
            model=call.model,
            is_stream=call.is_stream,
            status=call.http_status,
            outcome=call.outcome,
            input_tokens=call.input_tokens,
            cached_tokens=call.cached_tokens,
            output_tokens=call.output_tokens,
            charge_nanos=call.charge_nanos,
            first_byte_ms=None if first_us is None else (first_us - call.started_us) / _MS_US,
            duration_ms=(call.ended_us - call.started_us) / _MS_US,
        )
