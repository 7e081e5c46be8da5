"""Security by hand, in a real browser: sessions, codes from an app, and being asked who one is."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Browser, Page, expect

from latchgate.services import totp
from tests.e2e.test_story import PASSWORD, sign_up
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]


def code_now(secret_text: str) -> str:
    """What an app on a phone would show."""
    return totp.code_at(totp.read_secret(secret_text), int(time.time()) // totp.STEP_S)


def set_up_codes(page: Page, server: ServerProcess) -> tuple[str, list[str]]:
    """Switch codes on; the secret, and the recovery codes."""
    page.goto(f"{server.url}/security")
    page.get_by_role("link", name="Set up").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    secret = page.locator("#totp-secret").text_content() or ""
    page.get_by_role("textbox", name="Code").fill(code_now(secret))
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("heading", name="Keep your recovery codes")).to_be_visible()
    codes = page.locator("#codes code").all_text_contents()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_text("Codes from your app are on")).to_be_visible()
    return secret, codes


def give_password(page: Page, server: ServerProcess, address: str) -> None:
    """The first page of a login."""
    page.goto(f"{server.url}/login")
    page.get_by_label("E-mail").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_codes_from_an_app_are_set_up_used_and_switched_off(
    browser: Browser, server: ServerProcess, *, javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=javascript)
    page = context.new_page()
    address = f"codes-{javascript}@example.com"
    sign_up(page, server, address)
    _, codes = set_up_codes(page, server)
    assert len(codes) == 10
    page.get_by_role("button", name="Log out", exact=True).first.click()
    give_password(page, server, address)
    expect(page.get_by_role("heading", name="Your code")).to_be_visible()
    page.get_by_role("textbox", name="Code").fill("000000")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("That code is not right")).to_be_visible()
    page.get_by_role("textbox", name="Code").fill(codes[0])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.goto(f"{server.url}/security")
    expect(page.get_by_text("9 of 10 are left")).to_be_visible()
    page.get_by_role("link", name="Switch off").click()
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_text("Codes from an app are off")).to_be_visible()
    context.close()


def test_another_device_is_seen_and_logged_out(browser: Browser, server: ServerProcess) -> None:
    here, there = browser.new_context(), browser.new_context(user_agent="Firefox/130 (Android)")
    page, other = here.new_page(), there.new_page()
    sign_up(page, server, "two-devices@example.com")
    give_password(other, server, "two-devices@example.com")
    expect(other.get_by_role("heading", name="Home")).to_be_visible()
    page.goto(f"{server.url}/security")
    row = page.get_by_role("row").filter(has_text="Firefox on Android").first
    expect(row).to_contain_text("127.0.0.1")
    row.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("That device is logged out.")).to_be_visible()
    other.goto(f"{server.url}/home")
    expect(other.get_by_role("heading", name="Log in")).to_be_visible()
    here.close()
    there.close()
