"""Limits by hand: set in the console, they bind the very next call."""

from __future__ import annotations

import openai
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_pages import assert_fits
from tests.e2e.test_story import MODEL, ask, client, create_key, press_done, sign_up
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


def _ask_ahead(sdk: openai.OpenAI) -> None:
    """Ask the embedded model at priority."""
    sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Say hi."}],
        max_tokens=4,
        service_tier="priority",
    )


def test_premium_is_off_until_its_owner_switches_it_on(
    browser: Browser, server: ServerProcess
) -> None:
    server.cli(
        *("model", "add", "dear", "--upstream", "embedded", "--upstream-model", MODEL),
        *("--input-price", "3", "--output-price", "15", "--context", "4096", "--tier", "premium"),
    )
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    sign_up(page, server, "thrifty@example.com")
    sdk = client(server, create_key(page, "Thrifty"))
    press_done(page)
    with pytest.raises(openai.NotFoundError, match="under Limits in the console"):
        ask(sdk, "dear")
    with pytest.raises(openai.BadRequestError, match="under Limits in the console"):
        _ask_ahead(sdk)
    assert "dear" not in {model.id for model in sdk.models.list()}

    page.get_by_role("link", name="Limits").first.click()
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_text("Premium models are on.")).to_be_visible()
    ask(sdk, "dear")
    _ask_ahead(sdk)
    page.get_by_role("link", name="Usage").first.click()
    page.get_by_role("link", name="Model", exact=True).click()
    for region in ("By model", "Calls"):
        expect(page.get_by_role("region", name=region, exact=True)).to_contain_text("Premium")
        expect(page.get_by_role("region", name=region, exact=True)).to_contain_text("Priority")

    page.get_by_role("link", name="Limits").first.click()
    page.get_by_role("button", name="Switch off").last.click()  # the key's
    with pytest.raises(openai.NotFoundError):
        ask(sdk, "dear")
    ask(sdk)
    context.close()
    server.cli("model", "remove", "dear")


def test_an_apps_name_is_shown_as_text_and_its_sums_for_the_chosen_period(
    browser: Browser, server: ServerProcess
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    sign_up(page, server, "many@example.com")
    sdk = client(server, create_key(page, "Many"))
    press_done(page)
    strange = "<img src=x onerror=alert(1)>"
    costs = {
        name: sum(ask(sdk.with_options(default_headers={"X-Title": name}))[2] for _ in range(times))
        for name, times in ((strange, 1), ("Desk", 2))
    }
    page.get_by_role("link", name="Usage").first.click()
    page.get_by_role("link", name="Today").click()
    rows = page.get_by_role("region", name="By app").locator("tbody tr")
    shown = {}
    for row in rows.all():
        name, _, calls, *_, spent = row.locator("td").all_text_contents()
        shown[name] = (int(calls), int(spent.replace("$", "").replace(".", "")))
    assert shown == {strange: (1, costs[strange]), "Desk": (2, costs["Desk"])}
    assert page.locator("img").count() == 0
    context.close()


def test_a_slider_says_what_an_amount_means_and_the_page_what_a_leak_could_cost(
    page: Page, server: ServerProcess
) -> None:
    sign_up(page, server, "slider@example.com")
    page.get_by_role("link", name="Limits").first.click()
    expect(page.get_by_text("the most it could cost today is $5.00")).to_be_visible()
    field = page.get_by_label("Each day", exact=True).first
    slider = page.get_by_label("Each day, slider").first
    means = page.locator("[id='account_limit.day-means']")
    expect(means).to_be_empty()
    expect(slider).to_be_visible()  # its script has come
    slider.focus()
    page.keyboard.press("Home")
    expect(field).to_have_value("0")
    expect(means).to_have_text("blocks every call that costs something")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(field).to_have_value("0.05")
    by_script = means.text_content() or ""
    assert by_script.startswith("about ")
    page.get_by_role("button", name="Save limits").click()
    expect(page.get_by_text("Saved. It binds the next call.")).to_be_visible()
    expect(means).to_have_text(by_script)  # the server says the same
    expect(page.get_by_text("the most it could cost today is $0.05")).to_be_visible()
    field.fill("1.00")
    expect(slider).to_have_value("7")
    assert_fits(page)
