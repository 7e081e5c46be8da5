"""Alerts by hand: told before a limit is reached, dismissed, chosen; without JavaScript too."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from latchgate.domain.money import format_usd
from tests.e2e.test_pages import picture
from tests.e2e.test_story import ask, client, sign_up
from tests.support import outbox
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]


def _plain_key(page: Page, server: ServerProcess) -> str:
    """A secret key, by forms alone."""
    page.goto(f"{server.url}/api-keys")
    page.get_by_role("button", name="Create new secret key").click()
    page.get_by_role("button", name="Create secret key").click()
    secret = page.locator("#secret").text_content() or ""
    page.get_by_role("button", name="Done").click()
    return secret


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_a_limit_that_runs_low_is_told_of_and_dismissed(
    browser: Browser, server: ServerProcess, screenshots: Path, *, javascript: bool
) -> None:
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, java_script_enabled=javascript
    )
    page = context.new_page()
    address = f"told-{javascript}@example.com".lower()
    sign_up(page, server, address)
    sdk = client(server, _plain_key(page, server))
    # What four calls cost is a little less than half of the limit, and five are more.
    limit_nanos = sum(ask(sdk)[2] for _ in range(4)) * 21 // 10
    server.cli("limit", "set", address, "account", "day", format_usd(limit_nanos))
    ask(sdk)

    page.goto(f"{server.url}/home")
    alerts = page.get_by_label("Alerts", exact=True)
    expect(alerts).to_contain_text("50 % of your account’s limit for the day")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        picture(page, screenshots, f"home-alert-{javascript}-{width}")
    subject = "Your account's limit runs low"
    (mail,) = outbox.until(lambda: outbox.texts_to(server.data, address, subject))
    assert "50 % of your account's limit for the day" in mail

    alerts.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    expect(alerts).to_have_count(0)

    page.goto(f"{server.url}/limits")
    shares = page.get_by_label("When so much is spent, in %")
    shares.fill("half")
    page.get_by_role("button", name="Save alerts").click()
    expect(shares).to_have_attribute("aria-invalid", "true")
    expect(shares).to_have_value("half")
    shares.fill("60, 25")
    page.get_by_label("A limit is near").uncheck()
    page.get_by_role("button", name="Save alerts").click()
    expect(page.get_by_text("You are told from now on.")).to_be_visible()
    expect(shares).to_have_value("25, 60")
    expect(page.get_by_label("A limit is near")).not_to_be_checked()
    expect(page.get_by_label("Credit runs low")).to_be_checked()
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        picture(page, screenshots, f"limits-alerts-{javascript}-{width}")
    context.close()
