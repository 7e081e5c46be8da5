"""The story of the product, told by a real browser, the official SDK and the embedded model."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import openai
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.support import outbox
from tests.support.server import ROOT, ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]

PASSWORD = "plum river lantern"
MODEL = "smollm2-135m"
KEY = re.compile(r"sk-lg-[0-9A-Za-z]{50}")


def sign_up(page: Page, server: ServerProcess, address: str) -> None:
    """From the front page to the personal one."""
    page.goto(server.url)
    page.get_by_role("link", name="Make an account").click()
    page.get_by_label("E-mail").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()


def create_key(page: Page, name: str = "") -> str:
    """From the sidebar to the copied key; the dialog stays open."""
    sidebar = page.get_by_role("navigation", name="User", exact=True)
    sidebar.get_by_role("link", name="API keys").click()
    page.get_by_role("button", name="Create new secret key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Create secret key").click()
    expect(dialog.get_by_text("never be shown again")).to_be_visible()
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    secret: str = page.evaluate("navigator.clipboard.readText()")
    assert KEY.fullmatch(secret)
    return secret


def press_done(page: Page) -> None:
    """Done: the dialog is gone, and the key with it."""
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert not KEY.search(page.content())


def client(server: ServerProcess, secret: str) -> openai.OpenAI:
    """The official SDK with a key, as an app would use it."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=secret, max_retries=0)


def ask(sdk: openai.OpenAI, model: str = MODEL) -> tuple[int, int, int]:
    """One whole answer: tokens in, out, and what it cost."""
    answer = sdk.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=12
    )
    assert answer.choices[0].message.content
    assert answer.usage
    cost: int = answer.usage.model_extra["cost_nanos"]  # type: ignore[index]
    return answer.usage.prompt_tokens, answer.usage.completion_tokens, cost


def ask_streamed(sdk: openai.OpenAI) -> tuple[int, int, int]:
    """One streamed answer: tokens in, out, and what it cost."""
    stream = sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me about the sea."}],
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    for chunk in stream:
        usage = chunk.usage or usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text
    assert usage
    cost: int = usage.model_extra["cost_nanos"]  # type: ignore[index]
    return usage.prompt_tokens, usage.completion_tokens, cost


def test_the_whole_story(page: Page, context: BrowserContext, server: ServerProcess) -> None:
    page.goto(server.url)
    expect(page.get_by_role("link", name="Log in").first).to_be_visible()
    sign_up(page, server, "ada@example.com")
    secret = create_key(page, "Letter desk")
    press_done(page)
    row = page.get_by_role("row").filter(has_text="Letter desk")
    expect(row).to_contain_text(f"{secret[:10]}…{secret[-4:]}")
    expect(row).to_contain_text("Never")

    sdk = client(server, secret)
    calls = [ask(sdk), ask_streamed(sdk)]

    page.get_by_role("link", name="Usage").first.click()
    rows = (
        page.get_by_role("region", name="Calls", exact=True)
        .get_by_role("row")
        .filter(has_text=MODEL)
    )
    expect(rows).to_have_count(2)
    for shown, (tokens_in, tokens_out, cost) in zip(
        reversed(rows.all()), calls, strict=True
    ):  # the newest stands first
        cells = shown.get_by_role("cell").all_text_contents()
        assert (cells[3], cells[5]) == (f"{tokens_in:,}", f"{tokens_out:,}")
        assert Decimal(cells[7].strip("$")) == Decimal(cost) / 10**9

    spent = Decimal(sum(cost for _, _, cost in calls)) / 10**9
    for split, name in (("app", "OpenAI/Python"), ("model", MODEL)):
        page.get_by_role("link", name=split.capitalize(), exact=True).click()
        region = f"By {split}"
        (row,) = page.get_by_role("region", name=region).locator("tbody tr").all()
        expect(row).to_contain_text(name)
        assert Decimal((row.locator("td").last.text_content() or "").strip("$")) == spent
    page.get_by_role("link", name="Credit").first.click()
    assert figure(page, "Credit") == Decimal(5)
    assert figure(page, "Spent") == spent
    assert figure(page, "Held") == 0
    assert figure(page, "Available") == Decimal(5) - spent
    shown = page.locator("tbody td:last-child").all_text_contents()
    amounts = [Decimal(text.replace("−", "-").replace("$", "")) for text in shown]
    assert sum(amounts) == Decimal(5) - spent

    page.get_by_role("link", name="API keys").first.click()
    top = {"x": 0, "y": 0, "width": 1440, "height": 480}
    page.screenshot(path=ROOT / "docs" / "images" / "keys.png", clip=top)
    fresh = create_key(page, "Phone")
    ask(client(server, secret))  # the old one works until Done
    press_done(page)
    with pytest.raises(openai.AuthenticationError):
        ask(client(server, secret))
    ask(client(server, fresh))

    page.get_by_role("button", name="Revoke Phone").click()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("You have no key")).to_be_visible()
    with pytest.raises(openai.AuthenticationError):
        ask(client(server, fresh))
    assert server.cli("audit")["findings"] == []
    assert_nowhere(server, page, context, secret, fresh)


