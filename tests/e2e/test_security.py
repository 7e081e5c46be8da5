"""Security by hand, in a real browser: sessions, codes from an app, and being asked who one is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from latchgate.services import totp
from tests.e2e.test_pages import look, picture
from tests.e2e.test_story import PASSWORD, sign_up
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]
__all__ = ["look"]  # a fixture of the other pages, for those of this file


def code_now(secret_text: str) -> str:
    """What an app on a phone would show."""
    return totp.code_at(totp.read_secret(secret_text), int(time.time()) // totp.STEP_S)


def set_up_codes(
    page: Page, server: ServerProcess, on_codes: Callable[[], None] = lambda: None
) -> tuple[str, list[str]]:
    """Switch codes on; the secret, and the recovery codes; ``on_codes`` sees them."""
    page.goto(f"{server.url}/security")
    page.get_by_role("link", name="Set up").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    secret = page.locator("#totp-secret").text_content() or ""
    page.get_by_role("textbox", name="Code").fill(code_now(secret))
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("heading", name="Keep your recovery codes")).to_be_visible()
    codes = page.locator("#codes code").all_text_contents()
    on_codes()
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


def plug_in(page: Page) -> None:
    """Chromium's own virtual authenticator, with a finger on it."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable", {"enableUI": False})
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_passkey_is_made_named_used_and_removed(page: Page, server: ServerProcess) -> None:
    plug_in(page)
    sign_up(page, server, "passkey@example.com")
    page.get_by_role("link", name="Security").first.click()
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name").fill("This laptop")
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_text("Your passkey is made")).to_be_visible()

    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_text("has a passkey for your account already")).to_be_visible()

    page.get_by_role("button", name="Log out", exact=True).first.click()
    page.goto(f"{server.url}/login?next=/limits")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Limits", exact=True)).to_be_visible()

    page.get_by_role("link", name="Security").first.click()
    expect(page.get_by_text("Logged in: passkey")).to_be_visible()
    page.get_by_role("link", name="Manage").click()
    page.get_by_label("Name").fill("Old laptop")
    page.get_by_role("button", name="Save the name").click()
    expect(page.get_by_text("Old laptop", exact=True)).to_be_visible()
    page.get_by_role("link", name="Manage").click()
    page.get_by_role("button", name="Remove the passkey").click()
    expect(page.get_by_text("The passkey is removed")).to_be_visible()

    page.get_by_role("button", name="Log out", exact=True).first.click()
    page.goto(f"{server.url}/login")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("This passkey was not taken")).to_be_visible()


def let_pass(server: ServerProcess, minutes: int) -> None:
    """As if so many minutes had passed since anybody logged in."""
    with closing(sqlite3.connect(server.data / "latchgate.db", timeout=30)) as conn, conn:
        conn.execute("UPDATE sessions SET confirmed_us = confirmed_us - ?", (minutes * 60_000_000,))


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_who_confirms_goes_on_with_what_he_had_typed(
    browser: Browser, server: ServerProcess, *, javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=javascript)
    page = context.new_page()
    sign_up(page, server, f"confirm-{javascript}@example.com")
    page.goto(f"{server.url}/limits")
    page.get_by_label("Each day").first.fill("1.00")
    page.get_by_role("button", name="Save limits").click()
    let_pass(server, 16)
    page.get_by_label("Each day").first.fill("2.50")
    page.get_by_label("Time zone").fill("Europe/Rome")
    page.get_by_role("button", name="Save limits").click()
    expect(page.get_by_role("heading", name="Confirm it is you")).to_be_visible()
    page.get_by_label("Your password").fill("not the one")
    page.get_by_role("button", name="Confirm and go on").click()
    expect(page.get_by_text("That is not your password.")).to_be_visible()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm and go on").click()
    expect(page.get_by_text("Saved. It binds the next call.")).to_be_visible()
    expect(page.get_by_label("Each day").first).to_have_value("2.50")
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Rome")
    context.close()


def test_a_passkey_confirms_and_the_key_is_made_at_once(page: Page, server: ServerProcess) -> None:
    plug_in(page)
    sign_up(page, server, "quick@example.com")
    page.goto(f"{server.url}/security/passkeys/new")
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_text("Your passkey is made")).to_be_visible()
    let_pass(server, 13 * 60)
    page.goto(f"{server.url}/api-keys")
    page.get_by_role("button", name="Create new secret key").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Made by a finger")
    page.get_by_role("button", name="Create secret key").click()
    expect(page.get_by_role("heading", name="Confirm it is you")).to_be_visible()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("dialog").get_by_text("never be shown again")).to_be_visible()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row").filter(has_text="Made by a finger")).to_contain_text("Live")
    let_pass(server, 16)
    page.goto(f"{server.url}/security/second-factor")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Codes from an app")).to_be_visible()


def test_pages_of_a_protected_account_fit_and_are_pictured(
    look: tuple[BrowserContext, str], server: ServerProcess, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    plug_in(page)
    address = f"pictured-{name}@example.com"
    sign_up(page, server, address)
    page.goto(f"{server.url}/security/passkeys/new")
    page.get_by_label("Name").fill("This laptop, the one with the sticker on it")
    page.get_by_role("button", name="Make a passkey").click()
    page.get_by_role("link", name="Manage").click()
    expect(page.get_by_role("heading", name="Remove it")).to_be_visible()
    picture(page, screenshots, f"passkey-{name}")
    set_up_codes(page, server, lambda: picture(page, screenshots, f"recovery-codes-{name}"))
    page.goto(f"{server.url}/profile")
    page.get_by_label("New address").fill("a-very-long-address-of-somebody@example.com")
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("Neither has confirmed so far.")).to_be_visible()
    picture(page, screenshots, f"profile-changing-{name}")
    page.goto(f"{server.url}/security")
    picture(page, screenshots, f"security-protected-{name}")
    page.get_by_role("link", name="Switch off").click()
    expect(page.get_by_role("heading", name="Switch off codes")).to_be_visible()
    picture(page, screenshots, f"second-factor-off-{name}")
    let_pass(server, 16)
    page.goto(f"{server.url}/profile/close")
    picture(page, screenshots, f"confirm-{name}")
    page.goto(f"{server.url}/home")
    context.clear_cookies()
    give_password(page, server, address)
    expect(page.get_by_role("heading", name="Your code")).to_be_visible()
    picture(page, screenshots, f"login-code-{name}")
