"""Help desk on a business's site, used by a real browser, with the embedded models."""

from __future__ import annotations

import base64
import email
import email.policy
import functools
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, expect

from tests.e2e.test_letter_desk import DRAFT_TIMEOUT_MS, make_account, status_of
from tests.e2e.test_pages import look, picture
from tests.support.example_app import ExampleApp
from tests.support.server import ROOT, ServerProcess, free_port
from tests.unit.smtp_server import smtp_server

__all__ = ["look"]
pytestmark = [pytest.mark.e2e, pytest.mark.model]

FOLDER = ROOT / "examples" / "help-desk"
PASSWORD = "orchard-lane-twelve"
UNKNOWN = "I can't find that in our pages"
AWAY = "I can't look things up just now"


def api_of(server: ServerProcess) -> str:
    """The base URL that the desk is given."""
    return f"{server.url}/v1"


class Site(BaseHTTPRequestHandler):
    """A business's own site: one page, a strict content policy, and the one line."""

    def __init__(self, desk_url: str, *args: object) -> None:
        self._desk_url = desk_url
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send the page, whatever is asked for."""
        script = f'<script src="{self._desk_url}/help-desk.js" async></script>'
        page = f"<!doctype html><html lang=en><title>Shop</title><h1>Our shop</h1>{script}"
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        policy = f"default-src 'none'; script-src {self._desk_url}; frame-src {self._desk_url}"
        self.send_header("content-security-policy", policy)
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Business:
    """A running desk, its site, and its account at Latchgate."""

    desk: ExampleApp
    folder: Path
    site_url: str
    address: str
    secret: str

    def letters(self) -> list[EmailMessage]:
        """What lies in the outbox."""
        read = functools.partial(email.message_from_bytes, policy=email.policy.default)
        return [read(path.read_bytes()) for path in (self.folder / "data/outbox").glob("*.eml")]


def configure(folder: Path, api: str, **changes: str) -> Path:
    """The example's own settings and pages in a folder, with some lines changed."""
    shutil.copytree(FOLDER / "documents", folder / "documents")
    written = (FOLDER / "help-desk.toml").read_text()
    for name, value in {"base_url": f'"{api}"', **changes}.items():
        written, count = re.subn(rf"(?m)^{name} = [^#\n]*", f"{name} = {value}  ", written)
        assert count == 1, name
    path = folder / "help-desk.toml"
    path.write_text(written)
    return path


def start(folder: Path, api: str, secret: str, **changes: str) -> ExampleApp:
    """A desk of its own over a folder of its own."""
    config = configure(folder, api, **changes)
    environment = {"LATCHGATE_KEY": secret, "HELP_DESK_PASSWORD": PASSWORD}
    options = ("--config", str(config))
    return ExampleApp("help-desk", "help_desk", folder / "log", *options, **environment)


@pytest.fixture(scope="module")
def business(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Business]:
    """A business with a site, and a desk that may be embedded there."""
    folder = tmp_path_factory.mktemp("help-desk")
    address, secret = make_account(server, "fern-and-finch")
    site_url = f"http://localhost:{free_port()}"
    changes = {"sites": f'["{site_url}"]', "questions_per_minute": "100", "letters_per_day": "100"}
    with start(folder, api_of(server), secret, **changes) as desk:
        answer = functools.partial(Site, desk.url)
        site = ThreadingHTTPServer(("127.0.0.1", int(site_url.rpartition(":")[2])), answer)
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield Business(desk, folder, site_url, address, secret)
        site.shutdown()
        thread.join()
        site.server_close()


def open_chat(page: Page, url: str) -> FrameLocator:
    """From a page of a site to the open chat."""
    page.goto(url)
    page.get_by_role("button", name="Questions?").click()
    chat = page.frame_locator("iframe[title='Help desk']")
    expect(chat.get_by_label("Your question")).to_be_visible()
    return chat


def ask(chat: FrameLocator | Page, question: str) -> str:
    """Ask, and wait for what the desk says."""
    said = chat.locator(".said.desk:not(.waiting)")
    before = said.count()
    chat.get_by_label("Your question").fill(question)
    chat.get_by_role("button", name="Send").click()
    expect(said).to_have_count(before + 1, timeout=DRAFT_TIMEOUT_MS)
    return said.last.text_content() or ""


