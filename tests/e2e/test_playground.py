"""The playground by hand: asked, answered as it is written, stopped, refused; and what it cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.e2e.test_pages import log_in, look, picture
from tests.e2e.test_story import KEY, MODEL, sign_up
from tests.support.model_server import ModelServerThread
from tests.support.model_server import answers as answers_of_server
from tests.support.server import ServerProcess

__all__ = ["look"]
pytestmark = [pytest.mark.e2e, pytest.mark.model]

COST = re.compile(r"(\d+) tokens in, (\d+) out: \$(0\.\d+)")


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A tab without JavaScript."""
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def enter(page: Page, server: ServerProcess, address: str, tokens: int = 8) -> None:
    """Sign up, go to the playground by the sidebar, and ask for short answers."""
    sign_up(page, server, address)
    page.goto(f"{server.url}/home")
    page.get_by_role("navigation", name="Main", exact=True).get_by_role(
        "link", name="Playground"
    ).click()
    set_tokens(page, tokens)


def set_tokens(page: Page, tokens: int) -> None:
    """Ask for short answers; the settings open by themselves where there is room, with a script."""
    field = page.get_by_label("Most tokens out")
    expect(page.get_by_label("Message")).to_be_visible()
    page.wait_for_load_state()  # its script has run by then
    if not field.is_visible():
        page.get_by_text("Settings", exact=True).click()
    field.fill(str(tokens))


def send(page: Page, text: str) -> None:
    """Ask something."""
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def answers(page: Page) -> Locator:
    """What the model has said."""
    return page.locator(".turn.assistant")


def assert_receipt_agrees(page: Page, cost: re.Match[str] | None) -> None:
    """What the page says is what the receipt says, to the nano-dollar."""
    assert cost
    answers(page).last.get_by_role("link", name="Receipt").click()
    main = page.locator("main")
    expect(main).to_contain_text("Playground")
    expect(main).to_contain_text(f"${cost[3]}")
    assert int(cost[2]) > 0


def test_the_story_of_a_conversation(page: Page, server: ServerProcess) -> None:
    enter(page, server, "player@example.com")
    expect(page.get_by_label("Model", exact=True)).to_have_value(MODEL)
    expect(page.locator("#model-about")).to_contain_text("for a million tokens")
    page.get_by_label("System prompt").fill("You are a sailor.")
    send(page, "Tell me about the sea.")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_text("Written:")).to_be_visible()
    expect(page.get_by_label("Message")).to_be_focused()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    send(page, "And the wind?")
    expect(answers(page)).to_have_count(2)
    expect(answers(page).nth(1).locator(".cost").first).to_be_visible()
    expect(answers(page).locator(".said").nth(1)).not_to_be_empty()

    page.get_by_role("button", name="View code").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("#code-curl")).to_contain_text(f"{server.url}/v1/chat/completions")
    expect(dialog.locator("#code-python")).to_contain_text("You are a sailor.")
    expect(dialog.locator("#code-javascript")).to_contain_text("And the wind?")
    dialog.get_by_role("button", name="Copy").first.click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    assert not KEY.search(page.content())
    dialog.get_by_role("button", name="Close").click()

    page.reload()
    expect(answers(page)).to_have_count(0)
    page.get_by_text("History", exact=True).click()
    page.get_by_role("button", name="Tell me about the sea.").click()
    expect(answers(page)).to_have_count(2)
    cost = COST.search(answers(page).last.text_content() or "")
    assert_receipt_agrees(page, cost)
    page.go_back()
    page.get_by_text("History", exact=True).click()
    page.get_by_role("button", name="Clear history").click()
    expect(page.locator("#history")).to_be_hidden()
    assert page.evaluate("localStorage.length") == 0

    page.goto(f"{server.url}/usage")
    expect(page.get_by_role("region", name="By app")).to_contain_text("Playground")
    page.goto(f"{server.url}/api-keys")
    expect(page.get_by_text("You have no key")).to_be_visible()
    assert server.cli("audit")["findings"] == []


def test_who_presses_stop_pays_for_what_has_come(page: Page, server: ServerProcess) -> None:
    enter(page, server, "stopper@example.com", tokens=2000)
    send(page, "Write a very long story about a ship.")
    expect(
        page.get_by_text(re.compile(r"About \d+ tokens in, [1-9]\d* out so far: \$0"))
    ).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(answers(page).locator(".cost").first).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    cost = COST.search(answers(page).text_content() or "")
    assert cost
    assert 0 < int(cost[2]) < 2000
    assert_receipt_agrees(page, cost)
    expect(page.locator("main")).to_contain_text("App hung up")
    assert server.cli("audit")["findings"] == []


