"""The console's pages without a browser: one number everywhere, and what is typed stays text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from latchgate.console.rendering import usd_short
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import CALLER, USD, running_gateway
from tests.support.management import EMAIL, PASSWORD, Management, error_of, running_console

pytestmark = pytest.mark.anyio
PAGES = (
    "/home",
    "/playground",
    "/usage",
    "/quickstart",
    "/api-keys",
    "/security",
    "/billing",
    "/limits",
    "/prices",
)
EVIL = "<script>alert('x')</script>\"'&"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Management]:
    """The console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def test_every_page_asks_for_a_login_and_leads_back(console: Management) -> None:
    browser = console.browser()
    for path in PAGES:
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")


async def test_one_number_says_what_can_be_spent_and_names_what_binds(console: Management) -> None:
    ada = await console.signed_up()
    await ada.post("/api/keys")
    for what, period, words in (
        ("account", "day", "the account’s limit for today"),
        ("key", "none", "the key’s limit"),
    ):
        limit = {"what": what, "period": period, "limit_usd": "1.50"}
        assert (await ada.put("/api/limits", json=limit)).json()["available_usd"] == "1.50"
        for path in ("/home", "/api-keys", "/billing", "/limits"):
            text = (await ada.get(path)).text
            assert "$1.50" in text, path
            assert words in text or words.capitalize() in text, path
        await ada.put("/api/limits", json=limit | {"limit_usd": None})
    assert "limit binds" not in (await ada.get("/home")).text


async def test_a_first_call_is_suggested_with_a_model_that_a_newcomer_may_call(
    console: Management,
) -> None:
    await console.world.services.catalog.add_model(
        "a-dear-one",
        upstream="lab",
        upstream_model=None,
        tier="premium",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=ModelTerms(100_000, 20_000, 400_000),
    )
    ada = await console.signed_up()
    prices = (await ada.get("/prices")).text
    assert "a-dear-one" in prices
    assert "priority 2×" in prices
    for path in ("/", "/home", "/quickstart"):
        browser = console.browser() if path == "/" else ada
        text = (await browser.get(path)).text
        assert "a-dear-one" not in text, path
        assert re.search(r"model(&#34;|=|\": )\W*&#34;m&#34;|&#34;m&#34;", text), path


async def test_what_is_typed_is_shown_as_text(console: Management) -> None:
    ada = await console.signed_up()
    page = await ada.post("/api-keys", data={"name": EVIL, "nonce": "n1"})
    assert "Save your key now" in page.text
    for path in PAGES:
        assert "<script>alert" not in (await ada.get(path)).text, path
    for path, form in (
        ("/login", {"email": EVIL, "password": EVIL, "next": EVIL}),
        ("/signup", {"email": EVIL, "password": EVIL}),
        ("/forgot", {"email": EVIL}),
        ("/reset", {"token": EVIL, "password": EVIL}),
        ("/limits", {"account_limit.day": EVIL, "time_zone": EVIL}),
    ):
        answer = await (ada if path == "/limits" else console.browser()).post(path, data=form)
        assert "<script>alert" not in answer.text, path


async def test_a_mistake_on_the_limits_page_keeps_what_was_typed_and_changes_nothing(
    console: Management,
) -> None:
    """Row 73."""
    ada = await console.signed_up()
    before = (await ada.get("/api/limits")).json()
    for text in ("-1", "NaN", "1e30", "0.0000000001", "five", "5,00", "1,000"):
        page = await ada.post("/limits", data={"account_limit.day": "3", "key_limit.day": text})
        assert page.status_code == 400
        assert f'value="{text}"' in page.text
        assert page.text.count('aria-invalid="true"') == 1
    assert (await ada.get("/api/limits")).json() == before
    for form in ({"account_limit.day": "$1000.50"}, {"key_limit.day": " 2 "}, {}):
        saved = await ada.post("/limits", data=form | {"time_zone": "UTC"})
        assert saved.headers["location"] == "/limits?notice=saved"
    limits = {x["what"]: x["limit_usd"] for x in (await ada.get("/api/limits")).json()["data"]}
    assert limits == {"account": "1000.50", "credit": "5.00", "key": "2.00"}
    await ada.post("/limits", data={"account_limit.day": ""})
    limits = {x["what"]: x["limit_usd"] for x in (await ada.get("/api/limits")).json()["data"]}
    assert limits == {"credit": "5.00", "key": "2.00"}


async def test_the_switch_for_premium_models_says_where_it_stands(console: Management) -> None:
    ada = await console.signed_up()
    form = {"what": "account", "is_on": "1"}
    assert (await ada.post("/limits/premium", data=form)).status_code == 303
    assert (await ada.get("/api/limits")).json()["premium"] == {"account": True, "key": True}
    assert "Premium models are on." in (await ada.get("/limits?notice=premium")).text
    wrong = await ada.post("/limits/premium", data={"what": "all", "is_on": "1"})
    assert (wrong.status_code, 'role="alert"' in wrong.text) == (400, True)
    done = (await ada.get("/security")).text
    assert done.count("Premium models switched on for the account") == 1


