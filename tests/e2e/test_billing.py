"""Billing by hand: codes from paper, and what a month came to, with JavaScript and without."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from pypdf import PdfReader

from latchgate.app import open_world
from latchgate.clock import DAY_US
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings
from latchgate.domain.people import CLI
from latchgate.domain.usage import Usage
from latchgate.services.catalog import ModelTerms
from tests.e2e.test_pages import log_in, look, picture
from tests.e2e.test_story import PASSWORD, sign_up
from tests.support.months import Call, back_date, charge, give
from tests.support.server import ServerProcess
from tests.support.stripe_server import (
    SECRET_KEY,
    WEBHOOK_SECRET,
    StripeServer,
    event,
    signed,
)

__all__ = ["look"]

pytestmark = [pytest.mark.e2e, pytest.mark.model]
OWNER = "olive@example.com"
USD = 1_000_000_000


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_a_code_from_paper_becomes_credit_once(
    browser: Browser, server: ServerProcess, *, has_javascript: bool
) -> None:
    made = server.cli("code", "create", "2.50", "--number", "1", "--note", "Spring fair")
    (code,) = made["secrets"]
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    email = f"paper-{has_javascript}@example.com".lower()
    sign_up(page, server, email)
    page.get_by_role("link", name="Credit").first.click()
    field = page.get_by_role("textbox", name="Code")
    mistyped = code[:-1] + ("2" if code[-1] == "1" else "1")
    field.fill(mistyped)
    page.get_by_role("button", name="Redeem").click()
    expect(field).to_have_value(mistyped)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("a letter or a digit of it is wrong")).to_be_visible()

    field.fill(code.lower().replace("-", " "))
    field.press("Enter")
    expect(page.get_by_text("$2.50 of credit is yours.")).to_be_visible()
    row = page.get_by_role("region", name="Every posting").locator("tbody tr").first
    expect(row).to_contain_text("Code redeemed")
    expect(row).to_contain_text("Spring fair")
    assert server.cli("account", "show", email)["available_usd"] == "7.50"

    field.fill(code)
    page.get_by_role("button", name="Redeem").click()
    expect(page.get_by_text("You have redeemed this code already")).to_be_visible()
    assert server.cli("account", "show", email)["available_usd"] == "7.50"

    server.cli("credit", "correct", email, "--take", "9.00", "--reason", "Given by mistake")
    page.goto(f"{server.url}/billing")
    expect(page.get_by_text("Your account is $1.50 below zero.")).to_be_visible()
    expect(page.get_by_role("region", name="Every posting")).to_contain_text("Given by mistake")
    context.close()


async def _months_go_by(folder: Path) -> None:
    """An account whose calls and credit are those of months gone by."""
    settings = Settings(data_dir=folder, embedded=EmbeddedSettings(enabled=False))
    world = await open_world(settings)
    account = await world.services.accounts.create(
        OWNER, PASSWORD, is_operator=False, credit_nanos=5 * USD, actor="cli"
    )
    key = await world.services.api_keys.create(account.account_id, "Laptop", caller=CLI)
    catalog = world.services.catalog
    await catalog.add_upstream("lab", base_url="http://127.0.0.1:9/v1", api_key=None)
    for name in ("small-model", "a-model-with-quite-a-long-name-2026-01-31"):
        await catalog.add_model(
            name,
            upstream="lab",
            upstream_model=None,
            tier="standard",
            context_tokens=8192,
            output_tokens_max=1000,
            terms=ModelTerms(333_333, 20_000, 1_234_567),
        )
    began_us = world.clock.now_us() - 70 * DAY_US
    await world.store.write(back_date, account.account_id, began_us)
    batches = [
        (
            began_us + day * DAY_US,
            [
                Call("small-model", Usage(900 + day, 100, 200)),
                Call("a-model-with-quite-a-long-name-2026-01-31", Usage(12_000, 0, 3_000 + day)),
                Call("small-model", Usage(500, 0, 20), "priority"),
            ],
        )
        for day in range(1, 65)
    ]
    await charge(world.store, account.account_id, key.view.id, batches)
    for day, kind, nanos, note in (
        (3, "top_up", 20 * USD, "Bank transfer of 3 March, invoice 4711/2026"),
        (9, "refund", USD // 4, "The model was down for an hour"),
        (12, "correction", -USD, "Given twice by mistake"),
    ):
        at_us = began_us + day * DAY_US
        await world.store.write(give, account.account_id, at_us, kind, nanos, note)
    await world.close()


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server, without a model, on which somebody has been for some months."""
    data = tmp_path_factory.mktemp("old") / "data"
    with ThreadPoolExecutor(1) as thread:  # this one has the browser's event loop
        thread.submit(asyncio.run, _months_go_by(data)).result()
    with ServerProcess(data, "--no-embedded-model") as running:
        yield running


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_a_closed_month_is_read_and_taken_along(
    browser: Browser, old_server: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript, accept_downloads=True)
    page = context.new_page()
    log_in(page, old_server, OWNER)
    page.get_by_role("link", name="Statements").first.click()
    rows = page.get_by_role("region", name="Closed months").locator("tbody tr")
    assert rows.count() >= 2
    rows.last.get_by_role("link").first.click()
    expect(page.get_by_role("region", name="Usage by model")).to_contain_text("small-model")
    label = page.locator("h1 + p code").text_content() or ""
    with page.expect_download() as found:
        page.get_by_role("link", name="PDF").click()
    assert found.value.suggested_filename == f"statement-{label}.pdf"
    pages = PdfReader(found.value.path()).pages
    assert label in pages[0].extract_text()
    with page.expect_download() as found:
        page.get_by_role("link", name="CSV").click()
    assert found.value.suggested_filename == f"statement-{label}.csv"
    assert found.value.path().read_text().startswith("line,day,model")
    context.close()


