"""The operator's pages by hand, with JavaScript and without, in both widths and themes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.e2e.test_pages import log_in, look, picture
from tests.e2e.test_story import PASSWORD
from tests.support.server import ServerProcess

__all__ = ["look"]

pytestmark = [pytest.mark.e2e, pytest.mark.model]
OPERATOR, ADA = "operator@example.com", "ada@example.com"
PAGES = ("accounts",)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without a model, with an operator and an account that has a key."""
    data = tmp_path_factory.mktemp("office") / "data"
    with ServerProcess(data, "--no-embedded-model") as running:
        words = ("--password-stdin", "--credit", "5.00")
        running.cli("account", "create", OPERATOR, "--operator", *words[:1], stdin=PASSWORD)
        running.cli("account", "create", ADA, *words, stdin=PASSWORD)
        running.cli("key", "create", ADA, "--name", "Laptop")
        yield running


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_finds_an_account_and_suspends_and_resumes_it(
    browser: Browser, office: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    log_in(page, office, OPERATOR)
    page.get_by_role("link", name="Accounts").first.click()
    page.get_by_label("Find").fill("ADA@")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("region", name="Found").get_by_role("link", name=ADA).click()
    expect(page.get_by_role("heading", name=ADA)).to_be_visible()
    expect(page.get_by_role("region", name="Keys")).to_contain_text("Laptop")
    page.get_by_role("link", name="Suspend").click()
    page.get_by_role("button", name="Suspend account").click()
    expect(page.get_by_text("Suspended: its keys are refused")).to_be_visible()
    assert office.cli("account", "show", ADA)["state"] == "suspended"
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Resumed: its calls are answered again.")).to_be_visible()
    assert office.cli("account", "show", ADA)["state"] == "active"

    field = page.get_by_role("textbox", name="US dollars")
    field.fill("a lot")
    page.get_by_role("button", name="Set credit line").click()
    expect(field).to_have_value("a lot")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("0")
    page.get_by_role("button", name="Set credit line").click()
    expect(page.get_by_text("The credit line is set.")).to_be_visible()
    expect(page.get_by_role("region", name="What was done")).to_contain_text("An operator")
    context.close()


def test_the_operators_pages_fit_and_are_pictured(
    look: tuple[BrowserContext, str], office: ServerProcess, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    log_in(page, office, OPERATOR)
    for path in PAGES:
        page.goto(f"{office.url}/operator/{path}")
        picture(page, screenshots, f"operator-{path}-{name}")
    page.goto(f"{office.url}/operator/accounts?q={ADA}")
    page.get_by_role("region", name="Found").get_by_role("link", name=ADA).click()
    picture(page, screenshots, f"operator-account-{name}")
