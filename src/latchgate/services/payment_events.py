"""What becomes of a payment service's events.

They come late, twice and in any order, so each is done once by its id, and what it tells is written
as a state that only ever moves forward. ``_settle`` then posts what the states ask for and what is
not posted yet; whatever the order, the postings add up to the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.ids import new_id
from latchgate.domain.payments import (
    CURRENCY,
    NANOS_PER_CENT,
    ChargeTold,
    CheckoutTold,
    Event,
    ReversalTold,
    SetupTold,
)
from latchgate.domain.people import Caller
from latchgate.services.audit_log import record
from latchgate.storage import auto_top_ups as top_ups
from latchgate.storage import payments as rows
from latchgate.storage.budgets import get_credit_budget
from latchgate.storage.ledger import post_credit
from latchgate.storage.monthly_statements import find_holder

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.storage.statements import AnyRow

STRIPE = Caller(actor="stripe")
#: States that a payment may still leave.
_RUNNING = ("open", "pending", "failed", "expired")
_NOTES = {
    ("payment_refund", False): "Paid back to you",
    ("payment_refund", True): "The payment back to you failed: the credit is yours again",
    ("dispute", False): "Disputed: your bank has taken the payment back",
    ("dispute", True): "The dispute is over: the credit is yours again",
}


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an event, and whose credit has moved by it."""

    outcome: str
    account_id: str | None = None
    budget_id: str | None = None
    took: bool = False
    #: Whose card was refused while nobody was present: he gets a mail.
    refused_to: str = ""


def do_event(conn: Connection, event: Event, now_us: int, payment_method: str = "") -> Done:
    """One event, in one transaction with the postings that come of it.

    ``payment_method`` is the card that was kept, where the event tells that one was.
    """
    if not rows.note_event(conn, event.id, event.type, outcome="new", now_us=now_us):
        return Done("done_before")
    match event.told:
        case CheckoutTold():
            done = _checkout(conn, event.told, now_us)
        case ReversalTold():
            done = _reversal(conn, event.told, now_us)
        case ChargeTold():
            done = do_charge(conn, event.told, now_us)
        case SetupTold():
            done = _setup(conn, event.told, payment_method, now_us)
        case _:
            done = Done("ignored")
    rows.set_outcome(conn, event.id, done.outcome)
    return done


def _checkout(conn: Connection, told: CheckoutTold, now_us: int) -> Done:
    payment = rows.find_payment(conn, told.payment_id)
    if payment is None:
        return Done("unknown")  # another shop's, on the same account of Stripe's
    if payment.state not in _RUNNING:
        return Done("no_change")
    if told.state != "paid":
        if payment.state == "open" or (payment.state == "pending" and told.state == "failed"):
            rows.set_payment(conn, payment.id, state=told.state, changed_us=now_us)
            return Done(told.state)
        return Done("no_change")
    if payment.kind != "checkout" or payment.session_id not in {None, told.session_id}:
        return _hold(conn, payment, now_us)
    rows.set_payment(conn, payment.id, session_id=told.session_id)
    return _credit(conn, payment, told, now_us)


def do_charge(conn: Connection, told: ChargeTold, now_us: int) -> Done:
    """What became of a payment that nobody was present at, by event or by answer."""
    payment = rows.find_payment(conn, told.payment_id)
    if payment is None or payment.kind != "auto":
        return Done("ignored")  # a checkout's own event tells of it
    if payment.state not in _RUNNING:
        return Done("no_change")
    if told.state == "paid":
        return _credit(conn, payment, told, now_us)
    if payment.state == told.state or (payment.state == "failed" and told.state == "pending"):
        return Done("no_change")
    rows.set_payment(conn, payment.id, state=told.state, changed_us=now_us)
    if told.state == "pending":
        return Done("pending")
    return refuse_card(conn, payment.account_id, payment.id, now_us)


def refuse_card(conn: Connection, account_id: str, payment_id: str, now_us: int) -> Done:
    """A card was refused: it is not tried again, and its owner is told."""
    rows.set_payment(conn, payment_id, state="failed", changed_us=now_us)
    found = top_ups.find_top_up(conn, account_id)
    if found is None or found.state != "on":
        return Done("failed")
    top_ups.set_top_up(conn, account_id, state="failed", changed_us=now_us)
    record(
        conn,
        at_us=now_us,
        account_id=account_id,
        caller=STRIPE,
        action="top_up.failed",
        target=payment_id,
    )
    return Done("failed", refused_to=find_holder(conn, account_id))