def test_statements_fit_and_are_pictured(
    look: tuple[BrowserContext, str], old_server: ServerProcess, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    log_in(page, old_server, OWNER)
    page.goto(f"{old_server.url}/statements")
    picture(page, screenshots, f"statements-full-{name}")
    page.get_by_role("region", name="Closed months").locator("tbody tr a").nth(0).click()
    picture(page, screenshots, f"statement-{name}")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 794, "height": 1123})
    picture(page, screenshots, f"statement-printed-{name}")
    for hidden in ("nav.menu", "a.btn", ".who"):
        expect(page.locator(hidden).first).to_be_hidden()


@pytest.fixture(scope="module")
def paying_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ServerProcess, StripeServer]]:
    """A server, without a model, whose owners pay at a Stripe of ours."""
    with StripeServer() as stripe:
        settings = {
            "LATCHGATE_STRIPE_SECRET_KEY": SECRET_KEY,
            "LATCHGATE_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "LATCHGATE_STRIPE_API_BASE": stripe.url,
        }
        data = tmp_path_factory.mktemp("paying") / "data"
        with ServerProcess(data, "--no-embedded-model", **settings) as running:
            yield running, stripe


def _deliver(server: ServerProcess, told: dict[str, object]) -> None:
    body = json.dumps(told).encode()
    address = f"{server.url}/api/stripe/webhook"
    sent = urllib.request.Request(address, body, signed(body), method="POST")
    with urllib.request.urlopen(sent, timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_credit_is_paid_for_at_stripe(
    browser: Browser,
    paying_server: tuple[ServerProcess, StripeServer],
    *,
    has_javascript: bool,
) -> None:
    server, stripe = paying_server
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text))
    sign_up(page, server, f"payer-{has_javascript}@example.com".lower())
    page.get_by_role("link", name="Credit").first.click()
    amount = page.get_by_role("textbox", name="US dollars", exact=True)
    amount.fill("1")
    page.get_by_role("button", name="Pay by Stripe").click()
    expect(page.get_by_text("You can pay $5.00 to $1000.00 at once.")).to_be_visible()
    amount.fill("12.34")
    page.get_by_role("button", name="Pay by Stripe").click()
    expect(page.get_by_role("heading", name="Stripe's page")).to_be_visible()
    assert not [text for text in refused if "Content Security" in text]

    session_id = page.url.rpartition("/")[2]
    session = stripe.sessions[session_id]
    page.goto(session["success_url"])
    expect(page.get_by_text("Your payment of $12.34 is on its way.")).to_be_visible()
    _deliver(
        server, event("checkout.session.completed", stripe.pay(session["client_reference_id"]))
    )
    page.get_by_role("link", name="Look again").click()
    expect(page.get_by_text("Your payment of $12.34 is credited.")).to_be_visible()
    row = page.get_by_role("region", name="Every posting").locator("tbody tr").first
    expect(row).to_contain_text("Payment")
    context.close()


