"""Alerts: an owner is told when a limit, or his credit, runs low.

They are written with the charge that passes a threshold (``storage/alerts.py``); here they are
shown, dismissed, and mailed. Their rows are the outbox: a mail is noted as tried before it is sent
and as sent behind it, so a crash between the two sends it again, with the same Message-ID, rather
than never (docs/decisions/0032-alerts.md).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from latchgate.clock import DAY_US, MINUTE_US
from latchgate.domain.alerts import AlertTerms
from latchgate.services.alert_words import letter, sentence
from latchgate.services.audit_log import record
from latchgate.storage import alerts as rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.services.billing import InFlight
    from latchgate.services.mail import Mail
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: How often a serving process looks for mails to send, and how many it sends at one look.
LOOK_EVERY_S = 2
MAILS_PER_LOOK = 100
#: A mail that could not be sent waits a minute, then two, four …, and is given up after a day.
FIRST_WAIT_US, WAIT_MAX_US, GIVE_UP_US = MINUTE_US, 60 * MINUTE_US, DAY_US

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert, as its owner sees it until he dismisses it or its window turns over."""

    id: str
    budget_id: str
    kind: str
    period: str
    threshold: int
    limit_nanos: int
    left_nanos: int
    created_us: int

    @property
    def sentence(self) -> str:
        """What it says."""
        return sentence(self.kind, self.period, self.threshold, self.limit_nanos, self.left_nanos)


class Alerts:
    """Use cases over alerts, and the task that mails them."""

    def __init__(
        self, store: Store, clock: Clock, in_flight: InFlight, mail: Mail, base_url: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight
        self._mail = mail
        self._base_url = base_url
        self._stopping = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def list_shown(self, account_id: str) -> list[AlertView]:
        """An account's alerts, the newest of each limit, exact: what is in flight is posted."""
        await self._in_flight.settle()
        found = await self._store.read(rows.list_shown, account_id, now_us=self._clock.now_us())
        views: dict[str, AlertView] = {}
        for row in found:
            view = AlertView(
                row.id,
                row.budget_id,
                row.kind,
                row.period,
                row.threshold,
                row.limit_nanos,
                row.left_nanos,
                row.created_us,
            )
            views.setdefault(row.budget_id, view)
        return list(views.values())

    async def dismiss(self, account_id: str, *, until_us: int | None = None) -> None:
        """Show no more what there is, or was at that moment."""
        now_us = self._clock.now_us()
        await self._store.write(
            rows.dismiss,
            account_id,
            until_us=now_us if until_us is None else until_us,
            now_us=now_us,
        )

    async def terms(self, account_id: str) -> AlertTerms:
        """What the account wants to be told."""
        return await self._store.read(rows.get_terms, account_id)

    async def set_terms(self, account_id: str, terms: AlertTerms, caller: Caller) -> None:
        """Choose thresholds, and what is mailed. Raises InvalidRequest.

        Where thresholds change, they count from what is spent by now.
        """
        terms.check()
        await self._in_flight.settle()
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            before = rows.get_terms(conn, account_id)
            if before == terms:
                return
            rows.set_terms(conn, account_id, terms)
            if _levels(before) != _levels(terms):
                rows.begin_anew(conn, account_id, now_us=now_us)
            record(
                conn,
                at_us=now_us,
                account_id=account_id,
                caller=caller,
                action="alerts.set",
                details={
                    "percents": list(terms.percents),
                    "credit_left_nanos": terms.credit_left_nanos,
                    "mails_limits": terms.mails_limits,
                    "mails_credit": terms.mails_credit,
                },
            )

        await self._store.write(transaction)

    # ── the mails ───────────────────────────────────────────────────────────────────────────────
    def start(self) -> None:
        """Send what waits, for as long as the process serves."""
        self._looking = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """End that, behind the mail that is just being sent."""
        self._stopping.set()
        if self._looking is not None:
            await self._looking

    async def _keep_looking(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - it is tried again at the next look
                log.warning("alerts.failed", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._stopping.wait()

    async def look(self) -> None:
        """Send the mails that are due, one after the other."""
        now_us = self._clock.now_us()
        waiting = await self._store.read(rows.list_waiting, now_us=now_us, limit=MAILS_PER_LOOK)
        for mail_id, group in groupby(waiting, key=lambda row: row.mail_id):
            if not self._stopping.is_set():
                await self._send(mail_id, list(group), now_us)

    async def _send(self, mail_id: str, alerts: Sequence[AnyRow], now_us: int) -> None:
        first = alerts[0]
        is_late = first.created_us < now_us - GIVE_UP_US
        if is_late or first.closed_us is not None:
            log.warning("alerts.given_up", mail=mail_id)
            await self._store.write(rows.end_mail, mail_id, now_us=now_us)
            return
        wait_us = min(FIRST_WAIT_US << min(first.mail_tries, 10), WAIT_MAX_US)
        await self._store.write(rows.note_try, mail_id, next_us=now_us + wait_us)
        try:
            await self._mail.deliver(letter(first.email, mail_id, alerts, self._base_url))
        except Exception as error:  # noqa: BLE001 - whatever it was, the mail waits for its next try
            log.warning("alerts.mail_waits", mail=mail_id, error=str(error))
            return
        await self._store.write(rows.end_mail, mail_id, now_us=self._clock.now_us())


def _levels(terms: AlertTerms) -> tuple[tuple[int, ...], int | None]:
    return terms.percents, terms.credit_left_nanos