def transcripts(browser: Browser, desk: ExampleApp) -> Page:
    """The business's page, for whoever has the password."""
    context = browser.new_context(http_credentials={"username": "us", "password": PASSWORD})
    page = context.new_page()
    page.goto(f"{desk.url}/transcripts")
    return page


def test_a_visitor_is_answered_from_a_page_that_is_cited(
    page: Page, context: BrowserContext, business: Business
) -> None:
    chat = open_chat(page, business.site_url)
    said = ask(chat, "What does delivery cost?")
    assert "4.90 euro" in said
    with context.expect_page() as opened:
        chat.get_by_role("link", name="Delivery › What delivery costs").click()
    cited = opened.value
    assert cited.url == f"{business.desk.url}/pages/delivery#what-delivery-costs"
    expect(cited.get_by_role("heading", name="What delivery costs")).to_be_visible()


def test_what_the_pages_do_not_say_goes_to_a_person_with_the_conversation(
    page: Page, browser: Browser, business: Business
) -> None:
    chat = open_chat(page, business.site_url)
    assert "10:00" in ask(chat, "When are you open?")
    said = ask(chat, "Who won the football world cup in 1990?")
    assert said.startswith(UNKNOWN)
    chat.get_by_role("button", name="Ask a person").click()
    expect(chat.get_by_label("What is it about?")).to_have_value(
        "Who won the football world cup in 1990?"
    )
    chat.get_by_label("Your e-mail").fill("ida@example")
    chat.get_by_role("button", name="Send the letter").click()
    expect(chat.get_by_role("alert")).to_contain_text("not an address that we can write back to")
    chat.get_by_label("Your e-mail").fill("ida@example.org")
    chat.get_by_role("button", name="Send the letter").click()
    expect(chat.get_by_text("A person will answer you at ida@example.org")).to_be_visible()

    [letter] = [each for each in business.letters() if each["Reply-To"] == "ida@example.org"]
    assert letter["To"] == "support@fern-and-finch.example"
    text = letter.get_content().replace("\r\n", "\n")
    assert "ida@example.org writes:\n\nWho won the football world cup" in text
    assert "Visitor: When are you open?" in text

    listed = transcripts(browser, business.desk)
    listed.get_by_role("link", name="Not in our pages").click()
    row = listed.get_by_role("row").filter(has_text="When are you open?")
    expect(row).to_contain_text("Handed over")
    row.get_by_role("link").click()
    lines = listed.get_by_role("listitem")
    expect(lines.filter(has_text="Who won the football").first).to_contain_text("Asked")
    expect(lines.filter(has_text=UNKNOWN)).to_contain_text("nearness 0.")
    expect(lines.filter(has_text="10:00")).to_contain_text("/pages/visiting#opening-hours")
    expect(lines.last).to_contain_text("Handed over")
    listed.context.close()


def test_the_conversation_goes_on_when_the_visitor_turns_a_page(
    page: Page, business: Business
) -> None:
    chat = open_chat(page, business.site_url)
    ask(chat, "How long is a gift card valid?")
    chat = open_chat(page, f"{business.site_url}/another")
    expect(chat.locator(".said.visitor")).to_have_text(["How long is a gift card valid?"])


def test_the_businesss_key_never_leaves_its_server(page: Page, business: Business) -> None:
    bodies: list[bytes] = []
    page.on("response", lambda answer: bodies.append(answer.body()) if answer.ok else None)
    ask(open_chat(page, business.site_url), "Can I pay with a gift card?")
    assert len(bodies) > 4
    needle = business.secret[18:].encode()
    kept = [path.read_bytes() for path in business.folder.rglob("*") if path.is_file()]
    assert not any(needle in each for each in [*bodies, *kept])


def test_a_page_that_is_edited_is_known_to_the_next_answer(page: Page, business: Business) -> None:
    page.goto(f"{business.desk.url}/chat")
    question = "Do you offer workshops about bonsai trees?"
    assert UNKNOWN in ask(page, question)
    added = business.folder / "documents" / "workshops.md"
    added.write_text(
        "# Workshops\n\n## Bonsai\n\nA bonsai workshop is held each Friday at 17:00.\n"
    )
    assert "17:00" in ask(page, question)
    added.unlink()
    assert UNKNOWN in ask(page, question)


