"""Payments by Stripe over the management API and the page, and nothing without its secrets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.management import error_of, running_console
from tests.support.shop import COMPLETED, WEBHOOK, Shop, open_shop
from tests.support.stripe_server import WEBHOOK_SECRET, event, signed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as opened:
        yield opened


async def test_a_payment_is_asked_of_stripe_and_credited_when_stripe_says_that_it_was_paid(
    shop: Shop,
) -> None:
    begun = await shop.begin("20.50")
    (asked,) = shop.stripe.asked
    assert begun["url"].startswith(f"{shop.stripe.url}/pay/cs_test_")
    assert asked["line_items[0][price_data][unit_amount]"] == "2050"
    assert asked["line_items[0][price_data][currency]"] == "usd"
    assert (asked["mode"], asked["customer_email"]) == ("payment", "ada@example.com")
    assert asked["client_reference_id"] == begun["id"]
    assert asked["success_url"].endswith(f"/billing?payment={begun['id']}")
    (headers,) = shop.stripe.headers
    assert headers["idempotency-key"] == begun["id"]
    assert "x-stripe-client-telemetry" not in headers
    assert (await shop.credit_usd(), await shop.state(begun["id"])) == ("5.00", "open")
    assert await shop.tell(event(COMPLETED, shop.stripe.pay(begun["id"]))) == "paid"
    assert (await shop.credit_usd(), await shop.state(begun["id"])) == ("25.50", "paid")
    assert await shop.kinds() == [("payment", "20.50")]
    assert await shop.findings() == ()


def _spoilt(body: bytes, how: str) -> tuple[bytes, dict[str, str]]:
    """A delivery that Stripe did not make."""
    headers = signed(body)
    match how:
        case "another secret":
            return body, signed(body, secret="whsec_" + "x" * 32)
        case "an empty secret":
            return body, signed(body, secret="")
        case "too old":
            return body, signed(body, at_s=int(time.time()) - 301)
        case "one byte of the body":
            return body.replace(b"2000", b"2001"), headers
        case "one byte more":
            return body + b" ", headers
        case "no signature":
            return body, {"content-type": "application/json"}
        case "another scheme":
            return body, signed(body, scheme="v0")
        case "junk":
            return body, {**headers, "stripe-signature": "t=now,v1=,,=,v1"}
        case "letters that are not ASCII":
            return body, {**headers, "stripe-signature": "t=1,v1=é"}
        case _:
            return b"\xff\xfe", signed(b"\xff\xfe")


@pytest.mark.parametrize(
    "how",
    [
        "another secret",
        "an empty secret",
        "too old",
        "one byte of the body",
        "one byte more",
        "no signature",
        "another scheme",
        "junk",
        "letters that are not ASCII",
        "bytes that are no text",
    ],
)
async def test_what_stripe_did_not_sign_is_refused(shop: Shop, how: str) -> None:
    """Row 134."""
    begun = await shop.begin()
    body = json.dumps(event(COMPLETED, shop.stripe.pay(begun["id"]))).encode()
    spoilt, headers = _spoilt(body, how)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = await shop.courier().post(WEBHOOK, content=spoilt, headers=raw)
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_signature")
    assert await shop.kinds() == []
    assert await shop.state(begun["id"]) == "open"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'{"object": "event"}',
        b'{"object": "event", "id": 1, "type": "x", "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_\\u0000", "type": "x", "data": {"object": {}}}',
        b'{"object": "event", "id": "evt_1", "type": "\\ud800", "data": {"object": {}}}',
        b"[" * 20_000,
    ],
)
async def test_what_is_signed_and_no_event_is_refused(shop: Shop, body: bytes) -> None:
    answer = await shop.courier().post(WEBHOOK, content=body, headers=signed(body))
    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("amount", "param"),
    [
        ("4.99", "amount"),
        ("1000.01", "amount"),
        ("20.001", "amount"),
        ("-20", "amount_usd"),
        ("twenty", "amount_usd"),
        ("2e1", "amount_usd"),
    ],
)
async def test_an_amount_that_cannot_be_paid_is_refused_before_stripe_is_asked(
    shop: Shop, amount: str, param: str
) -> None:
    answer = await shop.owner.post("/api/billing/payments", json={"amount_usd": amount})
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)
    assert shop.stripe.asked == []


async def test_when_stripe_fails_nothing_is_owed_and_its_words_stay_here(shop: Shop) -> None:
    shop.stripe.failing = [402]
    answer = await shop.owner.post("/api/billing/payments", json={"amount_usd": "20"})
    assert (answer.status_code, error_of(answer)["code"]) == (502, "payment_service_failed")
    assert "sk_test" not in answer.text
    shop.stripe.failing = [500]  # it is asked again, for the same session
    await shop.begin()
    keys = [headers["idempotency-key"] for headers in shop.stripe.headers]
    assert (keys[1], len(shop.stripe.sessions)) == (keys[2], 1)
    assert keys[0] != keys[1]


async def test_stripe_is_waited_for_off_the_event_loop(shop: Shop) -> None:
    """While Stripe takes its time, others are answered."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await shop.begin()
    ticking.cancel()
    assert ticks > 10


async def test_checkouts_are_counted(shop: Shop) -> None:
    for _ in range(20):
        await shop.begin()
    answer = await shop.owner.post("/api/billing/payments", json={"amount_usd": "20"})
    assert (answer.status_code, error_of(answer)["code"]) == (429, "too_many_attempts")


async def test_another_accounts_payment_is_not_shown(shop: Shop) -> None:
    begun, _ = await shop.paid()
    other = await shop.management.signed_up("grace@example.com", "10.9.9.9")
    assert (await other.get("/api/billing/payments")).json() == {"data": [], "next": None}
    assert "credited" not in (await other.get(f"/billing?payment={begun['id']}")).text


async def test_the_page_leads_to_stripe_without_a_form_that_leads_elsewhere(shop: Shop) -> None:
    page = (await shop.owner.get("/billing")).text
    assert "Pay by Stripe" in page
    refused = await shop.owner.post("/billing/pay", data={"amount": "3"})
    assert refused.status_code == 400
    assert 'value="3"' in refused.text
    assert "You can pay $5.00 to $1000.00 at once." in refused.text
    begun = await shop.owner.post("/billing/pay", data={"amount": "$25.00"})
    (session,) = shop.stripe.sessions.values()
    assert begun.status_code == 200
    assert begun.headers["refresh"] == f"0; url={session['url']}"
    assert f'href="{session["url"]}"' in begun.text
    assert "form-action 'self'" in begun.headers["content-security-policy"]


async def test_without_its_secrets_nothing_shows_and_nothing_answers(tmp_path: Path) -> None:
    """Row 133, as it was decided: there is no webhook where there is no secret."""
    async with running_console(tmp_path) as management:
        owner = await management.signed_up()
        assert "Stripe" not in (await owner.get("/billing")).text
        assert (await owner.post("/billing/pay", data={"amount": "20"})).status_code == 404
        document = (await owner.get("/api/openapi.json")).json()
        assert not [path for path in document["paths"] if "payment" in path or "stripe" in path]
        body = json.dumps(event(COMPLETED, {"id": "cs_1"})).encode()
        for path, secret in ((WEBHOOK, ""), (WEBHOOK, WEBHOOK_SECRET)):
            answer = await owner.post(path, content=body, headers=signed(body, secret=secret))
            missing = await owner.post("/api/nowhere", content=body, headers=signed(body))
            assert (answer.status_code, answer.json()) == (404, missing.json())
        assert (await owner.get(WEBHOOK)).status_code == 404
        assert (await owner.get("/api/billing/payments")).status_code == 404
