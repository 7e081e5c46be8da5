"""Every page at both widths and in both themes: nothing overflows, and axe-core finds no fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.conftest import EXPECT_TIMEOUT_MS
from tests.e2e.test_story import (
    PASSWORD,
    ask,
    ask_streamed,
    client,
    create_key,
    press_done,
    sign_up,
)
from tests.support.axe import assert_accessible
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]

WIDTHS = (390, 1440)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DOOR_PAGES = ("/", "/signup", "/login", "/forgot", "/reset", "/nowhere")
SHELL_PAGES = (
    "/home",
    "/playground",
    "/usage",
    "/quickstart",
    "/api-keys",
    "/profile",
    "/profile/data",
    "/profile/close",
    "/security",
    "/security/activity",
    "/security/second-factor",
    "/security/passkeys/new",
    "/billing",
    "/limits",
    "/statements",
    "/prices",
)


@pytest.fixture(params=[(width, theme) for width in WIDTHS for theme in THEMES], ids=str)
def look(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[BrowserContext, str]]:
    """A browser profile of one width and theme, and the name of the two."""
    width, theme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    context.set_default_timeout(EXPECT_TIMEOUT_MS)
    yield context, f"{theme}-{width}"
    context.close()


def assert_fits(page: Page) -> None:
    """No page is wider than the window."""
    page.wait_for_load_state()  # a link may just have been followed
    too_wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert too_wide <= 0, (page.url, too_wide)


def picture(page: Page, folder: Path, name: str) -> None:
    """Look whether the page fits and is accessible, and keep a picture of it."""
    assert_fits(page)
    assert_accessible(page)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def file_name(path: str) -> str:
    """A page's name as a file's."""
    return path.strip("/").replace("/", "-") or "landing"


@pytest.fixture(scope="package")
def used_account(server: ServerProcess, browser: Browser) -> str:
    """An account with a live key, an ended one, and a few calls."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    sign_up(page, server, "ida@example.com")
    create_key(page, "Old laptop")
    press_done(page)
    secret = create_key(page, "Letter desk")
    press_done(page)
    sdk = client(server, secret)
    for _ in range(2):
        ask(sdk)
        ask_streamed(sdk.with_options(default_headers={"X-Title": "Letter desk"}))
    server.cli("credit", "add", "ida@example.com", "20.00", "--note", "Thank you")
    server.cli("limit", "set", "ida@example.com", "account", "month", "10.00")
    context.close()
    return "ida@example.com"


def log_in(page: Page, server: ServerProcess, email: str) -> None:
    """Log in through the form."""
    page.goto(f"{server.url}/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()


def test_pages_before_the_login_fit_and_are_pictured(
    look: tuple[BrowserContext, str], server: ServerProcess, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    for path in DOOR_PAGES:
        page.goto(server.url + path)
        picture(page, screenshots, f"{file_name(path)}-{name}")
    page.goto(f"{server.url}/email-change?token=x")
    picture(page, screenshots, f"email-change-{name}")
    page.goto(f"{server.url}/login")
    page.get_by_label("E-mail").fill("nobody@example.com")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    picture(page, screenshots, f"login-refused-{name}")


def test_pages_of_an_account_fit_and_are_pictured(
    look: tuple[BrowserContext, str],
    server: ServerProcess,
    screenshots: Path,
    used_account: str,
) -> None:
    context, name = look
    page = context.new_page()
    log_in(page, server, used_account)
    for path in SHELL_PAGES:
        page.goto(server.url + path)
        picture(page, screenshots, f"{file_name(path)}-{name}")
    page.goto(f"{server.url}/usage")
    page.get_by_role("region", name="Calls", exact=True).locator("tbody a").first.click()
    picture(page, screenshots, f"call-{name}")
    page.goto(f"{server.url}/api-keys")
    page.get_by_role("button", name="Create new secret key").click()
    picture(page, screenshots, f"create-{name}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Revoke").first.click()
    picture(page, screenshots, f"revoke-{name}")
    page.goto(f"{server.url}/api-keys/new")
    page.get_by_text("Terms (optional)").click()
    picture(page, screenshots, f"create-with-terms-{name}")
    for key, kind in (("Letter desk", "live"), ("Old laptop", "ended")):
        page.goto(f"{server.url}/api-keys")
        page.get_by_role("link", name=key).first.click()
        expect(page.get_by_role("heading", name=key)).to_be_visible()
        picture(page, screenshots, f"key-{kind}-{name}")


def test_a_newcomers_pages_teach_the_next_step(
    look: tuple[BrowserContext, str], server: ServerProcess, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    sign_up(page, server, f"new-{name}@example.com")
    picture(page, screenshots, f"welcome-{name}")
    for path in ("/home", "/usage", "/api-keys", "/billing"):
        page.goto(server.url + path)
        picture(page, screenshots, f"new-{file_name(path)}-{name}")
    page.goto(f"{server.url}/api-keys")
    page.get_by_role("button", name="Create new secret key").click()
    page.get_by_role("button", name="Create secret key").click()
    picture(page, screenshots, f"reveal-{name}")


def test_the_story_up_to_the_key_needs_no_javascript(
    browser: Browser, server: ServerProcess
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_up(page, server, "noscript@example.com")
    page.get_by_role("link", name="API keys").first.click()
    page.get_by_role("button", name="Create new secret key").click()
    page.get_by_label("Name").fill("Plain")
    page.get_by_role("button", name="Create secret key").click()
    secret = page.locator("#secret").text_content() or ""
    page.get_by_role("button", name="Done").click()
    ask(client(server, secret))
    page.goto(f"{server.url}/api-keys")
    page.get_by_role("button", name="Revoke").first.click()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("You have no key")).to_be_visible()
    context.close()


def test_a_password_can_be_looked_at_and_nothing_idle_is_shown_without_javascript(
    browser: Browser, server: ServerProcess
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/login")
    field = page.get_by_label("Password")
    field.fill("plum river")
    page.get_by_role("button", name="Show").click()
    expect(field).to_have_attribute("type", "text")
    page.get_by_role("button", name="Hide").click()
    expect(field).to_have_attribute("type", "password")
    context.close()
    plain = browser.new_context(java_script_enabled=False)
    page = plain.new_page()
    for path, name in (("/login", "Show"), ("/", "Copy")):
        page.goto(server.url + path)
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    plain.close()


def test_no_page_is_heavier_than_sixty_kilobytes(browser: Browser, server: ServerProcess) -> None:
    context = browser.new_context()
    page = context.new_page()
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(len(answer.body())) if answer.ok else None)
    sign_up(page, server, "light@example.com")
    for path in SHELL_PAGES:
        sizes.clear()
        page.goto(server.url + path, wait_until="networkidle")
        assert 0 < sum(sizes) <= 60_000, (path, sizes)
    context.close()
