"""The engine: one life of one gateway process, from its epoch's first record to its last."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from latchgate.clock import SECOND_US
from latchgate.domain.ids import new_id
from latchgate.gateway.admit import Admission, check_account
from latchgate.gateway.call import Books
from latchgate.gateway.calls import Bounds, Calls
from latchgate.gateway.counting import Counting
from latchgate.gateway.dialects.table import CHAT_ENDPOINT
from latchgate.gateway.drain import Drain
from latchgate.gateway.endpoints import Endpoints, Report, owns
from latchgate.gateway.inside import InsideRequest
from latchgate.gateway.journal import Journal
from latchgate.gateway.kept import KeptResponses, Retention
from latchgate.gateway.protocol import Door, GatewayProtocol, protocol_for
from latchgate.gateway.purse import Purse
from latchgate.gateway.rates import RateBook, RateTerms
from latchgate.observe.histogram import BEFORE_BUCKETS_S, Histogram
from latchgate.outbox import Outbox
from latchgate.storage.leases import end_epoch, open_epoch
from latchgate.upstream.connection import Deadlines
from latchgate.upstream.pool import Pool

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.domain.windows import Window
    from latchgate.gateway.directory import Directory, KeyEntry
    from latchgate.gateway.request import GatewayRequest
    from latchgate.storage.store import Store

log = structlog.get_logger()

#: Head deadline for slow writers, in seconds.
HEAD_TIMEOUT_S = 10.0
#: How often what no hold uses goes back to the budgets, in seconds.
IDLE_RETURN_S = 60.0
#: How often a journal that has failed is tried again, in seconds.
JOURNAL_RETRY_S = 1.0
#: How long it takes at the most until a key that has expired is noticed, in seconds: an expired
#: key's next call is refused at once, but its running streams wait for that.
EXPIRY_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine needs of the configuration."""

    journal_folder: Path
    journal_interval_ms: int | None
    deadlines: Deadlines
    connections_max: int
    queued_calls_max: int
    running_per_key_max: int
    hold_wait_s: float
    header_bytes_max: int
    body_bytes_max: int
    answer_bytes_max: int
    trusted_proxies: frozenset[str]
    rates: RateTerms
    retention: Retention = field(default_factory=Retention)


