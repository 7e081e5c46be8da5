"""Letter desk, used by a real browser, with a user's key and the embedded model."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.test_pages import log_in, look, picture
from tests.e2e.test_story import MODEL, PASSWORD, client
from tests.support.example_app import ExampleApp
from tests.support.model_server import ModelServerThread, sends
from tests.support.server import ServerProcess, free_port

__all__ = ["look"]
pytestmark = [pytest.mark.e2e, pytest.mark.model]

ABOUT = "Thank Maria for the tour of her garden. Ask for the recipe of the plum cake."
TOKENS_OUT_MAX_OF_LONG = 640
#: The embedded model, on a machine that has more to do.
DRAFT_TIMEOUT_MS = 180_000
PRICED = ("--context", "4096", "--input-price", "1", "--output-price", "1")
#: A key with the right shape and checksum that nobody has.
UNKNOWN_KEY = "sk-lg-" + "0" * 50


@pytest.fixture(scope="module")
def desk(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleApp]:
    """The desk, in front of the server with the embedded model."""
    folder = tmp_path_factory.mktemp("letter-desk")
    options = ("--api", f"{server.url}/v1", "--data", str(folder / "data"))
    with ExampleApp("letter-desk", "letter_desk", folder / "log", *options) as running:
        yield running


def make_account(server: ServerProcess, name: str, *options: str) -> tuple[str, str]:
    """An account with a key, made by its operator: the address, and the secret."""
    address = f"{name}@apps.example.com"  # nobody else of these tests is there
    server.cli("account", "create", address, "--password-stdin", *options, stdin=PASSWORD)
    secret: str = server.cli("key", "create", address)["secret"]
    return address, secret


def paste_key(page: Page, desk: ExampleApp, secret: str) -> None:
    """From the desk's address to a key that it has taken."""
    page.goto(desk.url)
    page.get_by_label("Latchgate key").fill(secret)
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("link", name="left")).to_be_visible()


def write(page: Page, about: str = ABOUT) -> None:
    """Ask for a draft."""
    page.get_by_label("What should it say?").fill(about)
    page.get_by_role("button", name="Write a draft").click()


def cost_shown(page: Page) -> Decimal:
    """What the finished draft cost."""
    status = page.get_by_role("status")
    expect(status).to_contain_text("This draft cost", timeout=DRAFT_TIMEOUT_MS)
    found = re.search(r"\$(\d+\.\d+)", status.text_content() or "")
    assert found
    return Decimal(found.group(1))


def test_a_letter_is_written_changed_taken_back_and_sent(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    address, secret = make_account(server, "writer")
    paste_key(page, desk, secret)
    page.get_by_text("Formal", exact=True).click()
    costs = []
    while not costs or page.get_by_text("sent no letter").is_visible():  # so small a model may
        write(page)
        costs.append(cost_shown(page))
    body, subject = page.get_by_label("Text"), page.get_by_label("Subject")
    assert len(body.input_value()) > 40
    assert subject.input_value()

    body.fill("Dear Maria,\n\nthank you & your bees: 100% lovely.\n\nIda")
    page.get_by_label("To").fill("maria@example.com")
    link = page.get_by_role("link", name="Open in my mail program").get_attribute("href") or ""
    asked = urllib.parse.urlsplit(link)
    sent = urllib.parse.parse_qs(asked.query)
    assert (asked.scheme, urllib.parse.unquote(asked.path)) == ("mailto", "maria@example.com")
    assert sent["subject"] == [subject.input_value()]
    assert sent["body"] == [body.input_value().replace("\n", "\r\n")]
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == body.input_value()

    mine = "Dear Maria,\n\nthank you.\n\n\n\n"  # no model sends this white space back
    body.fill(mine)
    page.get_by_label("Ask for a change").fill("Mention the wine.")
    page.get_by_role("button", name="Change it").click()
    costs.append(cost_shown(page))
    while page.get_by_text("sent no letter").is_visible():
        assert body.input_value() == mine
        page.get_by_role("button", name="Change it").click()
        costs.append(cost_shown(page))
    assert body.input_value() != mine
    page.get_by_role("button", name="Undo the change").click()
    assert body.input_value() == mine

    account = server.cli("account", "show", address)
    assert sum(costs) == Decimal(account["spent_nanos"]) / 10**9
    assert left(page) == Decimal(account["available_nanos"]) / 10**9
    assert server.cli("key", "list", address)["keys"][0]["last_app"] == "Letter desk"


def test_an_answer_without_a_letter_takes_nothing_from_the_sheet(
    page: Page, desk: ExampleApp, server: ServerProcess, tmp_path: Path
) -> None:
    _, secret = make_account(server, "unlucky")
    with ModelServerThread(sends("", ["Subject: ", "Mention the wine"])) as upstream:
        server.cli("upstream", "add", "terse", "--base-url", upstream.base_url)
        server.cli("model", "add", "terse", "--upstream", "terse", *PRICED)
        options = ("--api", f"{server.url}/v1", "--model", "terse", "--data", str(tmp_path))
        with ExampleApp("letter-desk", "letter_desk", tmp_path / "log", *options) as terse:
            paste_key(page, terse, secret)
            subject, body = page.get_by_label("Subject"), page.get_by_label("Text")
            subject.fill("Thanks")
            body.fill("Dear Maria,\n\nthank you.")
            page.get_by_label("What should it say?").fill(ABOUT)
            for wish, button in (("", "Write a draft"), ("Mention the wine.", "Change it")):
                page.get_by_label("Ask for a change").fill(wish)
                page.get_by_role("button", name=button).click()
                cost_shown(page)
                expect(page.get_by_role("alert")).to_contain_text("The model sent no letter")
                expect(subject).to_have_value("Thanks")
                expect(body).to_have_value("Dear Maria,\n\nthank you.")
                expect(page.get_by_label("Ask for a change")).to_have_value(wish)
                expect(page.get_by_role("button", name="Undo the change")).to_be_hidden()


def left(page: Page) -> Decimal:
    """What the page says that the key may still spend."""
    said = page.get_by_role("link", name="left").text_content() or ""
    return Decimal(said.removeprefix("$").removesuffix(" left"))


def test_the_key_is_in_the_sealed_cookie_and_nowhere_else(
    page: Page, context: BrowserContext, desk: ExampleApp, server: ServerProcess
) -> None:
    _, secret = make_account(server, "keeper")
    paste_key(page, desk, secret)
    write(page, "Hello.")
    cost_shown(page)
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    cookies = context.cookies(desk.url)
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]
    needle = secret[18:-4]  # all behind the part that pages may show
    assert needle not in page.content() + kept + str(cookies)
    for path in (file for file in desk.log.parent.rglob("*") if file.is_file()):
        assert needle.encode() not in path.read_bytes(), path

    page.reload()
    expect(page.get_by_role("link", name="left")).to_be_visible()  # it is still there
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_label("Latchgate key")).to_be_focused()
    assert context.cookies(desk.url) == []


