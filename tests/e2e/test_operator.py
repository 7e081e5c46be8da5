"""The operator's pages by hand, with JavaScript and without, in both widths and themes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.e2e.test_pages import assert_fits, file_name, log_in, look, picture
from tests.e2e.test_story import PASSWORD, ask, client
from tests.support.model_server import ModelServerThread, answers
from tests.support.server import ServerProcess

__all__ = ["look"]

pytestmark = [pytest.mark.e2e, pytest.mark.model]
OPERATOR, ADA = "operator@example.com", "ada@example.com"
PAGES = (
    *("accounts", "plans", "billing", "models", "upstreams", "books", "health", "api"),
    *("models/import?provider=openai", "models/correct"),
)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without a model, with an operator and an account that has a key."""
    data = tmp_path_factory.mktemp("office") / "data"
    with ServerProcess(data, "--no-embedded-model") as running:
        words = ("--password-stdin", "--credit", "5.00")
        running.cli("account", "create", OPERATOR, "--operator", *words[:1], stdin=PASSWORD)
        running.cli("account", "create", ADA, *words, stdin=PASSWORD)
        running.cli("key", "create", ADA, "--name", "Laptop")
        yield running


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_finds_an_account_and_suspends_and_resumes_it(
    browser: Browser, office: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    log_in(page, office, OPERATOR)
    page.get_by_role("link", name="Accounts").first.click()
    page.get_by_label("Find").fill("ADA@")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("region", name="Found").get_by_role("link", name=ADA).click()
    expect(page.get_by_role("heading", name=ADA)).to_be_visible()
    expect(page.get_by_role("region", name="Keys")).to_contain_text("Laptop")
    page.get_by_role("link", name="Suspend").click()
    page.get_by_role("button", name="Suspend account").click()
    expect(page.get_by_text("Suspended: its keys are refused")).to_be_visible()
    assert office.cli("account", "show", ADA)["state"] == "suspended"
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Resumed: its calls are answered again.")).to_be_visible()
    assert office.cli("account", "show", ADA)["state"] == "active"

    field = page.get_by_role("textbox", name="US dollars")
    field.fill("a lot")
    page.get_by_role("button", name="Set credit line").click()
    expect(field).to_have_value("a lot")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("0")
    page.get_by_role("button", name="Set credit line").click()
    expect(page.get_by_text("The credit line is set.")).to_be_visible()
    expect(page.get_by_role("region", name="What was done")).to_contain_text("An operator")
    context.close()


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_puts_a_model_on_offer_and_changes_its_price(
    browser: Browser, office: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    name = f"lab-{has_javascript}".lower()
    log_in(page, office, OPERATOR)
    page.get_by_role("link", name="Upstreams").first.click()
    form = page.get_by_role("region", name="Add an upstream")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Base URL").fill("http://127.0.0.1:9/v1")
    form.get_by_role("textbox", name="Its key").fill("a-secret-of-theirs")
    form.get_by_role("button", name="Add upstream").click()
    expect(page.get_by_text("The upstream is in use.")).to_be_visible()
    expect(page.get_by_role("region", name="In use")).to_contain_text("with a key")
    page.get_by_role("button", name=f"Test {name}").click()
    expect(page.get_by_text("can't be reached")).to_be_visible()
    assert "a-secret-of-theirs" not in page.content()

    page.get_by_role("link", name="Models").first.click()
    form = page.get_by_role("region", name="Add a model")
    form.get_by_label("Name", exact=True).fill(f"{name}/m")
    form.get_by_label("Upstream").select_option(name)
    form.get_by_label("Context").fill("8192")
    form.get_by_label("Input (US dollars a million)", exact=True).fill("0.15")
    form.get_by_label("Output (US dollars").fill("0.60")
    form.get_by_role("button", name="Add model").click()
    expect(page.get_by_text("The model is on offer")).to_be_visible()
    page.get_by_role("link", name=f"Change {name}/m").click()
    page.get_by_label("Output").fill("0.90")
    later = datetime.now(UTC) + timedelta(days=30)
    page.get_by_label("In force from").fill(f"{later:%Y-%m-%dT18:00}")
    page.get_by_role("button", name="Set price").click()
    expect(page.get_by_text("The new price is announced")).to_be_visible()
    page.goto(f"{office.url}/prices")
    announced = page.get_by_role("region", name="What will change")
    expect(announced).to_contain_text(f"{later:%Y-%m-%d} 18:00:00 UTC")
    page.goto(f"{office.url}/operator/models")
    page.get_by_role("link", name=f"Change {name}/m").click()
    page.get_by_role("button", name="Withdraw version 2").click()
    expect(page.get_by_text("The price is withdrawn")).to_be_visible()
    page.get_by_role("link", name=f"Change {name}/m").click()
    page.get_by_label("Output").fill("0.70")
    page.get_by_role("button", name="Set price").click()
    expect(page.get_by_text("The new price is in force")).to_be_visible()
    (model,) = [m for m in office.cli("model", "list")["models"] if m["name"] == f"{name}/m"]
    assert (model["output_price"], model["price_version"]) == ("0.70", 3)
    page.get_by_role("link", name=f"Change {name}/m").click()
    page.get_by_role("button", name="Remove model").click()
    expect(page.get_by_text("The model is off the list.")).to_be_visible()
    context.close()


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_takes_over_a_price_and_puts_a_wrong_one_right(
    browser: Browser, office: ServerProcess, *, has_javascript: bool
) -> None:
    model, wrong = f"m-{has_javascript}".lower(), ("--input-price", "9", "--output-price", "9")
    secret = office.cli("key", "create", ADA, "--replace")["secret"]
    with ModelServerThread(answers("ok")) as server:
        office.cli("upstream", "add", model, "--base-url", server.base_url)
        office.cli("model", "add", model, "--upstream", model, *wrong, "--context", "8192",
                   "--upstream-model", "gpt-4o")  # fmt: skip
        ask(client(office, secret), model=model)
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    log_in(page, office, OPERATOR)
    page.goto(f"{office.url}/operator/models")
    page.get_by_role("link", name="Take over prices").click()
    page.get_by_label("Provider").fill("openai")
    page.get_by_role("button", name="Compare").click()
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_role("checkbox", name=model).check()
    page.get_by_role("button", name="Take over what is ticked").click()
    expect(page.get_by_text("The prices are taken over")).to_be_visible()

    page.get_by_role("link", name="Correct a price").click()
    now = datetime.now(UTC)
    page.get_by_label("Model", exact=True).fill(model)
    page.get_by_label("Calls from").fill(f"{now - timedelta(days=1):%Y-%m-%dT%H:%M}")
    page.get_by_label("Calls before").fill(f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M}")
    page.get_by_label("Input (US", exact=False).first.fill("2.5")
    page.get_by_label("Output (US").fill("2.5")
    page.get_by_role("button", name="Show who gets what").click()
    expect(page.get_by_role("region", name="Who gets what")).to_contain_text(ADA)
    assert_fits(page)
    page.get_by_label("Reason").fill("A 9 for a 2.5")
    page.get_by_role("button", name="Post the corrections").click()
    expect(page.get_by_text("It is posted.")).to_be_visible()
    newest = office.cli("credit", "history", ADA)["postings"][0]
    assert (newest["kind"], newest["note"]) == ("correction", "A 9 for a 2.5")
    context.close()


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_makes_a_plan_and_gives_it_to_an_account(
    browser: Browser, office: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    name = f"plan-{has_javascript}".lower()
    log_in(page, office, OPERATOR)
    page.get_by_role("link", name="Plans").first.click()
    form = page.get_by_role("region", name="Make a plan")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Requests in a minute").fill("many")
    form.get_by_role("button", name="Make plan").click()
    expect(form.get_by_label("Requests in a minute")).to_have_attribute("aria-invalid", "true")
    form.get_by_label("Requests in a minute").fill("90")
    form.get_by_role("button", name="Make plan").click()
    expect(page.get_by_text("The plan is made.")).to_be_visible()
    page.goto(f"{office.url}/operator/accounts?q={ADA}")
    page.get_by_role("region", name="Found").get_by_role("link", name=ADA).click()
    page.get_by_role("combobox", name="Plan").select_option(name)
    page.get_by_role("button", name="Give it this plan").click()
    expect(page.get_by_text("The account has another plan.")).to_be_visible()
    assert_fits(page)
    assert office.cli("account", "show", ADA)["plan"] == name
    page.get_by_role("link", name=name).click()
    page.get_by_label("Requests in a minute").fill("")
    page.get_by_role("button", name="Change plan").click()
    expect(page.get_by_text("The plan is changed.")).to_be_visible()
    assert office.cli("plan", "show", name)["requests_per_minute"] is None
    context.close()


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_runs_the_audit_and_reads_how_the_server_is(
    browser: Browser, office: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    log_in(page, office, OPERATOR)
    page.get_by_role("link", name="Books").first.click()
    page.get_by_role("button", name="Run the audit").click()
    expect(page.get_by_text("Everything agrees.")).to_be_visible()
    page.get_by_role("link", name="Health").first.click()
    checks = page.get_by_role("region", name="Checks")
    expect(checks).to_contain_text("charges reach the disk")
    expect(checks).to_contain_text("0 calls wait for the database")
    context.close()


@pytest.mark.parametrize("has_javascript", [True, False], ids=["javascript", "plain"])
def test_an_operator_makes_an_admin_key_uses_it_and_revokes_it(
    browser: Browser, office: ServerProcess, *, has_javascript: bool
) -> None:
    context = browser.new_context(java_script_enabled=has_javascript)
    page = context.new_page()
    name = f"Desk {has_javascript}"
    log_in(page, office, OPERATOR)
    page.get_by_role("link", name="API", exact=True).first.click()
    form = page.get_by_role("region", name="Make an admin key")
    form.get_by_label("Name").fill(name)
    form.get_by_label("accounts:").check()
    form.get_by_role("button", name="Make key").click()
    secret = page.locator("#admin-key").inner_text()
    asked = page.request.get(
        f"{office.url}/api/admin/key", headers={"authorization": f"Bearer {secret}"}
    )
    assert asked.json()["scopes"] == ["read", "accounts"]
    page.get_by_role("link", name="Done").click()
    expect(page.get_by_role("region", name="Keys")).to_contain_text("127.0.0.1")
    assert secret not in page.content()
    page.get_by_role("link", name=f"Revoke {name}").click()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("its next request is refused")).to_be_visible()
    assert page.get_by_role("link", name=f"Revoke {name}").count() == 0
    context.close()


def test_the_operators_pages_fit_and_are_pictured(
    look: tuple[BrowserContext, str], office: ServerProcess, screenshots: Path
) -> None:
    context, name = look
    page = context.new_page()
    log_in(page, office, OPERATOR)
    for path in PAGES:
        page.goto(f"{office.url}/operator/{path}")
        picture(page, screenshots, f"operator-{file_name(path.partition('?')[0])}-{name}")
    office.cli("admin-key", "create", OPERATOR, "--scope", "read", "--name", "A long name of a key")
    page.goto(f"{office.url}/operator/api")
    page.get_by_label("Name").fill("Provisioner of the shop")
    page.get_by_role("button", name="Make key").click()
    picture(page, screenshots, f"operator-api-made-{name}")
    page.goto(f"{office.url}/operator/accounts?q={ADA}")
    page.get_by_role("region", name="Found").get_by_role("link", name=ADA).click()
    expect(page.get_by_role("heading", name=ADA)).to_be_visible()
    picture(page, screenshots, f"operator-account-{name}")
    account = page.url
    for path in ("suspend", "postings", "activity"):
        page.goto(f"{account}/{path}")
        picture(page, screenshots, f"operator-account-{path}-{name}")