@pytest.fixture
def poor(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that gives new accounts nothing."""
    settings = {"LATCHGATE_EMBEDDED_ENABLED": "false", "LATCHGATE_SIGNUP_GIFT": "0"}
    with (
        ModelServerThread(answers_of_server()) as upstream,
        ServerProcess(tmp_path / "data", **settings) as running,
    ):
        running.cli("upstream", "add", "lab", "--base-url", upstream.base_url)
        running.cli(
            *("model", "add", "parrot", "--upstream", "lab", "--context", "8192"),
            *("--input-price", "0.10", "--cached-price", "0.02", "--output-price", "0.40"),
        )
        yield running


def test_a_refusal_says_at_its_place_what_to_do(page: Page, poor: ServerProcess) -> None:
    enter(page, poor, "poor@example.com")
    send(page, "Hello?")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("credit")
    expect(page.get_by_label("Message")).to_have_value("Hello?")
    expect(page.locator(".turn")).to_have_count(0)
    alert.get_by_role("link", name="Add credit").click()
    expect(page.get_by_role("heading", name="Credit").first).to_be_visible()

    poor.cli("credit", "add", "poor@example.com", "5.00")
    poor.cli("limit", "set", "poor@example.com", "account", "month", "0")
    page.go_back()
    send(page, "Hello?")
    expect(alert).to_contain_text("for this month")
    expect(alert.get_by_role("link", name="Limits")).to_have_attribute("href", "/limits")

    poor.cli("limit", "remove", "poor@example.com", "account", "month")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Written: 12 tokens in, 5 out: $0.0000032")).to_be_visible()
    expect(alert).to_have_count(0)
    page.context.clear_cookies()
    send(page, "Hello?")
    expect(page.get_by_role("alert").get_by_role("link", name="Log in")).to_be_visible()


def test_it_all_works_without_javascript(plain: Page, server: ServerProcess) -> None:
    page = plain
    enter(page, server, "plain-player@example.com")
    for name in ("Stop", "Clear history", "Close"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    send(page, "Say hello.")
    expect(answers(page)).to_have_count(1)
    page.get_by_label("Message").fill("Say it again.")
    page.get_by_role("button", name="Send").click()
    expect(answers(page)).to_have_count(2)
    expect(page.get_by_label("Most tokens out")).to_have_value("8")
    expect(page.get_by_label("Message")).to_have_value("")
    cost = COST.search(answers(page).last.text_content() or "")
    receipt = answers(page).last.get_by_role("link", name="Receipt").get_attribute("href")
    page.get_by_role("button", name="View code").click()
    expect(page.locator("#code-python")).to_contain_text("Say it again.")
    expect(answers(page)).to_have_count(2)
    page.goto(server.url + str(receipt))
    assert cost
    expect(page.locator("main")).to_contain_text(f"${cost[3]}")
    page.goto(f"{server.url}/playground")
    page.get_by_text("Settings", exact=True).click()
    server.cli("limit", "set", "plain-player@example.com", "account", "month", "0")
    send(page, "Once more?")
    expect(page.get_by_role("alert").get_by_role("link", name="Limits")).to_be_visible()
    expect(page.get_by_label("Message")).to_have_value("Once more?")


def test_the_keyboard_is_enough(page: Page, server: ServerProcess) -> None:
    enter(page, server, "typist@example.com")
    page.goto(f"{server.url}/playground")
    expect(page.get_by_label("Message")).to_be_focused()
    page.get_by_label("Most tokens out").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("500")
    page.get_by_label("Message").focus()
    page.keyboard.type("Tell me a long story.")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Send")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    expect(answers(page).locator(".said")).not_to_be_empty()
    page.keyboard.press("Enter")
    expect(answers(page).locator(".cost").first).to_be_visible()
    expect(page.get_by_label("Message")).to_be_focused()
    for name in ("Send", "View code"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="New conversation")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".turn")).to_have_count(0)


def test_a_conversation_fits_in_every_look(
    look: tuple[BrowserContext, str], server: ServerProcess, screenshots: Path, talker: str
) -> None:
    context, name = look
    page = context.new_page()
    log_in(page, server, talker)
    page.goto(f"{server.url}/playground")
    set_tokens(page, 6)
    send(page, "Tell me about " + "Donaudampfschifffahrtsgesellschaft" * 4)
    expect(page.get_by_text("Written:")).to_be_visible()
    picture(page, screenshots, f"playground-answered-{name}")
    page.get_by_role("button", name="View code").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    picture(page, screenshots, f"playground-code-{name}")
    page.keyboard.press("Escape")
    page.get_by_label("Temperature").fill("7")
    page.get_by_label("Message").fill("Hello")
    page.evaluate("document.getElementById('playground').noValidate = true")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Temperature")).to_have_attribute("aria-invalid", "true")
    picture(page, screenshots, f"playground-refused-{name}")


@pytest.fixture(scope="module")
def talker(server: ServerProcess, browser: Browser) -> str:
    """An account for all looks."""
    page = browser.new_context().new_page()
    sign_up(page, server, "talker@example.com")
    page.context.close()
    return "talker@example.com"