def figure(page: Page, name: str) -> Decimal:
    """One of the page's figures, exactly."""
    value = page.locator(".figure").filter(has=page.get_by_text(name, exact=True))
    return Decimal((value.locator(".value").text_content() or "").strip().strip("$"))


def assert_nowhere(
    server: ServerProcess, page: Page, context: BrowserContext, *secrets: str
) -> None:
    """The secrets are in no file, no log, no page, no storage and no cookie of the browser."""
    files = [path for path in server.data.rglob("*") if path.is_file()]
    assert any(path.name == "latchgate.db" for path in files)
    for secret in secrets:
        needle = secret[18:].encode()  # all behind the public part
        for path in [*files, server.log]:
            assert needle not in path.read_bytes(), path
        for place in ("/api-keys", "/home", "/usage", "/billing", "/security"):
            page.goto(server.url + place)
            assert needle.decode() not in page.content()
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert needle.decode() not in kept
        assert all(needle.decode() not in str(cookie) for cookie in context.cookies())


def test_the_old_key_ends_when_the_new_one_is_first_used(page: Page, server: ServerProcess) -> None:
    sign_up(page, server, "grace@example.com")
    old = create_key(page)
    press_done(page)
    fresh = create_key(page)
    ask(client(server, old))
    ask(client(server, fresh))
    with pytest.raises(openai.AuthenticationError):
        ask(client(server, old))
    page.goto(f"{server.url}/api-keys")  # he never pressed Done, and need not
    expect(page.get_by_text("Live", exact=True)).to_have_count(1)


