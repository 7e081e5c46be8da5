"""The journal: charges are on the disk before an answer's last byte leaves.

Records gather while the disk is busy; a thread writes whatever has gathered and syncs it with one
``fdatasync`` (group commit), so that the cost of a sync is shared by all calls that wait for it.

When the disk fails, nothing is known about what was not synced: what nobody has an answer for is
cut off, those who waited are told, and paid calls are refused. ``reopen`` begins a new segment when
the disk can be written again; a sync that has failed is never tried again on the same file, because
the system may have dropped what it could not write (https://lwn.net/Articles/752063/).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

import structlog

from latchgate.domain.errors import LedgerUnavailable
from latchgate.fibers import Wait
from latchgate.gateway.segment import Segment, begin_segment
from latchgate.observe.histogram import SYNC_BUCKETS_S, Histogram
from latchgate.storage.journal_file import CloseRecord, OpenRecord, encode

log = structlog.get_logger()
T = TypeVar("T")
#: What the writer's thread is to write: a turn's records, and whether one waits; None is the end.
_Queue = SimpleQueue[tuple[list[bytes], bool] | None]

#: How long a record may wait in memory for others to be written with, in seconds.
GATHER_S = 0.002
#: Calls that end wait for others no longer once they are one in so many of all that are under way.
GATHER_SHARE = 4
_REFUSAL = "Charges cannot be recorded just now, so paid calls are refused. Try again later."


class Journal:
    """Appends records to one epoch's journal. Used from one event loop; a thread has the file.

    ``interval_ms`` None syncs before every answer. A number syncs that often, and answers wait only
    until their charge is written: a power cut may then lose the last moments' charges, a killed
    process loses none.
    """

    def __init__(
        self,
        folder: Path,
        epoch_id: str,
        loop: asyncio.AbstractEventLoop,
        *,
        interval_ms: int | None,
    ) -> None:
        self._folder = folder
        self._epoch_id = epoch_id
        self._loop = loop
        self._interval_s = None if interval_ms is None else interval_ms / 1000
        self._queue: _Queue = SimpleQueue()
        self._batch: list[bytes] = []
        #: Ended calls of the batch, and calls that have begun and not ended.
        self._ended = 0
        self._running = 0
        self._is_handing_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._waiting: deque[tuple[int, Wait[None]]] = deque()
        self._end = 0
        self._number = 0
        self.synced_offset = 0
        #: How far answers may go out: what is synced, or, with an interval, what is written.
        self.safe_offset = 0
        self.failure: OSError | None = None
        #: Called on the loop whenever more is durable; the drain listens.
        self.on_synced: Callable[[], None] = _ignore
        #: Called on the loop when the disk has failed, after those who waited were told.
        self.on_failed: Callable[[], None] = _ignore
        #: How long the disk took, in seconds; each sync may serve many calls.
        self.syncs = Histogram(SYNC_BUCKETS_S)
        self._start(self._begin_segment(0))

    @property
    def is_writable(self) -> bool:
        """Whether a paid call may begin."""
        return self.failure is None and not self._closing

    @property
    def unsynced_bytes(self) -> int:
        """What is written or gathers, and is not on the disk yet."""
        return self._end - self.synced_offset

    def open_call(self, record: OpenRecord) -> None:
        """Note a hold; nobody waits for it. Raises LedgerUnavailable."""
        self._append(encode(record))
        self._running += 1

    def close_call(self, record: CloseRecord) -> int:
        """Note a charge. The charge counts once ``safe`` has returned for this offset."""
        self._running = max(0, self._running - 1)
        end = self._append(encode(record))
        self._ended += 1
        others = self._running + len(self._waiting)
        if not self._is_handing_over and self._ended * GATHER_SHARE >= others:
            # The thread is woken once for all that this turn of the loop has to write.
            self._is_handing_over = True
            self._loop.call_soon(self._hand_over)
        return end

    def _append(self, data: bytes) -> int:
        if not self.is_writable:
            raise LedgerUnavailable(_REFUSAL, internal=f"journal: {self.failure}")
        if self._timer is None:
            self._timer = self._loop.call_later(GATHER_S, self._hand_over)
        self._batch.append(data)
        self._end += len(data)
        return self._end

    def _hand_over(self) -> None:
        """Let the thread write what has gathered.

        A sync costs the same for one call and for many: where many run, those that end wait a
        moment for others.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._batch:
            self._queue.put((self._batch, self._ended > 0))
        self._batch, self._ended, self._is_handing_over = [], 0, False

    def safe(self, offset: int) -> Wait[None]:
        """Over when the answer of a charge may go out. It fails with LedgerUnavailable."""
        wait: Wait[None] = Wait()
        if offset <= self.safe_offset:
            wait.set(None)
        elif self.failure is not None:
            wait.fail(LedgerUnavailable(_REFUSAL, internal=f"journal: {self.failure}"))
        else:
            self._waiting.append((offset, wait))
        return wait

    async def reopen(self, answered: Sequence[CloseRecord] = ()) -> list[int] | None:
        """After a failure, go on in a new segment. None: the disk can't be written yet.

        The segment begins with what was answered and not synced, if there is any, and is there with
        all of it or not at all, so that no death in between loses it. The offsets of these records.
        """
        self._number += 1
        begins_at, records = self.synced_offset, [encode(record) for record in answered]
        try:
            segment = await asyncio.to_thread(self._begin_segment, begins_at, b"".join(records))
        except OSError as error:
            self.failure = error
            return None
        offsets = [begins_at + end for end in accumulate(map(len, records))]
        self._batch, self._ended, self._running = [], 0, 0
        self._queue = SimpleQueue()
        self._end = offsets[-1] if offsets else begins_at
        self.safe_offset = self.synced_offset = self._end
        self.failure = None
        self._start(segment)
        return offsets

    async def close(self) -> None:
        """Write and sync what has gathered, and close the file."""
        self._hand_over()
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # ── the writer's thread ─────────────────────────────────────────────────────────────────────
    def _begin_segment(self, begins_at: int, records: bytes = b"") -> Segment:
        return begin_segment(self._folder, self._epoch_id, self._number, begins_at, records)

    def _start(self, segment: Segment) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(segment, self._queue), name="journal", daemon=True
        )
        self._thread.start()

    def _run(self, segment: Segment, queue: _Queue) -> None:
        synced = segment.end
        sync_due_s = 0.0
        try:
            while True:
                wait_s = None
                if self._interval_s is not None and synced < segment.end:
                    wait_s = max(0.0, sync_due_s - time.monotonic())
                data, sync, is_last = _gather(queue, wait_s)
                segment.append(data)
                if self._interval_s is not None:
                    self._tell(self._on_safe, segment.end)
                    sync = synced < segment.end and time.monotonic() >= sync_due_s
                if sync or is_last:
                    begun_s = time.monotonic()
                    segment.sync()
                    took_s = time.monotonic() - begun_s
                    synced = segment.end
                    self._tell(self._on_synced, synced)
                    self.syncs.add(took_s)
                    sync_due_s = begun_s + took_s + (self._interval_s or 0.0)
                if is_last:
                    return
                if segment.is_full and synced == segment.end:
                    self._number += 1
                    full, segment = segment, self._begin_segment(synced)
                    full.close()
        except OSError as error:
            segment.cut_off(synced if self._interval_s is None else segment.end)
            self._tell(self._on_failed, error)
        finally:
            segment.close()

    def _tell(self, function: Callable[[T], None], value: T) -> None:
        try:
            self._loop.call_soon_threadsafe(function, value)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("journal.loop_closed")

    # ── back on the loop ────────────────────────────────────────────────────────────────────────
    def _on_synced(self, offset: int) -> None:
        self.synced_offset = offset
        self._on_safe(max(offset, self.safe_offset))
        self.on_synced()

    def _on_safe(self, offset: int) -> None:
        self.safe_offset = offset
        waiting = self._waiting
        while waiting and waiting[0][0] <= offset:
            waiting.popleft()[1].set(None)

    def _on_failed(self, error: OSError) -> None:
        log.error("journal.failed", error=str(error), epoch=self._epoch_id)
        self.failure = error
        while self._waiting:
            _, wait = self._waiting.popleft()
            wait.fail(LedgerUnavailable(_REFUSAL, internal=f"journal: {error}"))
        self.on_failed()


def _gather(queue: _Queue, wait_s: float | None) -> tuple[bytes, bool, bool]:
    """What has gathered, whether somebody waits for it, and whether it is the last.

    Waits for something, but ``wait_s`` at most where a sync is due then.
    """
    gathered: list[bytes] = []
    sync = False
    try:
        turn = queue.get(timeout=wait_s)
        while turn is not None:
            records, turn_syncs = turn
            gathered += records
            sync |= turn_syncs
            turn = queue.get_nowait()
    except Empty:
        return b"".join(gathered), sync, False
    return b"".join(gathered), sync, True


def _ignore() -> None:
    """Nobody listens yet."""
