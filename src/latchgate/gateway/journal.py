"""The journal's writer: charges become durable in groups, one ``fdatasync`` for all that wait.

A thread of its own writes what has gathered and syncs it while the next group gathers. Open records
are written, but nobody waits for them; a close record is waited for before the last byte of its
answer leaves.

A failed write or sync is final for this file: after a failed ``fdatasync`` the kernel may have
dropped the pages and a second one would lie (https://wiki.postgresql.org/wiki/Fsync_Errors). Paid
calls are refused from then on.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from latchgate.domain.errors import LedgerUnavailable
from latchgate.storage.journal_file import MAGIC, CloseRecord, OpenRecord, encode

log = structlog.get_logger()
T = TypeVar("T")

_REFUSAL = "Charges cannot be recorded just now, so paid calls are refused. Try again later."


class Journal:
    """Appends records to one epoch's file. Used from one event loop; the file belongs to a thread.

    ``interval_ms`` None syncs before every answer; a number syncs that often, and answers do not
    wait: a power cut may then lose the last moments' charges, a killed process does not.
    """

    def __init__(
        self, path: Path, loop: asyncio.AbstractEventLoop, *, interval_ms: int | None
    ) -> None:
        self.path = path
        self._loop = loop
        self._interval_s = None if interval_ms is None else interval_ms / 1000
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._wake = threading.Condition()
        self._gathered: list[bytes] = [MAGIC]
        self._sync_wanted = True
        self._closing = False
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._end = len(MAGIC)
        self.synced_offset = 0
        self.failure: OSError | None = None
        #: Called on the loop whenever more is durable; the drain listens.
        self.on_synced: Callable[[], None] = _ignore
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def is_writable(self) -> bool:
        """Whether a paid call may begin."""
        return self.failure is None and not self._closing

    def open_call(self, record: OpenRecord) -> None:
        """Note a hold; nobody waits for it. Raises LedgerUnavailable."""
        self._append(encode(record), sync=False)

    def close_call(self, record: CloseRecord) -> int:
        """Note a charge. The charge counts once ``synced`` has returned for this offset."""
        return self._append(encode(record), sync=True)

    def _append(self, data: bytes, *, sync: bool) -> int:
        if not self.is_writable:
            raise LedgerUnavailable(_REFUSAL, internal=f"journal: {self.failure}")
        with self._wake:
            self._gathered.append(data)
            self._sync_wanted |= sync
            self._wake.notify()
        self._end += len(data)
        return self._end

    async def synced(self, offset: int) -> None:
        """Wait until everything up to ``offset`` is on the disk. Raises LedgerUnavailable."""
        if self._interval_s is not None or offset <= self.synced_offset:
            return
        if self.failure is not None:
            raise LedgerUnavailable(_REFUSAL, internal=f"journal: {self.failure}")
        future = self._loop.create_future()
        self._waiting.append((offset, future))
        await future

    async def close(self) -> None:
        """Write and sync what has gathered, and close the file."""
        with self._wake:
            self._closing = True
            self._sync_wanted = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    # ── the writer's thread ─────────────────────────────────────────────────────────────────────
    def _run(self) -> None:
        written = 0
        try:
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._gathered or self._closing)
                    gathered, self._gathered = self._gathered, []
                    sync, self._sync_wanted = self._sync_wanted, False
                    is_last = self._closing
                data = b"".join(gathered)
                _write_all(self._file, data)
                written += len(data)
                if sync or is_last:
                    os.fdatasync(self._file)
                    self._tell(self._on_synced, written)
                if is_last and not self._gathered:
                    return
                if self._interval_s is not None and not is_last:
                    self._pause(self._interval_s)
        except OSError as error:
            self._tell(self._on_failed, error)
        finally:
            os.close(self._file)

    def _pause(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._closing, timeout=seconds)

    def _tell(self, function: Callable[[T], None], value: T) -> None:
        try:
            self._loop.call_soon_threadsafe(function, value)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("journal.loop_closed")

    # ── back on the loop ────────────────────────────────────────────────────────────────────────
    def _on_synced(self, offset: int) -> None:
        self.synced_offset = offset
        waiting = self._waiting
        while waiting and waiting[0][0] <= offset:
            _, future = waiting.popleft()
            if not future.done():
                future.set_result(None)
        self.on_synced()

    def _on_failed(self, error: OSError) -> None:
        log.error("journal.failed", error=str(error), path=str(self.path))
        self.failure = error
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(LedgerUnavailable(_REFUSAL, internal=f"journal: {error}"))


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _ignore() -> None:
    """Nobody listens yet."""