def test_escape_does_not_lose_the_key(page: Page, server: ServerProcess) -> None:
    sign_up(page, server, "joan@example.com")
    create_key(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog").get_by_role("button", name="Done")).to_be_visible()
    press_done(page)


def test_a_form_sent_twice_makes_one_key(page: Page, server: ServerProcess) -> None:
    sign_up(page, server, "mary@example.com")
    create_key(page)
    page.reload()
    expect(page.get_by_text("has made its key already")).to_be_visible()
    assert not KEY.search(page.content())
    assert len(server.cli("key", "list", "mary@example.com")["keys"]) == 1


def test_a_pending_key_is_explained_and_can_be_switched_to(
    page: Page, server: ServerProcess
) -> None:
    sign_up(page, server, "edith@example.com")
    create_key(page, "First")
    press_done(page)
    create_key(page, "Second")
    page.goto(f"{server.url}/api-keys")
    page.get_by_role("button", name="switch now").click()
    expect(page.get_by_role("row").filter(has_text="Live")).to_contain_text("Second")


#: What a sighted reader sees of where he is: an outline of two pixels, inside the window.
_IS_MARKED = """(element) => {
    const box = element.getBoundingClientRect();
    const outlines = [null, "::after"].map((part) => getComputedStyle(element, part));
    return outlines.some((one) => one.outlineStyle !== "none" && parseFloat(one.outlineWidth) >= 2)
        && box.width > 0 && box.bottom > 0 && box.top < innerHeight;
}"""


def expect_marked(page: Page, target: Locator) -> None:
    """The target has the focus, and it can be seen that it has."""
    expect(target).to_be_focused()
    assert target.evaluate(_IS_MARKED), (page.url, target)


def tab_to(page: Page, target: Locator) -> None:
    """Go from where one is to the target with Tab alone; each stop on the way shows itself."""
    expect(target).to_be_visible()
    for _ in range(40):
        page.keyboard.press("Tab")
        if target.evaluate("(element) => element === document.activeElement"):
            break
        assert page.locator(":focus").evaluate(_IS_MARKED), page.locator(":focus")
    expect_marked(page, target)


def test_the_whole_way_from_sign_up_to_revocation_goes_by_keyboard_alone(
    page: Page, server: ServerProcess
) -> None:
    page.goto(server.url)
    tab_to(page, page.get_by_role("link", name="Make an account"))
    page.keyboard.press("Enter")
    expect_marked(page, page.get_by_label("E-mail"))
    page.keyboard.type("helen@example.com")
    tab_to(page, page.get_by_label("Password"))
    page.keyboard.type(PASSWORD)
    tab_to(page, page.get_by_role("button", name="Make my account"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    tab_to(page, page.get_by_role("link", name="Create your secret key"))
    page.keyboard.press("Enter")

    opener = page.get_by_role("button", name="Create new secret key")
    tab_to(page, opener)
    page.keyboard.press("Enter")
    expect_marked(page, page.get_by_role("dialog").get_by_label("Name"))
    page.keyboard.press("Escape")
    expect_marked(page, opener)  # whoever thinks better of it is where he was
    page.keyboard.press("Enter")
    page.keyboard.type("By keyboard")
    tab_to(page, page.get_by_role("button", name="Create secret key"))
    page.keyboard.press("Enter")
    copy = page.get_by_role("dialog").get_by_role("button", name="Copy")
    expect_marked(page, copy)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert KEY.fullmatch(page.evaluate("navigator.clipboard.readText()"))
    tab_to(page, page.get_by_role("button", name="Done"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("row").filter(has_text="By keyboard")).to_contain_text("Live")

    tab_to(page, page.get_by_role("button", name="Revoke By keyboard"))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_role("dialog").get_by_role("button", name="Revoke key"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("You have no key")).to_be_visible()


def test_log_in_log_out_everywhere_and_a_forgotten_password(
    page: Page, server: ServerProcess
) -> None:
    sign_up(page, server, "rosa@example.com")
    page.get_by_role("button", name="Log out").first.click()
    expect(page.get_by_text("You are logged out")).to_be_visible()
    page.goto(f"{server.url}/api-keys")
    expect(page).to_have_url(re.compile(r"/login\?next=/api-keys"))
    page.get_by_role("link", name="Forgotten").click()
    page.get_by_label("E-mail").fill("rosa@example.com")
    page.get_by_role("button", name="Mail me a link").click()
    expect(page.get_by_text("is on its way")).to_be_visible()
    page.goto(mailed_link(server.data, "rosa@example.com"))
    page.get_by_label("New password").fill("password1")
    page.get_by_role("button", name="Change my password").click()
    expect(page.get_by_text("tried first")).to_be_visible()
    page.get_by_label("New password").fill("another quiet harbour")
    page.get_by_role("button", name="Change my password").click()
    page.get_by_label("E-mail").fill("rosa@example.com")
    page.get_by_label("Password").fill("another quiet harbour")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.get_by_role("link", name="Security").first.click()
    page.get_by_role("button", name="Log out everywhere").click()
    expect(page.get_by_text("logged out on all devices")).to_be_visible()


def mailed_link(data: Path, to: str) -> str:
    """The link of the newest mail about a forgotten password."""
    pattern = r"http://\S+/reset\?\S+"
    return outbox.until(lambda: re.findall(pattern, "\n".join(outbox.texts_to(data, to))))[0]