class Engine:
    """Purse, journal, drain and endpoints of one epoch."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        directory: Directory,
        settings: EngineSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._directory = directory
        self._settings = settings
        self.epoch_id = new_id("epo", clock.now_us())
        #: How often each code was refused.
        self.refusals: Counter[str] = Counter()
        #: How long calls took from their head to their upstream, in seconds.
        self.sent = Histogram(BEFORE_BUCKETS_S)
        self.purse = Purse(store, self.epoch_id, wait_s=settings.hold_wait_s)
        self._stopping = asyncio.Event()
        self._chores: tuple[asyncio.Task[None], ...] = ()

    async def start(
        self,
        *,
        activate: Callable[[KeyEntry], Awaitable[None]],
        report: Report,
    ) -> None:
        """Open the epoch and its journal; from here on calls can be let in."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        await self._store.write(open_epoch, epoch_id=self.epoch_id, now_us=self._clock.now_us())
        self.journal = Journal(
            settings.journal_folder,
            self.epoch_id,
            loop,
            interval_ms=settings.journal_interval_ms,
        )
        self.drain = Drain(self._store, self._clock, self.journal, self.purse, self.epoch_id)
        self.drain.start()
        self._outbox = Outbox(loop)
        self.pool = Pool(
            loop,
            settings.deadlines,
            self._outbox,
            connections_max=settings.connections_max,
            queued_calls_max=settings.queued_calls_max,
        )
        admission = Admission(
            self._clock,
            self._directory,
            self.purse,
            activate,
            RateBook(settings.rates),
            running_per_key_max=settings.running_per_key_max,
        )
        kept = KeptResponses(self._clock.now_us, settings.retention)
        self.calls = calls = Calls(
            admission,
            Books(self._clock, self.purse, self.journal, self.drain, self.sent),
            self.pool,
            Bounds(settings.body_bytes_max, settings.answer_bytes_max),
            kept,
        )
        counts = Counting(admission, self.pool, body_bytes_max=settings.body_bytes_max)
        self._endpoints = Endpoints(self._directory, admission, calls, counts, kept, report)
        await self._directory.load_models()
        self._chores = (
            asyncio.create_task(self._return_idle()),
            asyncio.create_task(self._mend_journal()),
            asyncio.create_task(self._end_expired()),
        )

    def protocol(self) -> type[GatewayProtocol]:
        """The protocol class for uvicorn."""
        return protocol_for(
            Door(
                clock=self._clock,
                outbox=self._outbox,
                handle=self._endpoints.handle,
                owns=owns,
                header_bytes_max=self._settings.header_bytes_max,
                body_bytes_max=self._settings.body_bytes_max,
                head_timeout_s=HEAD_TIMEOUT_S,
                trusted_proxies=self._settings.trusted_proxies,
                refusals=self.refusals,
            )
        )

    def condition(self) -> dict[str, object]:
        """Whether charges reach the disk and the database, for the doctor."""
        oldest_us, failure = self.drain.oldest_ended_us, self.journal.failure
        lag_us = 0 if oldest_us is None else max(0, self._clock.now_us() - oldest_us)
        return {
            "journal_failure": None if failure is None else str(failure),
            "waiting_calls": self.drain.waiting_calls,
            "drain_lag_s": lag_us / SECOND_US,
            "last_post_s": self.drain.last_post_s,
        }

    async def call_from_inside(
        self, account_id: str, body: bytes, *, app: str, request_id: str, ip: str
    ) -> InsideRequest:
        """A chat call of the console's, in an account's name, that is yet to begin.

        It runs as every call does, and no secret is needed. Raises Forbidden for a suspended
        account.
        """
        entry = await self._directory.get_playground(account_id)
        check_account(entry)

        def handle(request: GatewayRequest) -> Awaitable[None]:
            return self.calls.run(CHAT_ENDPOINT, request, entry)

        started_us = self._clock.now_us()
        return InsideRequest(
            handle, app=app, body=body, request_id=request_id, started_us=started_us, ip=ip
        )

    def held_nanos(self, window: Window) -> int:
        """What running calls hold in a window, and ended ones owe it that is not posted."""
        return self.purse.held_nanos(window)

    async def on_limits_changed(self, account_id: str, budget_id: str) -> None:
        """Let an account's changed limits bind the next call."""
        await self._directory.on_limits_changed(account_id)
        await self.purse.on_limit_changed(budget_id)

    async def _return_idle(self) -> None:
        while not self._stopping.is_set():
            await self._pause(IDLE_RETURN_S)
            try:
                await self.purse.return_idle()
            except Exception as error:  # noqa: BLE001 - what stays leased is tried again next time
                log.warning("purse.return_failed", error=str(error))

    async def _mend_journal(self) -> None:
        while not self._stopping.is_set():
            await self._pause(JOURNAL_RETRY_S)
            if self.journal.failure is not None and await self.drain.reopen_journal():
                log.warning("journal.reopened", epoch=self.epoch_id)

    async def _end_expired(self) -> None:
        while not self._stopping.is_set():
            self._directory.end_expired()
            left_s = (self._directory.expiries.next_us - self._clock.now_us()) / SECOND_US
            await self._pause(min(max(left_s, 0.0), EXPIRY_PERIOD_S))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def close(self) -> None:
        """Post what is left, give every lease back, end the epoch.

        Where the disk has failed and is not back, answers may stand in the journal that are written
        and not synced. Their epoch stays open, and the next start posts them as after a crash.
        """
        self._stopping.set()
        await asyncio.gather(*self._chores)
        self.pool.close()
        await self.journal.close()
        await self.drain.close()
        if self.drain.waiting_calls:
            log.error("engine.left_open", epoch=self.epoch_id, calls=self.drain.waiting_calls)
            return
        await self.purse.close()
        await self._store.write(end_epoch, epoch_id=self.epoch_id, now_us=self._clock.now_us())
