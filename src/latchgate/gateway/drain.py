"""The drain: durable charges go from the journal to the database, in order, each exactly once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING

import structlog

from latchgate.storage.charges import post_calls
from latchgate.storage.journal_file import CloseRecord

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.gateway.journal import Journal
    from latchgate.gateway.purse import Purse
    from latchgate.storage.store import Store

log = structlog.get_logger()

#: How long charges may gather before they are posted, when no page asks for them; and how many,
#: which is also how many are posted at once.
PERIOD_S = 1.0
BATCH_CALLS_MAX = 2000
RETRY_S = 1.0


class Drain:
    """Posts what the journal has synced; ``flush`` makes the database's figures exact."""

    def __init__(
        self, store: Store, clock: Clock, journal: Journal, purse: Purse, epoch_id: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal
        self._purse = purse
        self._epoch_id = epoch_id
        self._queue: deque[tuple[int, CloseRecord]] = deque()
        self._posted_offset = 0
        #: A batch whose posting has failed. It may have landed all the same: it is tried again as
        #: it was, so that the database can tell.
        self._tried: list[tuple[int, CloseRecord]] = []
        self._posting = asyncio.Lock()
        self._wake = asyncio.Event()
        #: So many charges have gathered that they are posted at once, as they do on ``close``.
        self._is_full = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: Called with the calls of each batch that is posted.
        self.on_posted: list[Callable[[list[CloseRecord]], None]] = []
        #: How long the database took for the last batch, in seconds.
        self.last_post_s = 0.0
        journal.on_synced = self._wake.set
        journal.on_failed = self._on_journal_failed

    def start(self) -> None:
        """Post in the background from now on."""
        self._task = asyncio.create_task(self._run())

    def add(self, offset: int, record: CloseRecord) -> None:
        """Queue a close record that the journal has taken; it is posted once it is synced."""
        self._queue.append((offset, record))
        if len(self._queue) == BATCH_CALLS_MAX:
            self._is_full.set()

    def _on_journal_failed(self) -> None:
        """The calls that still waited are void, and so are their charges."""
        self._take_behind(self._journal.safe_offset)

    async def reopen_journal(self) -> bool:
        """Let the failed journal go on, with what was answered and the disk has lost.

        False: the disk can't be written yet.
        """
        lost = self._take_behind(self._journal.synced_offset)
        offsets = await self._journal.reopen([record for _, record in lost])
        if offsets is None:
            self._queue.extend(lost)
            return False
        self._queue.extend(zip(offsets, (record for _, record in lost), strict=True))
        self._wake.set()
        return True

    def _take_behind(self, offset: int) -> list[tuple[int, CloseRecord]]:
        taken: list[tuple[int, CloseRecord]] = []
        while self._queue and self._queue[-1][0] > offset:
            taken.append(self._queue.pop())
        return taken[::-1]

    @property
    def waiting_calls(self) -> int:
        """How many charges are not in the database yet."""
        return len(self._queue)

    @property
    def unsynced_calls(self) -> int:
        """How many of them are not on the disk yet."""
        synced = self._journal.synced_offset
        return sum(1 for _ in takewhile(lambda queued: queued[0] > synced, reversed(self._queue)))

    @property
    def oldest_ended_us(self) -> int | None:
        """When the first of them ended; None when there is none."""
        return self._queue[0][1].ended_us if self._queue else None

    async def flush(self) -> None:
        """Post every charge that is synced by now. Raises what the database raises.

        What is synced meanwhile stays for the next time: under load there would be no end, and each
        batch as small as the last one was quick.
        """
        until = self._journal.synced_offset
        async with self._posting:
            while batch := self._tried or self._next_batch(until):
                await self._post(batch)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - the charges stay queued and in the journal
                log.warning("drain.failed", error=str(error), waiting=len(self._queue))
                self._wake.set()
                await self._pause(RETRY_S, self._stopping)
            self._is_full.clear()
            if len(self._queue) < BATCH_CALLS_MAX and not self._stopping.is_set():
                await self._pause(PERIOD_S, self._is_full)

    async def _pause(self, seconds: float, until: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()

    def _next_batch(self, until: int) -> list[tuple[int, CloseRecord]]:
        batch: list[tuple[int, CloseRecord]] = []
        for offset, record in self._queue:
            if offset > until or len(batch) == BATCH_CALLS_MAX:
                break
            batch.append((offset, record))
        return batch

    async def _post(self, batch: list[tuple[int, CloseRecord]]) -> None:
        self._tried = batch
        to_offset, begun_s = batch[-1][0], time.monotonic()
        records = [record for _, record in batch]
        spent = await self._store.write(
            post_calls,
            records,
            epoch_id=self._epoch_id,
            from_offset=self._posted_offset,
            to_offset=to_offset,
            now_us=self._clock.now_us(),
        )
        self._tried = []
        self.last_post_s = time.monotonic() - begun_s
        self._posted_offset = to_offset
        for _ in batch:
            self._queue.popleft()
        self._purse.on_posted(spent)
        for tell in self.on_posted:
            tell(records)

    async def close(self) -> None:
        """Stop, and post what is left.

        The task is asked to end, never cancelled: a posting whose outcome nobody hears of would be
        posted again.
        """
        self._stopping.set()
        self._is_full.set()
        self._wake.set()
        if self._task is not None:
            await self._task
        await self.flush()
