"""The profile by hand: another address, a copy of all data, and the end of the account."""

from __future__ import annotations

import json
import re
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_security import give_password
from tests.e2e.test_story import ask, client, create_key, press_done, sign_up
from tests.support import outbox
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]


def link_in_mail(data: Path, to: str) -> str:
    """The link of the newest mail about a change of address."""
    pattern = r"http://\S+/email-change\?\S+"
    return outbox.until(lambda: re.findall(pattern, "\n".join(outbox.texts_to(data, to))))[0]


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_an_address_changes_when_both_mailboxes_have_said_yes(
    browser: Browser, server: ServerProcess, *, javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=javascript)
    page = context.new_page()
    old, new = f"old-{javascript}@example.com", f"new-{javascript}@example.com"
    sign_up(page, server, old)
    page.get_by_role("link", name="Profile").first.click()
    page.get_by_label("New address").fill("nobody")
    if not javascript:
        page.get_by_label("New address").fill("nobody@nowhere")
        page.get_by_role("button", name="Change it").click()
        expect(page.get_by_label("New address")).to_have_value("nobody@nowhere")
    page.get_by_label("New address").fill(new)
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("Neither has confirmed so far.")).to_be_visible()
    for to in (new, old):
        page.goto(link_in_mail(server.data, to))
        page.get_by_role("button", name="Yes, change it").click()
    expect(page.get_by_text("It is changed.")).to_be_visible()
    page.goto(f"{server.url}/profile")
    expect(page.get_by_text(f"It is {new}")).to_be_visible()
    context.close()


def test_a_copy_of_all_data_comes_as_a_file(page: Page, server: ServerProcess) -> None:
    sign_up(page, server, "copy@example.com")
    secret = create_key(page, "Desk")
    press_done(page)
    ask(client(server, secret))
    page.get_by_role("link", name="Profile").first.click()
    page.get_by_role("link", name="Download").click()
    for _ in range(2):  # the page stays, and does it again
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename == "latchgate-data.json"
    copy = json.loads(Path(waiting.value.path()).read_text())
    assert [call["outcome"] for call in copy["calls"]] == ["answered"]
    assert copy["user"]["email"] == "copy@example.com"


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
def test_a_closed_account_is_closed_to_its_apps_at_once(
    browser: Browser, server: ServerProcess, *, javascript: bool
) -> None:
    address = f"leaving-{javascript}@example.com"
    context = browser.new_context(java_script_enabled=javascript)
    page = context.new_page()
    sign_up(page, server, address)
    secret = server.cli("key", "create", address, "--name", "Desk")["secret"]
    ask(client(server, secret))
    page.goto(f"{server.url}/profile")
    page.get_by_role("link", name="Close").click()
    expect(page.get_by_text("Desk")).to_be_visible()
    expect(page.get_by_text("of credit is left")).to_be_visible()
    page.get_by_label("Type leaving").fill("somebody@example.com")
    page.get_by_role("button", name="Close my account").click()
    expect(page.get_by_text("so that nothing happens by a slip")).to_be_visible()
    page.get_by_label("Type leaving").fill(address)
    page.get_by_role("button", name="Close my account").click()
    expect(page.get_by_text("Your account is closed")).to_be_visible()
    with pytest.raises(openai.AuthenticationError):
        ask(client(server, secret))
    give_password(page, server, address)
    expect(page.get_by_role("alert")).to_contain_text("The e-mail or the password is wrong.")
    assert server.cli("audit")["findings"] == []
    context.close()