def test_a_card_is_confirmed_for_auto_top_up_and_taken_off(
    browser: Browser, paying_server: tuple[ServerProcess, StripeServer]
) -> None:
    server, stripe = paying_server
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_up(page, server, "lazy@example.com")
    page.get_by_role("link", name="Credit").first.click()
    auto = page.get_by_role("region", name="Top up by itself")
    expect(auto).to_contain_text("Off")
    auto.get_by_label("When less than").fill("10")
    auto.get_by_label("Pay (US dollars)").fill("20")
    auto.get_by_label("In a month at most").fill("15")
    auto.get_by_role("button", name="Confirm a card at Stripe").click()
    expect(page.get_by_text("The most in a month is at least")).to_be_visible()
    auto.get_by_label("In a month at most").fill("50")
    auto.get_by_role("button", name="Confirm a card at Stripe").click()
    expect(page.get_by_role("heading", name="Stripe's page")).to_be_visible()
    session_id = page.url.rpartition("/")[2]
    _deliver(server, event("checkout.session.completed", stripe.confirm(session_id)))
    page.goto(f"{server.url}/billing")
    expect(auto).to_contain_text("When less than $10.00 is left, $20.00 is paid with your card")
    row = page.get_by_role("region", name="Every posting").locator("tbody tr").first
    for _ in range(60):  # the server looks every five seconds
        if "Payment" in (row.text_content() or ""):
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(row).to_contain_text("Payment")
    assert server.cli("account", "show", "lazy@example.com")["available_usd"] == "25.00"
    auto.get_by_role("button", name="Switch off").click()
    expect(auto).to_contain_text("Off until you confirm a card")
    assert server.cli("payment", "auto", "lazy@example.com")["state"] == "off"
    context.close()


def test_paying_fits_and_is_pictured(
    look: tuple[BrowserContext, str],
    paying_server: tuple[ServerProcess, StripeServer],
    screenshots: Path,
) -> None:
    context, name = look
    server, _ = paying_server
    page = context.new_page()
    sign_up(page, server, f"look-{name}@example.com")
    page.goto(f"{server.url}/billing")
    picture(page, screenshots, f"billing-paying-{name}")
    page.get_by_role("textbox", name="US dollars", exact=True).fill("1,000")
    page.get_by_role("button", name="Pay by Stripe").click()
    picture(page, screenshots, f"billing-refused-{name}")


@pytest.fixture(scope="module")
def operator(old_server: ServerProcess) -> str:
    """Somebody who runs the server."""
    email = "operator@example.com"
    words = ("account", "create", email, "--operator", "--password-stdin")
    old_server.cli(*words, stdin=f"{PASSWORD}\n")
    return email


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_makes_codes_and_puts_a_posting_right(
    browser: Browser, old_server: ServerProcess, operator: str, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript, accept_downloads=True)
    page = context.new_page()
    log_in(page, old_server, operator)
    page.get_by_role("link", name="Money").first.click()
    codes = page.get_by_role("region", name="Make redemption codes")
    codes.get_by_label("Worth of each").fill("5")
    codes.get_by_label("How many").fill("2")
    codes.get_by_label("Last day").fill("31.12.2030")
    codes.get_by_role("button", name="Make and show").click()
    expect(page.get_by_text("A day is written 2030-12-31.")).to_be_visible()
    codes.get_by_label("Last day").fill("2030-12-31")
    codes.get_by_role("button", name="Make and show").click()
    shown = page.locator("#codes-made").text_content() or ""
    assert len(shown.splitlines()) == 3
    codes.get_by_label("Worth of each").fill("5")
    codes.get_by_label("How many").fill("4")
    with page.expect_download() as found:
        codes.get_by_role("button", name="Make and save as CSV").click()
    assert len(found.value.path().read_text().splitlines()) == 5
    with page.expect_download():  # the page has stayed, and its form works again
        codes.get_by_role("button", name="Make and save as CSV").click()

    page.goto(f"{old_server.url}/operator/billing")
    posting = page.get_by_role("region", name="Post to an account")
    posting.get_by_label("Owner’s e-mail").fill(OWNER)
    posting.get_by_label("What").select_option("Refund")
    posting.get_by_label("US dollars").fill("0.25")
    posting.get_by_role("button", name="Post").click()
    expect(page.get_by_text("A reason has 1 to 200 printable characters")).to_be_visible()
    posting.get_by_label("Reason").fill("An hour of silence")
    posting.get_by_role("button", name="Post").click()
    expect(page.get_by_text("Posted:")).to_be_visible()
    newest = old_server.cli("credit", "history", OWNER)["postings"][0]
    assert (newest["kind"], newest["note"]) == ("refund", "An hour of silence")

    batches = page.get_by_role("region", name="Batches of codes")
    batches.get_by_role("link", name="Withdraw").first.click()
    page.get_by_role("button", name="Withdraw codes").click()
    expect(batches.locator("tbody tr").first).to_contain_text("Withdrawn")
    context.close()


def test_the_operators_money_fits_and_is_pictured(
    look: tuple[BrowserContext, str], old_server: ServerProcess, operator: str, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    log_in(page, old_server, operator)
    page.goto(f"{old_server.url}/operator/billing")
    codes = page.get_by_role("region", name="Make redemption codes")
    codes.get_by_label("Worth of each").fill("5")
    codes.get_by_label("How many").fill("3")
    codes.get_by_label("Note").fill("Handed out at the spring fair")
    codes.get_by_role("button", name="Make and show").click()
    picture(page, screenshots, f"operator-money-{name}")