STRANGE = {
    "/usage?period=%27&show=%27&split=%27&per=%27": 200,
    "/usage?app=%27%3B--&model=%22&key=nothing": 200,
    "/usage?from=2026-13-01": 400,
    "/usage?period=last_month&per=hour": 400,
    "/usage?model=%00": 400,
    "/usage?q=%27%00%3Cscript%3E": 200,
    "/usage?before=nonsense": 400,
    "/usage/req_nonsense": 404,
    "/billing?before=%00": 400,
    "/api-keys/key_nonsense/revoke": 404,
    "/nowhere": 404,
}


async def test_a_strange_address_is_a_page_in_the_consoles_look(console: Management) -> None:
    ada = await console.signed_up()
    for path, status in STRANGE.items():
        answer = await ada.get(path)
        assert answer.status_code == status, path
        assert "<title>" in answer.text, path
        assert "Traceback" not in answer.text, path
    elsewhere = await ada.get("/login?next=https://evil.example")
    assert (elsewhere.status_code, elsewhere.headers["location"]) == (303, "/home")


async def test_a_form_from_elsewhere_or_of_another_kind_changes_nothing(
    console: Management,
) -> None:
    """Row 99."""
    ada = await console.signed_up()
    forms = ("/api-keys", "/limits", "/limits/premium", "/security/password", "/logout",
             "/security/logout-everywhere", "/security/logout-others")  # fmt: skip
    for path in forms:
        cross = await ada.post(path, data={"a": "b"}, headers={"sec-fetch-site": "cross-site"})
        assert cross.status_code == 403, path
    for path in forms[:4]:
        for kind in ("text/plain", "multipart/form-data; boundary=x"):
            answer = await ada.post(path, content=b"a=b", headers={"content-type": kind})
            assert answer.status_code == 415, (path, kind)
    assert (await ada.get("/api/keys")).json()["data"] == []
    assert (await ada.get("/api/session")).status_code == 200


async def test_a_used_address_signs_up_to_the_same_page(console: Management) -> None:
    """Row 89."""
    await console.signed_up()
    pages: list[httpx.Response] = []
    for address in (EMAIL, "new@example.com"):
        form = {"email": address, "password": "another quiet harbour"}
        pages.append(await console.browser().post("/signup", data=form))
    used, new = (page.text.replace("new@example.com", EMAIL) for page in pages)
    assert used == new
    assert {page.status_code for page in pages} == {200}
    assert "already" in (await console.letters()).lower()


async def test_a_login_that_fails_keeps_the_address_and_not_the_password(
    console: Management,
) -> None:
    """Row 93."""
    await console.signed_up()
    answers = [
        await console.browser().post("/login", data={"email": address, "password": "wrong one"})
        for address in (EMAIL, "nobody@example.com")
    ]
    known, unknown = (answer.text for answer in answers)
    assert known.replace(EMAIL, "X") == unknown.replace("nobody@example.com", "X")
    assert {answer.status_code for answer in answers} == {401}
    assert f'value="{EMAIL}"' in known
    assert "wrong one" not in known
    right = await console.browser().post("/login", data={"email": EMAIL, "password": PASSWORD})
    assert right.headers["location"] == "/home"


async def test_a_session_that_has_ended_does_nothing_more(console: Management) -> None:
    """Row 100."""
    ada = await console.signed_up()
    token = ada.cookies["latchgate"]
    await ada.post("/logout", data={})
    thief = console.browser()
    thief.cookies.set("latchgate", token)
    answer = await thief.post("/api/keys")
    assert (answer.status_code, error_of(answer)["code"]) == (401, "session_expired")
    assert (await thief.get("/home")).status_code == 303


async def test_usage_and_receipt_mark_what_was_priority(
    console: Management, tmp_path: Path
) -> None:
    ada = await console.signed_up()
    account_id = (await ada.get("/api/session")).json()["account_id"]
    (tmp_path / "gateway").mkdir()
    async with running_gateway(tmp_path / "gateway") as gateway:
        made = await gateway.add_account(account_id, USD)
        await gateway.limits.set_premium(account_id, "account", is_on=True, caller=CALLER)
        console.app.state.services = dataclasses.replace(
            console.world.services, usage=gateway.usage
        )
        await gateway.chat(key=made.secret)
        assert "Priority" not in (await ada.get("/usage")).text
        await gateway.chat(key=made.secret, service_tier="priority")
        call, _ = await gateway.events(account_id)
        page = (await ada.get("/usage?split=model")).text
        assert page.count(">Priority<") == 2  # of the models, and of the calls
        assert f"{usd_short(call.charge_nanos)} of it at priority" in page
        receipt = (await ada.get(f"/usage/{call.request_id}")).text
        assert ">Priority<" in receipt
        assert "$0.80" in receipt  # what a million tokens out cost


async def test_the_limits_page_says_what_amounts_mean_and_what_a_leak_could_cost(
    console: Management,
) -> None:
    ada = await console.signed_up()
    page = (await ada.get("/limits")).text
    # A letter costs $0.00019 with the model on offer.
    assert "about 26,000 letters with m" in page
    assert "the most it could cost today is $5.00." in page
    for what, period, usd in (("account", "week", "4.20"), ("key", "day", "0")):
        limit = {"what": what, "period": period, "limit_usd": usd}
        await ada.put("/api/limits", json=limit)
        page = (await ada.get("/limits")).text
        assert f"the most it could cost today is ${usd if usd != '0' else '0.00'}." in page
    assert "about 22,000 letters with m" in page
    assert "blocks every call that costs something" in page
