"""Auto-top-ups: credit that is paid for by itself when it runs low, on its owner's terms.

Off until the owner has confirmed a card at Stripe. A payment's row is written before Stripe is
asked, with an id that makes asking twice one payment, so a crash or a lost answer costs nobody; a
card that is refused is not tried again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from latchgate.clock import HOUR_US, MINUTE_US
from latchgate.domain.auto_top_ups import TopUpTerms
from latchgate.domain.errors import LatchgateError, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.payments import NANOS_PER_CENT
from latchgate.domain.windows import get_zone, window_at
from latchgate.services.audit_log import record
from latchgate.services.payment_events import do_charge, refuse_card
from latchgate.services.stripe_api import CardRefused, ChargeAsked, SetupAsked
from latchgate.services.throttles import Limit
from latchgate.storage import accounts as account_rows
from latchgate.storage import auto_top_ups as rows
from latchgate.storage.payments import insert_payment, set_payment

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import Settings
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.payment_events import Done
    from latchgate.services.payments import Payments
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

SETUPS_BY_ACCOUNT = Limit(10, HOUR_US)
#: How often a serving process looks for credit that runs low.
LOOK_EVERY_S = 5
ACCOUNTS_PER_LOOK = 100
#: When a payment whose end is not known is asked for again, and when no more: Stripe knows an id
#: for a day at least.
RETRY_US = MINUTE_US
GIVE_UP_US = 12 * HOUR_US

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TopUpView:
    """An account's terms, and how they stand."""

    state: str
    terms: TopUpTerms
    paid_this_month_nanos: int


class AutoTopUps:
    """Use cases over auto-top-ups; off, and never asked, without Stripe's settings."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        throttles: Throttles,
        payments: Payments,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._throttles = throttles
        self._payments = payments
        self._stopping = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def find(self, account_id: str) -> TopUpView | None:
        """An account's terms; None where it never had any."""
        return await self._store.read(_find, account_id, self._clock.now_us())

    async def begin(self, identity: Identity, terms: TopUpTerms, caller: Caller) -> str:
        """Write terms that hold once their owner has confirmed a card; where he does so.

        Terms that held before do not any more. Raises InvalidRequest, NotFound where nobody can
        pay, RateLimited, or UpstreamFailed.
        """
        if not self._payments.is_on:
            raise NotFound("Nobody can pay here.")
        stripe = self._settings.stripe
        terms.check(least_nanos=stripe.amount_min_nanos, most_nanos=stripe.amount_max_nanos)
        self._throttles.count(SETUPS_BY_ACCOUNT, identity.account_id)
        now_us = self._clock.now_us()
        setup_id = new_id("atu", now_us)

        def transaction(conn: Connection) -> None:
            rows.replace_top_up(
                conn,
                identity.account_id,
                state="confirming",
                threshold_nanos=terms.threshold_nanos,
                amount_nanos=terms.amount_nanos,
                month_max_nanos=terms.month_max_nanos,
                setup_id=setup_id,
                customer=None,
                payment_method=None,
                changed_us=now_us,
            )
            _record(conn, identity.account_id, caller, "top_up.begin", terms.amount_nanos, now_us)

        await self._store.write(transaction)
        page = f"{self._settings.server.base_url}/billing"
        asked = SetupAsked(setup_id, identity.email, page, page)
        return (await self._payments.ask(self._payments.api.create_setup, asked)).url

    async def switch_off(self, account_id: str, caller: Caller) -> None:
        """Pay nothing by itself any more; the card is forgotten here."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            found = rows.find_top_up(conn, account_id)
            if found is None or found.state == "off":
                return
            rows.set_top_up(
                conn, account_id, state="off", customer=None, payment_method=None, changed_us=now_us
            )
            _record(conn, account_id, caller, "top_up.off", None, now_us)

        await self._store.write(transaction)

    def start(self) -> None:
        """Look after credit that runs low, for as long as the process serves."""
        if self._payments.is_on:
            self._looking = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """End that, behind the payment that is just being asked for."""
        self._stopping.set()
        if self._looking is not None:
            await self._looking

    async def _keep_looking(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - it is tried again at the next look
                log.warning("top_ups.failed", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._stopping.wait()

    async def look(self) -> None:
        """Begin payments for those whose credit runs low, and go on with those that are open."""
        now_us = self._clock.now_us()
        for account_id in await self._store.read(rows.list_due, limit=ACCOUNTS_PER_LOOK):
            await self._store.write(_claim, account_id, now_us)
        tried_before_us = now_us - RETRY_US
        waiting = await self._store.read(
            rows.list_open, tried_before_us=tried_before_us, limit=ACCOUNTS_PER_LOOK
        )
        for payment in waiting:
            if not self._stopping.is_set():
                await self._pay(payment)

    async def _pay(self, payment: AnyRow) -> None:
        now_us = self._clock.now_us()
        is_over = payment.created_us < now_us - GIVE_UP_US or payment.payment_method is None
        if is_over:
            await self._refuse(payment, now_us)
            return
        await self._store.write(_note_try, payment.id, now_us)
        asked = ChargeAsked(
            payment_id=payment.id,
            cents=payment.amount_nanos // NANOS_PER_CENT,
            customer=payment.customer,
            payment_method=payment.payment_method,
        )
        try:
            told = await self._payments.ask(self._payments.api.charge, asked)
        except CardRefused as refusal:
            log.info("top_up.refused", payment=payment.id, reason=str(refusal))
            await self._refuse(payment, now_us)
        except LatchgateError as failure:
            log.warning("top_up.waits", payment=payment.id, reason=failure.internal)
        else:
            await self._payments.tell(await self._store.write(do_charge, told, now_us))

    async def _refuse(self, payment: AnyRow, now_us: int) -> None:
        done: Done = await self._store.write(refuse_card, payment.account_id, payment.id, now_us)
        await self._payments.tell(done)


def _claim(conn: Connection, account_id: str, now_us: int) -> None:
    """Write the payment that an account's terms ask for, unless its month has paid enough."""
    found = rows.find_top_up(conn, account_id)
    if found is None or found.state != "on":
        return
    if _paid_this_month(conn, account_id, now_us) + found.amount_nanos > found.month_max_nanos:
        return
    insert_payment(
        conn,
        id=new_id("pay", now_us),
        account_id=account_id,
        amount_nanos=found.amount_nanos,
        state="open",
        kind="auto",
        created_us=now_us,
        changed_us=now_us,
    )


def _paid_this_month(conn: Connection, account_id: str, now_us: int) -> int:
    zone = get_zone(account_rows.get_time_zone(conn, account_id))
    month = window_at("", "month", zone, now_us)
    return rows.sum_paid(conn, account_id, since_us=month.starts_us)


def _find(conn: Connection, account_id: str, now_us: int) -> TopUpView | None:
    found = rows.find_top_up(conn, account_id)
    if found is None:
        return None
    terms = TopUpTerms(found.threshold_nanos, found.amount_nanos, found.month_max_nanos)
    return TopUpView(found.state, terms, _paid_this_month(conn, account_id, now_us))


def _note_try(conn: Connection, payment_id: str, now_us: int) -> None:
    set_payment(conn, payment_id, tried_us=now_us)


def _record(
    conn: Connection,
    account_id: str,
    caller: Caller,
    action: str,
    amount_nanos: int | None,
    at_us: int,
) -> None:
    details: dict[str, object] = {} if amount_nanos is None else {"amount_nanos": amount_nanos}
    record(conn, at_us=at_us, account_id=account_id, caller=caller, action=action, details=details)
