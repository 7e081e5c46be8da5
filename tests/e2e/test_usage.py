"""The usage page in a browser: from the chart to a call's receipt, with and without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.test_pages import assert_fits, log_in, picture
from tests.e2e.test_story import MODEL, ask, ask_streamed, client, create_key, press_done, sign_up
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.model]
EMAIL = "ursula@example.com"


@pytest.fixture(scope="module")
def used(server: ServerProcess, browser: Browser) -> str:
    """An account with calls of two apps."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    sign_up(page, server, EMAIL)
    sdk = client(server, create_key(page, "Laptop"))
    press_done(page)
    ask(sdk)
    ask_streamed(sdk.with_options(default_headers={"X-Title": "Letter desk"}))
    ask(sdk.with_options(default_headers={"X-Title": "Letter desk"}))
    context.close()
    return EMAIL


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def tab(
    request: pytest.FixtureRequest, browser: Browser, server: ServerProcess, used: str
) -> Iterator[Page]:
    """A browser in which she is logged in."""
    context: BrowserContext = browser.new_context(java_script_enabled=request.param)
    page = context.new_page()
    log_in(page, server, used)
    yield page
    context.close()


def _calls(page: Page) -> int:
    """How many calls the list has."""
    return page.get_by_role("region", name="Calls", exact=True).locator("tbody tr").count()


def test_a_bar_leads_to_its_calls_and_a_call_to_its_receipt(tab: Page) -> None:
    tab.get_by_role("link", name="Usage").first.click()
    chart = tab.get_by_role("region", name="Spending per day")
    bars = chart.get_by_role("list", name="Spending per day").get_by_role("link")
    expect(bars).to_have_count(1)
    expect(bars).to_have_accessible_name(re.compile(r"^\d+ \w+ \d{4}: \$0\.\d+, 3 calls, "))
    bars.click()
    expect(tab.get_by_role("heading", name="Spending per hour")).to_be_visible()
    hours = tab.get_by_role("list", name="Spending per hour").get_by_role("link")
    hours.last.click()
    quarters = tab.get_by_role("list", name="Spending per quarter hour")
    expect(quarters).to_be_visible()
    assert 1 <= _calls(tab) <= 3
    tab.get_by_role("region", name="Calls", exact=True).locator("tbody a").first.click()
    expect(tab.get_by_role("heading", name="How the charge comes about")).to_be_visible()
    expect(tab.get_by_text("price version 1")).to_be_visible()


def test_filters_stand_in_the_address_and_bind_chart_list_and_files(
    tab: Page, tmp_path: Path
) -> None:
    tab.get_by_role("link", name="Usage").first.click()
    assert _calls(tab) == 3
    tab.get_by_label("App", exact=True).select_option("Letter desk")
    tab.get_by_label("Model", exact=True).select_option(MODEL)
    tab.get_by_role("button", name="Apply").click()
    assert "app=Letter+desk" in tab.url
    assert _calls(tab) == 2
    for name, heading in (("Tokens", "Tokens per day"), ("Calls", "Calls per day")):
        tab.get_by_role("navigation", name="What is shown").get_by_role("link", name=name).click()
        expect(tab.get_by_role("heading", name=heading)).to_be_visible()
    for name in ("Model", "Key", "App"):
        tab.get_by_role("navigation", name="Split by").get_by_role("link", name=name).click()
        expect(tab.get_by_role("heading", name=f"By {name.lower()}")).to_be_visible()
    tab.get_by_text("The chart as a table").click()
    table = tab.get_by_role("region", name="Calls per day").get_by_role("table")
    expect(table.get_by_role("columnheader", name="Letter desk")).to_be_visible()
    expect(table.locator("tbody td").last).to_have_text("2")
    with tab.expect_download() as download:
        tab.get_by_role("link", name="JSON").click()
    file = tmp_path / "calls.json"
    download.value.save_as(file)
    assert [call["app"] for call in json.loads(file.read_text())["data"]] == ["Letter desk"] * 2
    tab.get_by_role("link", name="Clear").click()
    assert _calls(tab) == 3


def test_own_dates_and_a_request_id_are_typed(tab: Page) -> None:
    tab.get_by_role("link", name="Usage").first.click()
    call = tab.get_by_role("region", name="Calls", exact=True).locator("tbody a").first
    request_id = (call.get_attribute("href") or "").rpartition("/")[2]
    tab.get_by_text("Own dates").click()
    tab.get_by_label("From").fill("2026-01-01")
    tab.get_by_label("To", exact=True).fill("2026-01-31")
    tab.get_by_role("button", name="Show", exact=True).click()
    expect(tab.get_by_role("heading", name="No calls in this period")).to_be_visible()
    expect(tab.get_by_text("1 Jan to 31 Jan 2026").first).to_be_visible()
    tab.get_by_label("Request id").fill(request_id)
    tab.get_by_role("button", name="Find").click()
    expect(tab.locator("tbody tr")).to_have_count(1)
    expect(tab.locator("tbody a").first).to_have_attribute("href", f"/usage/{request_id}")


@pytest.mark.parametrize("width", [390, 1440])
def test_every_state_of_the_page_fits(
    browser: Browser, server: ServerProcess, used: str, screenshots: Path, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    log_in(page, server, used)
    for name, address in (
        ("usage-hours", "/usage?period=7d&per=hour&split=model&show=tokens"),
        ("usage-today", "/usage?period=today&split=key"),
        ("usage-year", "/usage?from=2026-01-01&to=2026-12-31"),
        ("usage-empty", "/usage?period=last_month&app=" + "x" * 200),
        ("usage-found", "/usage?q=nothing"),
    ):
        page.goto(server.url + address)
        picture(page, screenshots, f"{name}-{width}")
    page.get_by_role("link", name="All calls").click()
    page.get_by_text("Own dates").click()
    assert_fits(page)
    context.close()