def test_a_forged_cookie_and_another_sites_page_are_refused(desk: ExampleApp) -> None:
    forged = {"cookie": "letter_desk_key=gAAAAABrB1FZTX-CPb-1gx3s"}
    assert status_of(urllib.request.Request(f"{desk.url}/key", headers=forged)) == 401
    for site in ("same-site", "cross-site", "none"):
        foreign = {"sec-fetch-site": site}
        forget = urllib.request.Request(f"{desk.url}/key", headers=foreign, method="DELETE")
        assert status_of(forget) == 403


def status_of(request: urllib.request.Request) -> int:
    """The status of a refusal."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    return refused.value.code


def test_stop_keeps_what_has_come_and_only_that_is_paid(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    address, secret = make_account(server, "stopper")
    paste_key(page, desk, secret)
    page.get_by_text("Long", exact=True).click()
    write(page, "Tell the whole story of my journey over the sea.")
    expect(page.get_by_label("Text")).to_have_value(re.compile(r"\w+ \w+"))  # while it is written
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_contain_text("Stopped.")
    written = page.get_by_label("Text").input_value()
    assert written.strip()
    log_in(page, server, address)
    page.get_by_role("link", name="Usage").first.click()
    call = page.locator("tr.link").filter(has_text=MODEL)
    expect(call).to_contain_text("Letter desk")
    expect(call).to_contain_text("App hung up")
    tokens_out = int(call.get_by_role("cell").all_text_contents()[5])
    assert 0 < tokens_out < TOKENS_OUT_MAX_OF_LONG


def test_a_refused_key_says_so_beside_the_field(page: Page, desk: ExampleApp) -> None:
    page.goto(desk.url)
    for typed, sentence in (
        ("my key", "has no spaces"),
        (UNKNOWN_KEY, "does not accept this key"),
    ):
        page.get_by_label("Latchgate key").fill(typed)
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("alert")).to_contain_text(sentence)
    expect(page.get_by_role("link", name="Go to your keys")).to_be_visible()


def test_a_key_that_was_revoked_is_asked_for_again_and_the_text_stays(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    address, secret = make_account(server, "revoker")
    paste_key(page, desk, secret)
    page.get_by_label("Text").fill("My own words.")
    server.cli("key", "revoke", server.cli("key", "list", address)["keys"][0]["id"])
    write(page)
    expect(page.get_by_role("alert")).to_contain_text("does not accept this key")
    expect(page.get_by_label("Latchgate key")).to_be_focused()
    expect(page.get_by_label("Text")).to_have_value("My own words.")


def test_a_key_that_is_revoked_in_mid_draft_cuts_it_and_says_so(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    address, secret = make_account(server, "midway")
    paste_key(page, desk, secret)
    page.get_by_text("Long", exact=True).click()
    write(page, "Tell the whole story of my journey over the sea.")
    expect(page.get_by_label("Text")).to_have_value(re.compile(r"\w+ \w+"))
    server.cli("key", "revoke", server.cli("key", "list", address)["keys"][0]["id"])
    expect(page.get_by_role("alert")).to_contain_text("does not accept this key")
    expect(page.get_by_role("button", name="Write a draft")).to_be_enabled()
    assert page.get_by_label("Text").input_value().strip()  # what had come is the user's


def test_a_suspended_account_hears_latchgates_own_sentence(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    address, secret = make_account(server, "suspended")
    paste_key(page, desk, secret)
    server.cli("account", "suspend", address)
    write(page)
    expect(page.get_by_role("alert").first).to_contain_text(
        re.compile("Latchgate says: [A-Z].*suspended")
    )


def test_a_limit_says_whose_it_is_and_where_to_change_it(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    address, secret = make_account(server, "limited")
    paste_key(page, desk, secret)
    alert = page.get_by_role("alert")
    for what, sentence in (
        ("account", "Your account has reached"),
        ("key", "Your key has reached"),
    ):
        server.cli("limit", "set", address, what, "month", "0")
        write(page)
        expect(alert).to_contain_text(sentence)
        expect(page.get_by_role("link", name="See your limits")).to_be_visible()
        server.cli("limit", "remove", address, what, "month")


def test_a_rate_says_how_long_to_wait(page: Page, desk: ExampleApp, server: ServerProcess) -> None:
    address, secret = make_account(server, "hasty")
    paste_key(page, desk, secret)
    server.cli("limit", "rate", address, "--requests-per-minute", "1")
    client(server, secret).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello."}], max_tokens=1
    )
    write(page)
    expect(page.get_by_role("alert")).to_contain_text("too fast for your key. Try again in")


def test_an_empty_account_says_that_nothing_was_charged(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    _, secret = make_account(server, "poor", "--credit", "0")
    paste_key(page, desk, secret)
    assert left(page) == 0
    write(page)
    expect(page.get_by_role("alert")).to_contain_text("Your credit is used up. Nothing was charged")
    expect(page.get_by_role("link", name="See your credit")).to_be_visible()


def test_a_draft_that_the_credit_cuts_short_says_so(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    _, secret = make_account(server, "nearly", "--credit", "0.0001")
    paste_key(page, desk, secret)
    page.get_by_text("Long", exact=True).click()
    write(page, "Tell the whole story of my journey over the sea.")
    cost_shown(page)
    expect(page.get_by_role("status")).to_contain_text("your credit or limit carried no more")


def test_a_server_that_is_away_is_named_and_nothing_is_lost(
    page: Page, desk: ExampleApp, server: ServerProcess, tmp_path: Path
) -> None:
    nowhere = f"http://localhost:{free_port()}"
    options = ("--api", f"{nowhere}/v1", "--data", str(desk.log.parent / "data"))
    with ExampleApp("letter-desk", "letter_desk", tmp_path / "log", *options) as lost:
        page.goto(lost.url)
        page.get_by_label("Latchgate key").fill(UNKNOWN_KEY)
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("alert")).to_contain_text(f"does not answer at {nowhere}")
        expect(page.get_by_label("Latchgate key")).to_have_value(UNKNOWN_KEY)
        page.get_by_label("What should it say?").fill(ABOUT)
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("alert")).to_contain_text("The desk itself does not answer")
    expect(page.get_by_label("What should it say?")).to_have_value(ABOUT)


def test_a_letter_is_written_by_keyboard_alone(
    page: Page, desk: ExampleApp, server: ServerProcess
) -> None:
    _, secret = make_account(server, "typist")
    page.goto(desk.url)
    page.keyboard.press("Tab")  # the link to the console
    page.keyboard.press("Tab")
    page.keyboard.insert_text(secret)
    page.keyboard.press("Enter")
    expect(page.get_by_label("What should it say?")).to_be_focused()
    page.keyboard.type("Say hello to Tom.")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Neutral")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    cost_shown(page)


def test_the_desk_fits_and_is_pictured(
    look: tuple[BrowserContext, str], desk: ExampleApp, server: ServerProcess, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    page.goto(desk.url)
    picture(page, screenshots, f"letter-desk-new-{name}")
    page.get_by_label("Latchgate key").fill(UNKNOWN_KEY)
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("link", name="Go to your keys")).to_be_visible()
    picture(page, screenshots, f"letter-desk-refused-{name}")
    address, secret = make_account(server, f"look-{name}")
    paste_key(page, desk, secret)
    write(page)
    cost_shown(page)
    picture(page, screenshots, f"letter-desk-written-{name}")
    server.cli("limit", "set", address, "account", "month", "0")
    page.get_by_role("button", name="Shorter").click()
    expect(page.get_by_role("link", name="See your limits")).to_be_visible()
    picture(page, screenshots, f"letter-desk-limit-{name}")