def test_what_a_visitor_types_stays_text(page: Page, browser: Browser, business: Business) -> None:
    page.goto(f"{business.desk.url}/chat")
    typed = '<img src=x onerror="document.title=1"> {{ 7 * 7 }}'
    ask(page, typed)
    expect(page.locator(".said.visitor")).to_have_text(typed)
    listed = transcripts(browser, business.desk)
    listed.get_by_role("link", name=typed).click()
    expect(listed.get_by_role("listitem").first).to_contain_text(typed)
    assert listed.locator("img").count() + page.locator("img").count() == 0
    listed.context.close()


def test_a_refused_key_and_a_limit_are_the_businesss_to_see(
    page: Page, browser: Browser, business: Business, server: ServerProcess
) -> None:
    page.goto(f"{business.desk.url}/chat")
    server.cli("limit", "set", business.address, "account", "day", "0")
    page.get_by_label("Your question").fill("What does delivery cost?")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text(AWAY)
    expect(page.get_by_label("Your e-mail")).to_be_focused()
    expect(page.get_by_label("What is it about?")).to_have_value("What does delivery cost?")
    listed = transcripts(browser, business.desk)
    expect(listed.get_by_text("the account's limit is reached")).to_be_visible()
    listed.context.close()
    server.cli("limit", "remove", business.address, "account", "day")
    page.get_by_role("button", name="Back to the chat").click()
    assert "4.90" in ask(page, "What does delivery cost?")


def test_a_visitor_can_not_spend_the_businesss_credit_alone(
    page: Page, business: Business, server: ServerProcess, tmp_path: Path
) -> None:
    limits = {"questions_per_minute": "1", "letters_per_day": "1"}
    with start(tmp_path, api_of(server), business.secret, **limits) as desk:
        page.goto(f"{desk.url}/chat")
        ask(page, "What does delivery cost?")
        page.evaluate("sessionStorage.clear()")
        page.reload()  # a new conversation is still the same visitor
        page.get_by_label("Your question").fill("When are you open?")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text(re.compile(r"Please wait \d+ s before"))
        expect(page.get_by_label("Your question")).to_have_value("When are you open?")
        assert page.get_by_label("Your question").get_attribute("maxlength") == "500"
        assert status_of(post(desk, "question", b'{"question": "' + b"x" * 501 + b'"}')) == 400
        assert status_of(post(desk, "question", b"x" * 20_000)) == 413


def post(desk: ExampleApp, to: str, body: bytes) -> urllib.request.Request:
    """What a program that is no browser might send."""
    return urllib.request.Request(f"{desk.url}/chat/{to}", body)


def test_without_latchgate_a_letter_still_reaches_a_person_by_smtp(
    page: Page, browser: Browser, business: Business, tmp_path: Path
) -> None:
    nowhere = f"http://localhost:{free_port()}/v1"
    with smtp_server() as post_office:
        mail = {
            "smtp_host": '"127.0.0.1"',
            "smtp_port": str(post_office.port),
            "smtp_security": '"none"',
        }
        with start(tmp_path, nowhere, business.secret, **mail) as desk:
            chat = open_chat(page, desk.url)
            chat.get_by_role("button", name="Is a monstera safe for my cat?").click()
            expect(chat.get_by_role("alert")).to_contain_text(AWAY)
            chat.get_by_label("Your e-mail").fill("tom@example.org")
            chat.get_by_role("button", name="Send the letter").click()
            expect(chat.get_by_text("A person will answer you at tom")).to_be_visible()
            listed = transcripts(browser, desk)
            expect(listed.get_by_text(f"Latchgate does not answer at {nowhere}")).to_be_visible()
            listed.context.close()
    [letter] = post_office.letters
    assert letter.recipients == ["support@fern-and-finch.example"]
    assert letter.message["Reply-To"] == "tom@example.org"
    assert not (tmp_path / "data" / "outbox").exists()