def _setup(conn: Connection, told: SetupTold, payment_method: str, now_us: int) -> Done:
    """An owner has confirmed his terms: from now on they hold."""
    found = top_ups.find_by_setup(conn, told.setup_id)
    if found is None:
        return Done("unknown")
    if found.state != "confirming" or not payment_method:
        return Done("no_change")
    top_ups.set_top_up(
        conn,
        found.account_id,
        state="on",
        customer=told.customer,
        payment_method=payment_method,
        changed_us=now_us,
    )
    record(
        conn,
        at_us=now_us,
        account_id=found.account_id,
        caller=STRIPE,
        action="top_up.on",
        details={"amount_nanos": found.amount_nanos},
    )
    return Done("confirmed")


def _hold(conn: Connection, payment: AnyRow, now_us: int) -> Done:
    rows.set_payment(conn, payment.id, state="review", changed_us=now_us)
    return Done("mismatch")


def _credit(
    conn: Connection, payment: AnyRow, told: CheckoutTold | ChargeTold, now_us: int
) -> Done:
    """Credit a payment, if what was paid is what was asked for and pays for nothing else."""
    is_as_asked = (
        told.cents * NANOS_PER_CENT == payment.amount_nanos
        and told.currency == CURRENCY
        and told.payment_intent
        and rows.find_by_intent(conn, told.payment_intent) is None
    )
    if not is_as_asked:
        return _hold(conn, payment, now_us)
    posting_id = _post(conn, payment.account_id, payment.amount_nanos, "payment", "Stripe", now_us)
    rows.set_payment(
        conn,
        payment.id,
        state="paid",
        payment_intent=told.payment_intent,
        posting_id=posting_id,
        changed_us=now_us,
    )
    return _settle(conn, told.payment_intent, "paid", now_us)


def _reversal(conn: Connection, told: ReversalTold, now_us: int) -> Done:
    amount_nanos = told.cents * NANOS_PER_CENT
    if told.cents <= 0 or told.currency != CURRENCY:
        return Done("mismatch")
    rows.insert_reversal(
        conn,
        id=told.id,
        kind=told.kind,
        payment_intent=told.payment_intent,
        amount_nanos=amount_nanos,
        is_returned=0,
        created_us=now_us,
    )
    known = rows.find_reversal(conn, told.id)
    if known is None or (known.amount_nanos, known.kind, known.payment_intent) != (
        amount_nanos,
        told.kind,
        told.payment_intent,
    ):
        return Done("mismatch")
    if told.is_returned:
        rows.set_reversal(conn, told.id, is_returned=1)
    return _settle(conn, told.payment_intent, told.kind, now_us)


def _settle(conn: Connection, payment_intent: str, outcome: str, now_us: int) -> Done:
    """Post what a paid payment's reversals ask for and what is not posted yet."""
    payment = rows.find_by_intent(conn, payment_intent)
    if payment is None:
        return Done("waits")  # for its payment, which may never come: another shop's
    account_id, took = payment.account_id, False
    for reversal in rows.list_reversals(conn, payment_intent):
        if reversal.amount_nanos > payment.amount_nanos:
            outcome = "mismatch"
            continue
        posted = {"taken_posting_id": reversal.taken_posting_id}
        if reversal.taken_posting_id is None and not reversal.is_returned:
            note = _NOTES[reversal.kind, False]
            amount_nanos = -reversal.amount_nanos
            posted["taken_posting_id"] = _post(
                conn, account_id, amount_nanos, reversal.kind, note, now_us
            )
            took = True
        elif (
            reversal.taken_posting_id is not None
            and reversal.is_returned
            and reversal.returned_posting_id is None
        ):
            note = _NOTES[reversal.kind, True]
            posted["returned_posting_id"] = _post(
                conn, account_id, reversal.amount_nanos, reversal.kind, note, now_us
            )
        rows.set_reversal(conn, reversal.id, **posted)
    return Done(outcome, account_id, get_credit_budget(conn, account_id), took)


def _post(
    conn: Connection, account_id: str, amount_nanos: int, kind: str, note: str, now_us: int
) -> str:
    posting_id = new_id("pst", now_us)
    post_credit(
        conn,
        account_id=account_id,
        amount_nanos=amount_nanos,
        kind=kind,
        note=note,
        actor=STRIPE.actor,
        now_us=now_us,
        posting_id=posting_id,
    )
    record(
        conn,
        at_us=now_us,
        account_id=account_id,
        caller=STRIPE,
        action=f"payment.{kind}",
        target=posting_id,
        details={"amount_nanos": amount_nanos},
    )
    return posting_id
