"""Credit that is paid for by itself: on its owner's terms, once, and never beyond them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from latchgate.clock import HOUR_US, MINUTE_US
from latchgate.domain.people import CLI
from latchgate.services.auto_top_ups import GIVE_UP_US, AutoTopUps
from tests.support.management import PASSWORD, error_of
from tests.support.shop import COMPLETED, WEBHOOK, Shop, open_shop
from tests.support.stripe_server import event, signed

pytestmark = pytest.mark.anyio
USD = 1_000_000_000
PATH = "/api/billing/auto-top-up"
TERMS = {"threshold_usd": "10.00", "amount_usd": "20.00", "month_max_usd": "50.00"}


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """An owner with $5.00."""
    async with open_shop(tmp_path) as opened:
        yield opened


@pytest.fixture
async def either_shop(tmp_path: Path, database_url: str) -> AsyncIterator[Shop]:
    """The same on SQLite, then on PostgreSQL."""
    async with open_shop(tmp_path, database_url) as opened:
        yield opened


def _service(shop: Shop) -> AutoTopUps:
    return shop.management.world.services.auto_top_ups


async def _terms(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.owner.get(PATH)).json()
    return found


async def _confirmed(shop: Shop, **changed: str) -> None:
    """The owner confirms a card for his terms."""
    begun = await shop.owner.put(PATH, json={**TERMS, **changed})
    assert begun.status_code == 200, begun.text
    session_id = begun.json()["url"].rpartition("/")[2]
    assert await shop.tell(event(COMPLETED, shop.stripe.confirm(session_id))) == "confirmed"


async def _later(shop: Shop, us: int) -> None:
    """Let time have gone by since payments were begun, tried and changed."""

    def transaction(conn: Connection) -> None:
        for column in ("created_us", "changed_us", "tried_us"):
            conn.execute(text(f"UPDATE payments SET {column} = {column} - {us}"))

    await shop.management.world.store.write(transaction)


async def _take(shop: Shop, nanos: int) -> None:
    account_id = (await shop.owner.get("/api/session")).json()["account_id"]
    billing = shop.management.world.services.billing
    await billing.correct(account_id, -nanos, reason="Stands for what was spent", caller=CLI)


async def test_it_is_off_until_a_card_is_confirmed_and_then_pays_what_the_terms_say(
    either_shop: Shop,
) -> None:
    shop = either_shop
    assert (await _terms(shop))["state"] == "off"
    begun = await shop.owner.put(PATH, json=TERMS)
    assert shop.stripe.asked[-1]["mode"] == "setup"
    assert (await _terms(shop))["state"] == "confirming"
    await _service(shop).look()
    assert shop.stripe.charges == {}
    session = shop.stripe.confirm(begun.json()["url"].rpartition("/")[2])
    assert await shop.tell(event(COMPLETED, session)) == "confirmed"
    assert await shop.tell(event(COMPLETED, session)) == "no_change"
    assert (await _terms(shop))["state"] == "on"
    await _service(shop).look()
    (charge,) = shop.stripe.charges.values()
    assert (charge["amount"], charge["currency"], charge["customer"]) == (2000, "usd", "cus_ada")
    assert charge["payment_method"] == f"pm_of_{session['setup_intent']}"
    assert await shop.kinds() == [("payment", "20.00")]
    assert (await _terms(shop))["paid_this_month_nanos"] == 20 * USD
    # Stripe tells of it as well, and there is enough by now.
    told = event("payment_intent.succeeded", charge)
    assert [await shop.tell(told), await shop.tell(told)] == ["no_change", "done_before"]
    await _service(shop).look()
    assert await shop.credit_usd() == "25.00"
    assert await shop.findings() == ()


async def test_a_month_is_never_charged_more_than_its_most(either_shop: Shop) -> None:
    shop = either_shop
    await _confirmed(shop)
    for _ in range(4):
        await _service(shop).look()
        await _take(shop, 20 * USD)
    assert [kind for kind, _ in await shop.kinds()].count("payment") == 2  # 60 would be above 50
    assert (await _terms(shop))["paid_this_month_nanos"] == 40 * USD
    await _later(shop, 32 * 24 * HOUR_US)
    await _service(shop).look()
    assert [kind for kind, _ in await shop.kinds()].count("payment") == 3
    assert await shop.findings() == ()


async def test_a_lost_answer_is_asked_for_again_and_paid_once(either_shop: Shop) -> None:
    shop = either_shop
    await _confirmed(shop)
    shop.stripe.loses_answers = True
    await _service(shop).look()
    await _service(shop).look()  # not at once again
    assert (len(shop.stripe.charges), await shop.kinds()) == (1, [])
    shop.stripe.loses_answers = False
    await _later(shop, MINUTE_US + 1)
    await _service(shop).look()
    assert (len(shop.stripe.charges), await shop.kinds()) == (1, [("payment", "20.00")])
    assert await shop.findings() == ()


async def test_a_lost_answer_is_also_found_by_the_event(shop: Shop) -> None:
    await _confirmed(shop)
    shop.stripe.loses_answers = True
    await _service(shop).look()
    (charge,) = shop.stripe.charges.values()
    await _later(shop, GIVE_UP_US + 1)
    await _service(shop).look()
    assert (await _terms(shop))["state"] == "failed"
    assert await shop.tell(event("payment_intent.succeeded", charge)) == "paid"
    assert await shop.kinds() == [("payment", "20.00")]


@pytest.mark.parametrize("why", ["card_declined", "authentication_required"])
async def test_a_card_that_is_refused_is_not_tried_again_and_its_owner_gets_a_mail(
    either_shop: Shop, why: str
) -> None:
    shop = either_shop
    await _confirmed(shop)
    shop.stripe.declines = why
    await _service(shop).look()
    assert (await _terms(shop))["state"] == "failed"
    asked = len(shop.stripe.asked)
    await _service(shop).look()
    assert len(shop.stripe.asked) == asked
    assert "Your credit could not be topped up" in await shop.management.letters()
    page = (await shop.owner.get("/billing")).text
    assert "Your card was refused" in page
    shop.stripe.declines = ""
    await _confirmed(shop)
    await _service(shop).look()
    assert await shop.kinds() == [("payment", "20.00")]


async def test_a_late_charge_is_waited_for_and_may_fail(shop: Shop) -> None:
    await _confirmed(shop)
    shop.stripe.loses_answers = True
    await _service(shop).look()
    (charge,) = shop.stripe.charges.values()
    charge.update(status="processing", amount_received=0)
    shop.stripe.loses_answers = False
    await _later(shop, MINUTE_US + 1)
    await _service(shop).look()
    await _service(shop).look()  # one at a time
    assert (len(shop.stripe.charges), await shop.kinds()) == (1, [])
    failed = {**charge, "status": "requires_payment_method"}
    assert await shop.tell(event("payment_intent.payment_failed", failed)) == "failed"
    assert (await _terms(shop))["state"] == "failed"
    assert await shop.findings() == ()


async def test_another_amount_than_the_terms_say_is_held(shop: Shop) -> None:
    await _confirmed(shop)
    shop.stripe.loses_answers = True
    await _service(shop).look()
    (charge,) = shop.stripe.charges.values()
    told = event("payment_intent.succeeded", {**charge, "amount_received": 2001})
    assert await shop.tell(told) == "mismatch"
    assert await shop.kinds() == []


async def test_a_checkouts_own_intent_credits_nothing(shop: Shop) -> None:
    begun = await shop.begin()
    session = shop.stripe.pay(begun["id"])
    intent = {
        "id": session["payment_intent"],
        "amount_received": 2000,
        "currency": "usd",
        "status": "succeeded",
        "metadata": {"payment": begun["id"]},
    }
    assert await shop.tell(event("payment_intent.succeeded", intent)) == "ignored"
    assert await shop.tell(event(COMPLETED, session)) == "paid"
    assert await shop.kinds() == [("payment", "20.00")]


async def test_switched_off_or_suspended_nothing_is_paid(shop: Shop) -> None:
    await _confirmed(shop)
    accounts = shop.management.world.services.accounts
    await accounts.suspend("ada@example.com", CLI)
    await _service(shop).look()
    assert shop.stripe.charges == {}
    await accounts.resume("ada@example.com", CLI)
    assert (await shop.owner.delete(PATH)).status_code == 204
    assert (await _terms(shop))["state"] == "off"
    await _service(shop).look()
    assert shop.stripe.charges == {}


async def test_terms_of_an_older_confirmation_do_not_hold(shop: Shop) -> None:
    older = (await shop.owner.put(PATH, json=TERMS)).json()["url"].rpartition("/")[2]
    await shop.owner.put(PATH, json={**TERMS, "amount_usd": "30.00"})
    assert await shop.tell(event(COMPLETED, shop.stripe.confirm(older))) == "unknown"
    assert (await _terms(shop))["state"] == "confirming"


async def test_when_stripe_cannot_say_which_card_it_is_asked_to_tell_again(shop: Shop) -> None:
    begun = (await shop.owner.put(PATH, json=TERMS)).json()["url"].rpartition("/")[2]
    told = event(COMPLETED, shop.stripe.confirm(begun))
    shop.stripe.failing = [500, 500, 500]
    body = json.dumps(told).encode()
    refused = await shop.courier().post(WEBHOOK, content=body, headers=signed(body))
    assert (refused.status_code, error_of(refused)["code"]) == (502, "payment_service_failed")
    assert await shop.tell(told) == "confirmed"


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"threshold_usd": "0"}, "threshold_usd"),
        ({"threshold_usd": "20.01"}, "threshold"),
        ({"amount_usd": "4.99", "threshold_usd": "1"}, "amount"),
        ({"amount_usd": "20.001"}, "amount"),
        ({"month_max_usd": "19.99"}, "month_max"),
        ({"month_max_usd": "-1"}, "month_max_usd"),
    ],
)
async def test_terms_that_cannot_be_are_refused(
    shop: Shop, changed: dict[str, str], param: str
) -> None:
    answer = await shop.owner.put(PATH, json={**TERMS, **changed})
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)
    assert (await _terms(shop))["state"] == "off"


async def test_the_page_keeps_what_was_typed_and_leads_to_stripe(shop: Shop) -> None:
    typed = {"threshold": "10", "top_up": "3", "month_max": "50"}
    refused = await shop.owner.post("/billing/auto", data=typed)
    assert refused.status_code == 400
    for value in ("10", "3", "50"):
        assert f'value="{value}"' in refused.text
    assert refused.text.count("You can pay $5.00 to $1000.00 at once.") == 1
    begun = await shop.owner.post("/billing/auto", data={**typed, "top_up": "20"})
    assert begun.headers["refresh"].startswith(f"0; url={shop.stripe.url}/pay/")
    assert "Not confirmed yet" in (await shop.owner.get("/billing")).text
    off = await shop.owner.post("/billing/auto/off")
    assert (off.status_code, off.headers["location"]) == (303, "/billing")


async def test_an_older_login_confirms_who_it_is_before_money_flows(shop: Shop) -> None:
    def age(conn: Connection) -> None:
        conn.execute(text(f"UPDATE sessions SET confirmed_us = confirmed_us - {HOUR_US}"))

    await shop.management.world.store.write(age)
    refused = await shop.owner.put(PATH, json=TERMS)
    assert (refused.status_code, error_of(refused)["code"]) == (403, "reauthentication_required")
    typed = {"threshold": "10", "top_up": "20", "month_max": "50"}
    asked = await shop.owner.post("/billing/auto", data=typed)
    assert asked.status_code == 403
    assert shop.stripe.asked == []
    shown = {"confirm_to": "/billing/auto", "confirm_method": "post", "confirm_password": PASSWORD}
    moved = await shop.owner.post("/confirm", data={**typed, **shown})
    assert (moved.status_code, moved.headers["location"]) == (307, "/billing/auto")
    begun = await shop.owner.post("/billing/auto", data=typed)
    assert begun.headers["refresh"].startswith(f"0; url={shop.stripe.url}/pay/")


async def test_a_serving_process_looks_by_itself_and_stops(shop: Shop) -> None:
    await _confirmed(shop)
    _service(shop).start()
    while not shop.stripe.charges:  # noqa: ASYNC110 - Stripe tells nobody
        await asyncio.sleep(0.01)
    await _service(shop).stop()
    assert await shop.kinds() == [("payment", "20.00")]