def test_a_letter_that_can_not_be_mailed_is_kept(
    page: Page, browser: Browser, business: Business, tmp_path: Path
) -> None:
    nowhere = f"http://localhost:{free_port()}/v1"
    mail = {"smtp_host": '"127.0.0.1"', "smtp_port": str(free_port())}
    with start(tmp_path, nowhere, business.secret, **mail) as desk:
        page.goto(f"{desk.url}/chat")
        page.get_by_role("button", name="Talk to a person").click()
        page.get_by_label("Your e-mail").fill("eve@example.org")
        page.get_by_label("What is it about?").fill("My parcel is lost.")
        page.get_by_role("button", name="Send the letter").click()
        expect(page.get_by_text("We have your letter.")).to_be_visible()
        [kept] = (tmp_path / "data" / "outbox").glob("*.eml")
        assert b"My parcel is lost." in kept.read_bytes()
        assert kept.stat().st_mode & 0o077 == 0
        listed = transcripts(browser, desk)
        expect(listed.get_by_text("A letter could not be mailed")).to_be_visible()
        listed.context.close()


def test_only_the_named_sites_may_show_the_chat_and_nobody_else_may_send(
    business: Business,
) -> None:
    def ancestors(path: str) -> str:
        with urllib.request.urlopen(business.desk.url + path) as answer:
            return str(answer.headers["content-security-policy"].rpartition("frame-ancestors ")[2])

    assert ancestors("/chat") == f"'self' {business.site_url}"
    assert ancestors("/") == "'none'"
    foreign = post(business.desk, "question", b"{}")
    foreign.add_header("sec-fetch-site", "same-site")
    assert status_of(foreign) == 403


def test_transcripts_are_behind_a_password_that_can_not_be_guessed_quickly(
    business: Business, tmp_path: Path
) -> None:
    with start(tmp_path, "http://localhost:1/v1", business.secret) as desk:
        request = urllib.request.Request(f"{desk.url}/transcripts")
        assert status_of(request) == 401
        given = base64.b64encode(b"us:wrong").decode()
        request.add_header("authorization", f"Basic {given}")
        assert [status_of(request) for _ in range(6)] == [401] * 5 + [429]
        right = base64.b64encode(f"us:{PASSWORD}".encode()).decode()
        request.add_header("authorization", f"Basic {right}")
        with urllib.request.urlopen(request) as answer:
            assert b"Nobody has asked anything yet" in answer.read()


def test_the_chat_is_used_by_keyboard_alone(page: Page, business: Business) -> None:
    page.goto(business.site_url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    chat = page.frame_locator("iframe[title='Help desk']")
    expect(chat.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("Can I pay cash?")
    page.keyboard.press("Enter")
    expect(chat.get_by_role("link", name="Paying › Ways to pay")).to_be_visible(
        timeout=DRAFT_TIMEOUT_MS
    )
    page.keyboard.press("Escape")
    button = page.get_by_role("button", name="Questions?")
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "false")


def test_the_help_desk_fits_and_is_pictured(
    look: tuple[BrowserContext, str], business: Business, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    page.goto(business.desk.url)
    picture(page, screenshots, f"help-desk-site-{name}")
    chat = open_chat(page, business.desk.url)
    page.screenshot(path=screenshots / f"help-desk-new-{name}.png")
    ask(chat, "What does delivery cost?")
    ask(chat, "Who won the football world cup in 1990?")
    page.screenshot(path=screenshots / f"help-desk-answered-{name}.png")
    chat.get_by_role("button", name="Ask a person").click()
    page.screenshot(path=screenshots / f"help-desk-letter-{name}.png")
    page.goto(f"{business.desk.url}/pages/delivery#what-delivery-costs")
    picture(page, screenshots, f"help-desk-page-{name}")
    token = base64.b64encode(f"us:{PASSWORD}".encode()).decode()
    context.set_extra_http_headers({"authorization": f"Basic {token}"})
    page.goto(f"{business.desk.url}/transcripts")
    picture(page, screenshots, f"help-desk-transcripts-{name}")
    page.get_by_role("table").get_by_role("link").first.click()
    picture(page, screenshots, f"help-desk-transcript-{name}")


def test_without_a_key_the_desk_says_what_it_needs(tmp_path: Path) -> None:
    desk = start(tmp_path, "http://localhost:1/v1", "")
    with pytest.raises(AssertionError, match="LATCHGATE_KEY=sk-lg-… "), desk:
        pass
