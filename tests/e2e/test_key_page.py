"""A key's page by hand: what used it, what it is bound to, and what its end would break."""

from __future__ import annotations

import openai
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_pages import WIDTHS, assert_fits, log_in
from tests.e2e.test_story import MODEL, PASSWORD, ask, client, create_key, press_done
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]


def enter(page: Page, server: ServerProcess, email: str) -> None:
    """Log in to an account that the operator has made: sign-ups from one place are bounded."""
    server.cli("account", "create", email, "--password-stdin", stdin=PASSWORD)
    log_in(page, server, email)


def open_key(page: Page, server: ServerProcess, name: str) -> None:
    """Go to a key's page from the list."""
    page.goto(f"{server.url}/api-keys")
    page.get_by_role("link", name=name).first.click()
    expect(page.get_by_role("heading", name=name).first).to_be_visible()


def save(page: Page) -> None:
    """Save the terms."""
    page.get_by_role("button", name="Save terms").click()


@pytest.mark.parametrize("has_javascript", [True, False], ids=["JavaScript", "plain"])
def test_terms_set_on_the_keys_page_bind_the_next_call(
    browser: Browser, server: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(
        java_script_enabled=has_javascript, viewport={"width": 1440, "height": 900}
    )
    page = context.new_page()
    enter(page, server, f"terms-{has_javascript}@example.com".lower())
    page.goto(f"{server.url}/api-keys/new")
    page.get_by_label("Name").fill("Desk")
    page.get_by_text("Terms (optional)").click()
    page.get_by_label("Addresses it may be used from").fill("192.0.2.7")
    page.get_by_role("button", name="Create secret key").click()
    sdk = client(server, page.locator("#secret").text_content() or "")
    page.get_by_role("button", name="Done").click()
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(sdk)
    assert refused.value.code == "ip_not_authorized"

    open_key(page, server, "Desk")
    page.get_by_label("Addresses it may be used from").fill("192.0.2.7\n127.0.0.0/8\n::1")
    save(page)
    expect(page.get_by_text("Saved. It binds the key’s next call.")).to_be_visible()
    ask(sdk.with_options(default_headers={"X-Title": "Letter desk"}))

    page.get_by_label("Models it may call").fill("no-such-model")
    save(page)
    field = page.get_by_label("Models it may call")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("no-such-model")
    field.fill(MODEL)
    page.get_by_label("Reports only").check()
    save(page)
    with pytest.raises(openai.PermissionDeniedError, match="reads reports"):
        ask(sdk)
    assert [model.id for model in sdk.models.list()] == [MODEL]
    page.get_by_label("Calls only").check()
    save(page)
    ask(sdk)

    open_key(page, server, "Desk")
    expect(page.get_by_text("from 127.0.0.1")).to_be_visible()
    apps = page.get_by_role("region", name="Apps that used it")
    expect(apps.get_by_role("link", name="Letter desk")).to_be_visible()
    page.get_by_role("button", name="Revoke").first.click()
    expect(page.get_by_text("stop working at once: ").last).to_contain_text("Letter desk")
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("You have no key")).to_be_visible()
    with pytest.raises(openai.AuthenticationError):
        ask(sdk)
    context.close()


def test_bars_and_apps_of_a_keys_page_lead_to_its_calls(
    browser: Browser, server: ServerProcess
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    enter(page, server, "charted@example.com")
    first = client(server, create_key(page, "First"))
    press_done(page)
    ask(first)
    second = client(server, create_key(page, "Second"))
    press_done(page)
    for _ in range(2):
        ask(second.with_options(default_headers={"X-Title": "Two calls"}))
    open_key(page, server, "Second")
    page.get_by_role("region", name="Apps that used it").get_by_role("link").click()
    calls = page.get_by_role("region", name="Calls", exact=True)
    expect(calls.locator("tbody tr")).to_have_count(2)
    page.go_back()
    page.locator(".bars a").first.click()
    expect(calls.locator("tbody tr")).to_have_count(2)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        open_key(page, server, "Second")
        assert_fits(page)
    context.close()


@pytest.mark.parametrize("has_javascript", [True, False], ids=["JavaScript", "plain"])
def test_a_mail_about_the_key_is_switched_off_and_on(
    browser: Browser, server: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    enter(page, server, f"mails-{has_javascript}@example.com".lower())
    page.goto(f"{server.url}/security")
    mails = page.get_by_role("region", name="Mails about your key")
    mails.get_by_role("button", name="Switch off").first.click()
    expect(page.get_by_text("Saved: it holds for the next use of your key.")).to_be_visible()
    expect(mails.get_by_text("Off", exact=True)).to_have_count(1)
    mails.get_by_role("button", name="Switch on").click()
    expect(mails.get_by_text("Off", exact=True)).to_have_count(0)
    context.close()
