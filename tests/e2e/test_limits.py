"""Limits by hand: set in the console, they bind the very next call."""

from __future__ import annotations

import openai
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.test_story import ask, client, create_key, press_done, sign_up
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]


def test_a_limit_set_in_the_console_binds_the_next_call(
    browser: Browser, server: ServerProcess
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    sign_up(page, server, "careful@example.com")
    sdk = client(server, create_key(page, "Careful"))
    press_done(page)
    ask(sdk)

    page.get_by_role("link", name="Limits").first.click()
    month = page.get_by_label("Each month").first
    month.fill("five dollars")
    page.get_by_role("button", name="Save limits").click()
    expect(month).to_have_attribute("aria-invalid", "true")
    expect(month).to_have_value("five dollars")

    month.fill("0")
    page.get_by_role("button", name="Save limits").click()
    expect(page.get_by_text("Saved. It binds the next call.")).to_be_visible()
    with pytest.raises(openai.RateLimitError) as refused:
        ask(sdk)
    assert refused.value.code == "organization_spend_limit_exceeded"
    page.get_by_role("link", name="Home").first.click()
    expect(page.get_by_text("binds", exact=False).first).to_be_visible()

    page.get_by_role("link", name="Limits").first.click()
    page.get_by_label("Each month").first.fill("")
    page.get_by_role("button", name="Save limits").click()
    ask(sdk)
    context.close()
