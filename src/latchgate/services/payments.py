"""Payments: an owner pays at Stripe's page, and what Stripe then tells becomes postings.

``payment_events.py`` has what becomes of an event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

from latchgate.clock import HOUR_US
from latchgate.domain.errors import InvalidRequest, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.payments import SetupTold, cents_of, read_event
from latchgate.services import letters
from latchgate.services.audit_log import record
from latchgate.services.billing import check_page
from latchgate.services.payment_events import Done, do_event
from latchgate.services.stripe_api import CheckoutAsked, StripeAPI
from latchgate.services.throttles import Limit
from latchgate.storage import payments as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import Settings
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.mail import Mail
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

A = TypeVar("A")
R = TypeVar("R")

CHECKOUTS_BY_ACCOUNT = Limit(20, HOUR_US)
#: What is asked of Stripe at once; more waits.
CALLS_AT_ONCE = 4

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment; ``session_id`` is Stripe's name of it, by which the operator finds it there."""

    id: str
    account_id: str
    amount_nanos: int
    state: str
    created_us: int
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Checkout:
    """A payment that was just begun, and where to pay."""

    view: PaymentView
    url: str


class Payments:
    """Use cases over payments; off, and never asked, without Stripe's settings."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        throttles: Throttles,
        on_credit: Callable[[], None],
        on_debit: Callable[[str, str], Awaitable[None]],
        mail: Mail,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._throttles = throttles
        self._on_credit = on_credit
        self._on_debit = on_debit
        self._mail = mail
        self._api = StripeAPI(settings.stripe)
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)

    @property
    def api(self) -> StripeAPI:
        """Stripe; what it is asked goes by ``ask``."""
        return self._api

    @property
    def is_on(self) -> bool:
        """Whether owners can pay here."""
        return self._settings.stripe.is_on

    async def begin(self, identity: Identity, amount_nanos: int, caller: Caller) -> Checkout:
        """Begin a payment: where its owner pays. Nothing is credited until Stripe says so.

        Raises InvalidRequest, NotFound where nobody can pay, RateLimited, or UpstreamFailed.
        """
        if not self.is_on:
            raise NotFound("Nobody can pay here.")
        stripe = self._settings.stripe
        cents = cents_of(
            amount_nanos, least_nanos=stripe.amount_min_nanos, most_nanos=stripe.amount_max_nanos
        )
        self._throttles.count(CHECKOUTS_BY_ACCOUNT, identity.account_id)
        now_us = self._clock.now_us()
        view = PaymentView(new_id("pay", now_us), identity.account_id, amount_nanos, "open", now_us)
        await self._store.write(_insert, view, caller)
        base_url = self._settings.server.base_url
        asked = CheckoutAsked(
            payment_id=view.id,
            cents=cents,
            email=identity.email,
            success_url=f"{base_url}/billing?payment={view.id}",
            cancel_url=f"{base_url}/billing",
        )
        made = await self.ask(self._api.create_checkout, asked)
        await self._store.write(rows.keep_session, view.id, made.session_id)
        return Checkout(view, made.url)

    async def ask(self, call: Callable[[A], R], asked: A) -> R:
        """Ask Stripe, off the event loop. Raises what the call raises."""
        async with self._slots:
            return await asyncio.to_thread(call, asked)

    async def list_payments(
        self, account_id: str, *, before: str | None = None, limit: int = 50
    ) -> tuple[list[PaymentView], str | None]:
        """A page of payments, newest first, and the cursor of the next page, if there is one."""
        check_page(before, limit)
        found = await self._store.read(
            rows.list_payments, account_id, before=before, limit=limit + 1
        )
        page = [_view(row) for row in found[:limit]]
        return page, page[-1].id if len(found) > limit else None

    async def list_held(self, *, limit: int = 50) -> list[PaymentView]:
        """Payments of all accounts that are held for review, newest first."""
        check_page(None, limit)
        return [_view(row) for row in await self._store.read(rows.list_held, limit=limit)]

    async def find(self, account_id: str, payment_id: str) -> PaymentView | None:
        """One payment of an account."""
        row = await self._store.read(rows.find_payment, payment_id)
        return _view(row) if row is not None and row.account_id == account_id else None

    async def receive(self, body: bytes, signature: str) -> str:
        """Do what a webhook's event says, once. Returns what came of it.

        Raises NotFound where nobody can pay, and InvalidRequest.
        """
        if not self.is_on:
            raise NotFound("There is nothing at this address.")
        await asyncio.to_thread(self._api.check_signature, body, signature)
        try:
            event = read_event(json.loads(body))
        except (ValueError, RecursionError):
            raise InvalidRequest("The body is not valid JSON.", code="invalid_json") from None
        method = ""
        if isinstance(event.told, SetupTold):
            method = await self.ask(self._api.payment_method_of, event.told.setup_intent)
        done = await self._store.write(do_event, event, self._clock.now_us(), method)
        if done.outcome in {"mismatch", "unknown"}:
            log.warning("payment.held", told=event.id, type=event.type, outcome=done.outcome)
        await self.tell(done)
        return done.outcome

    async def tell(self, done: Done) -> None:
        """Tell the gateway, and a card's owner, what has come of an event."""
        if done.account_id is not None and done.budget_id is not None:
            self._on_credit()
            if done.took:
                await self._on_debit(done.account_id, done.budget_id)
        if done.refused_to:
            page = f"{self._settings.server.base_url}/billing"
            self._mail.post(letters.card_refused(done.refused_to, page))


def _insert(conn: Connection, view: PaymentView, caller: Caller) -> None:
    rows.insert_payment(
        conn,
        id=view.id,
        account_id=view.account_id,
        amount_nanos=view.amount_nanos,
        state=view.state,
        kind="checkout",
        created_us=view.created_us,
        changed_us=view.created_us,
    )
    record(
        conn,
        at_us=view.created_us,
        account_id=view.account_id,
        caller=caller,
        action="payment.begin",
        target=view.id,
        details={"amount_nanos": view.amount_nanos},
    )


def _view(row: AnyRow) -> PaymentView:
    return PaymentView(
        row.id, row.account_id, row.amount_nanos, row.state, row.created_us, row.session_id
    )
