"""What Stripe tells becomes postings, once however often it is told, and in any order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from latchgate.domain.people import CLI
from tests.support.shop import COMPLETED, Shop, open_shop
from tests.support.stripe_server import dispute, event, refund

pytestmark = pytest.mark.anyio
USD = 1_000_000_000


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as opened:
        yield opened


@pytest.fixture
async def either_shop(tmp_path: Path, database_url: str) -> AsyncIterator[Shop]:
    """On SQLite, then on PostgreSQL."""
    async with open_shop(tmp_path, database_url) as opened:
        yield opened


async def test_an_event_that_is_delivered_again_or_at_once_credits_once(either_shop: Shop) -> None:
    """Row 135."""
    shop = either_shop
    begun = await shop.begin()
    session = shop.stripe.pay(begun["id"])
    told = event(COMPLETED, session)
    outcomes = await asyncio.gather(*(shop.tell(told) for _ in range(10)))
    assert sorted(outcomes) == ["done_before"] * 9 + ["paid"]
    others = await asyncio.gather(*(shop.tell(event(COMPLETED, session)) for _ in range(5)))
    assert others == ["no_change"] * 5
    assert await shop.kinds() == [("payment", "20.00")]
    assert await shop.findings() == ()


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"amount_total": 1999}, "mismatch"),
        ({"amount_total": 200000}, "mismatch"),
        ({"amount_total": "2000"}, "mismatch"),
        ({"amount_total": 2000.0}, "mismatch"),
        ({"amount_total": None}, "mismatch"),
        ({"currency": "eur"}, "mismatch"),
        ({"currency": "USD"}, "mismatch"),
        ({"id": "cs_test_other"}, "mismatch"),
        ({"payment_intent": None}, "mismatch"),
        ({"payment_status": "no_payment_required"}, "ignored"),
        ({"client_reference_id": None}, "ignored"),
        ({"client_reference_id": "order-4711"}, "unknown"),
    ],
    ids=str,
)
async def test_what_is_not_what_was_asked_for_gives_no_credit(
    shop: Shop, changed: dict[str, Any], outcome: str
) -> None:
    begun = await shop.begin()
    session = shop.stripe.pay(begun["id"])
    assert await shop.tell(event(COMPLETED, {**session, **changed})) == outcome
    assert await shop.kinds() == []
    assert await shop.state(begun["id"]) == ("review" if outcome == "mismatch" else "open")
    held = await shop.management.world.services.payments.list_held()
    assert [view.id for view in held] == ([begun["id"]] if outcome == "mismatch" else [])
    shown = (await shop.owner.get(f"/billing?payment={begun['id']}")).text
    assert ("is looked at" in shown) == (outcome == "mismatch")
    # Held for review means that no later event changes its mind.
    again = await shop.tell(event(COMPLETED, session))
    assert again == ("no_change" if outcome == "mismatch" else "paid")
    assert await shop.findings() == ()


async def test_one_payment_at_stripe_pays_for_one_of_ours(shop: Shop) -> None:
    first, second = await shop.begin(), await shop.begin()
    paid = shop.stripe.pay(first["id"])
    assert await shop.tell(event(COMPLETED, paid)) == "paid"
    other = shop.stripe.pay(second["id"])
    assert await shop.tell(
        event(COMPLETED, {**other, "payment_intent": paid["payment_intent"]})
    ) == ("mismatch")
    assert await shop.kinds() == [("payment", "20.00")]


async def test_a_late_payment_is_credited_when_it_arrives_and_one_that_fails_never(
    shop: Shop,
) -> None:
    late, failed = await shop.begin("10.00"), await shop.begin("11.00")
    for begun in (late, failed):
        unpaid = {**shop.stripe.pay(begun["id"]), "payment_status": "unpaid"}
        assert await shop.tell(event(COMPLETED, unpaid)) == "pending"
        shown = (await shop.owner.get(f"/billing?payment={begun['id']}")).text
        assert "is on its way" in shown
    arrived = shop.stripe.pay(late["id"])
    assert await shop.tell(event("checkout.session.async_payment_succeeded", arrived)) == "paid"
    missed = {**shop.stripe.pay(failed["id"]), "payment_status": "unpaid"}
    assert await shop.tell(event("checkout.session.async_payment_failed", missed)) == "failed"
    assert await shop.kinds() == [("payment", "10.00")]
    assert "is credited" in (await shop.owner.get(f"/billing?payment={late['id']}")).text
    shown = (await shop.owner.get(f"/billing?payment={failed['id']}")).text
    assert "did not go through" in shown


async def test_a_session_that_expires_is_over_unless_it_was_paid(shop: Shop) -> None:
    begun = await shop.begin()
    session = shop.stripe.pay(begun["id"])
    expired = {**session, "payment_status": "unpaid", "status": "expired"}
    assert await shop.tell(event("checkout.session.expired", expired)) == "expired"
    assert await shop.tell(event(COMPLETED, session)) == "paid"
    assert await shop.tell(event("checkout.session.expired", expired)) == "no_change"
    assert await shop.state(begun["id"]) == "paid"


async def test_refunds_are_taken_from_the_credit_and_come_back_when_they_fail(
    either_shop: Shop,
) -> None:
    shop = either_shop
    _, intent = await shop.paid()
    part = refund(intent, 500, "succeeded")
    assert await shop.tell(event("refund.created", part)) == "payment_refund"
    assert await shop.tell(event("refund.updated", part)) == "payment_refund"
    failed = refund(intent, 300, "pending")
    await shop.tell(event("refund.created", failed))
    await shop.tell(event("refund.failed", {**failed, "status": "failed"}))
    await shop.tell(event("charge.refund.updated", {**failed, "status": "failed"}))
    assert await shop.kinds() == [
        ("payment", "20.00"),
        ("payment_refund", "-5.00"),
        ("payment_refund", "-3.00"),
        ("payment_refund", "3.00"),
    ]
    assert await shop.credit_usd() == "20.00"
    assert await shop.findings() == ()


async def test_a_dispute_takes_the_credit_below_zero_if_it_was_spent_and_gives_it_back(
    shop: Shop,
) -> None:
    _, intent = await shop.paid("100.00")
    account_id = (await shop.owner.get("/api/session")).json()["account_id"]
    await shop.management.world.services.billing.correct(
        account_id, -60 * USD, reason="Stands for what was spent", caller=CLI
    )
    lost = dispute(intent, 10_000)
    assert await shop.tell(event("charge.dispute.created", lost)) == "ignored"
    assert await shop.tell(event("charge.dispute.funds_withdrawn", lost)) == "dispute"
    billing = (await shop.owner.get("/api/billing")).json()
    assert billing["available_usd"] == "-55.00"
    assert "below zero" in (await shop.owner.get("/billing")).text
    assert await shop.tell(event("charge.dispute.funds_reinstated", lost)) == "dispute"
    assert (await shop.owner.get("/api/billing")).json()["available_usd"] == "45.00"
    assert await shop.findings() == ()


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_the_order_the_postings_add_up_to_the_same(
    either_shop: Shop, seed: int
) -> None:
    """Row 135: delivered several times, and in any order."""
    shop = either_shop
    chance = random.Random(seed)  # noqa: S311 - an order, no secret
    begun = await shop.begin("50.00")
    session = shop.stripe.pay(begun["id"])
    intent = session["payment_intent"]
    kept, undone = refund(intent, 700, "pending"), refund(intent, 900, "pending")
    won, lost = dispute(intent, 1100), dispute(intent, 1300)
    told = [
        event(COMPLETED, {**session, "payment_status": "unpaid"}),
        event("checkout.session.async_payment_succeeded", session),
        event("refund.created", kept),
        event("refund.updated", {**kept, "status": "succeeded"}),
        event("refund.created", undone),
        event("refund.failed", {**undone, "status": "failed"}),
        event("charge.dispute.funds_withdrawn", won),
        event("charge.dispute.funds_reinstated", won),
        event("charge.dispute.funds_withdrawn", lost),
        event("refund.created", refund("pi_of_another_shop", 100, "succeeded")),
        event("invoice.paid", {"id": "in_1", "object": "invoice"}),
    ] * 2
    chance.shuffle(told)
    for one in told:
        await shop.tell(one)
    assert await shop.credit_usd() == "35.00"  # 5 as a gift, 50 paid, 7 and 13 taken
    kinds = await shop.kinds()
    assert kinds.count(("payment", "50.00")) == 1
    assert await shop.findings() == ()


async def test_a_refund_of_more_than_was_paid_or_in_other_money_changes_nothing(
    shop: Shop,
) -> None:
    _, intent = await shop.paid()
    too_much = refund(intent, 2001, "succeeded")
    foreign = {**refund(intent, 100, "succeeded"), "currency": "eur"}
    nothing = refund(intent, 0, "succeeded")
    for one in (too_much, foreign, nothing):
        assert await shop.tell(event("refund.created", one)) == "mismatch"
    known = refund(intent, 100, "succeeded")
    await shop.tell(event("refund.created", known))
    assert await shop.tell(event("refund.updated", {**known, "amount": 200})) == "mismatch"
    assert await shop.kinds() == [("payment", "20.00"), ("payment_refund", "-1.00")]
    assert await shop.findings() == ()


#: What is spoiled, and what the audit must say of it.
SPOILED = {
    "UPDATE payments SET amount_nanos = amount_nanos + 1": "payment pay_",
    "DELETE FROM payments": "is of a payment, and 0 payments have it",
    "UPDATE payment_reversals SET amount_nanos = amount_nanos - 1": "reversal re_",
    "UPDATE payment_reversals SET is_returned = 1": "reversal re_",
    "UPDATE payment_reversals SET taken_posting_id = NULL": "reversal re_",
    "DELETE FROM payment_reversals": "is of a payment_refund, and 0 payments have it",
    "UPDATE postings SET kind = 'gift' WHERE kind = 'payment'": "payment pay_",
    "UPDATE postings SET kind = 'dispute' WHERE kind = 'payment_refund'": "reversal re_",
}


@pytest.mark.parametrize("statement", SPOILED)
async def test_the_audit_finds_payments_that_were_tampered_with(
    either_shop: Shop, statement: str
) -> None:
    shop = either_shop
    _, intent = await shop.paid()
    await shop.tell(event("refund.created", refund(intent, 500, "succeeded")))
    assert await shop.findings() == ()

    def spoil(conn: Connection) -> None:
        assert conn.execute(text(statement)).rowcount == 1

    await shop.management.world.store.write(spoil)
    assert any(SPOILED[statement] in found for found in await shop.findings())
