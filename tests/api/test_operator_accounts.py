"""Other people's accounts in the operator's hands: found, read, suspended, and what binds them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from latchgate.domain.usage import Usage
from tests.api.test_management_codes import OPERATOR, operator_of
from tests.support.factors import let_pass
from tests.support.management import EMAIL, Management, running_console
from tests.support.months import Call, charge

pytestmark = pytest.mark.anyio
PAGE = "/operator/accounts"


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """A console with its pages."""
    async with running_console(tmp_path) as running:
        yield running


@pytest.fixture
async def on_either(tmp_path: Path, database_url: str) -> AsyncIterator[Management]:
    """The same, on either engine."""
    async with running_console(tmp_path, database_url=database_url) as running:
        yield running


async def _account_of(management: Management, email: str = EMAIL) -> str:
    return (await management.world.services.accounts.get(email)).account_id


def _rows(page: httpx.Response) -> list[str]:
    """The addresses or ids of a list's rows."""
    return re.findall(rf'<a href="{PAGE}/acct_\w+">([^<]+)</a>', page.text)


async def test_accounts_are_found_by_address_and_by_any_id(on_either: Management) -> None:
    operator, ada = await operator_of(on_either), await on_either.signed_up()
    await on_either.signed_up("a_b%c@example.org", ip="10.0.0.2")
    made = (await ada.post("/api/keys", json={"name": "Laptop"})).json()
    file = await on_either.world.services.operator_accounts.get(await _account_of(on_either))
    key = (await on_either.world.services.api_keys.list_keys(file.view.account_id))[0]
    for asked in ("ADA@", EMAIL, file.view.account_id, file.view.user_id, key.id, key.public_id):
        assert _rows(await operator.get(PAGE, params={"q": asked})) == [EMAIL], asked
    assert _rows(await operator.get(PAGE, params={"q": "b%c"})) == ["a_b%c@example.org"]
    for asked in ("%", "_"):
        assert _rows(await operator.get(PAGE, params={"q": asked})) == ["a_b%c@example.org"]
    nobody = await operator.get(PAGE, params={"q": "<b>nobody</b>"})
    assert "Nobody found" in nobody.text
    assert "<b>nobody</b>" not in nobody.text
    refused = await operator.get(PAGE, params={"q": "x" * 255})
    assert (refused.status_code, 'id="q-about"' in refused.text) == (400, True)
    assert made["secret"] not in (await operator.get(PAGE)).text


async def test_the_list_goes_on_page_by_page_and_misses_nobody(
    on_either: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latchgate.console.operator_accounts.ACCOUNTS_PER_PAGE", 2)
    operator = await operator_of(on_either)
    emails = [f"user-{n}@example.com" for n in range(5)]
    for n, email in enumerate(emails):
        await on_either.signed_up(email, ip=f"10.0.1.{n}")
    seen, address = [], f"{PAGE}?q=example.com"
    while address:
        answer = await operator.get(address)
        seen += _rows(answer)
        found = re.search(r'href="([^"]+)" rel="next"', answer.text)
        address = found[1].replace("&amp;", "&") if found else ""
    assert sorted(seen) == sorted([*emails, OPERATOR])
    assert (await operator.get(PAGE, params={"before": "'"})).status_code == 400


async def test_the_list_shows_what_each_has_left_and_spent(on_either: Management) -> None:
    operator, ada = await operator_of(on_either), await on_either.signed_up()
    await ada.post("/api/keys", json={"name": "Laptop"})
    account_id = await _account_of(on_either)
    key = (await on_either.world.services.api_keys.list_keys(account_id))[0]
    now_us = on_either.world.clock.now_us()
    calls = [Call("m", Usage(1_000, 0, 500))]
    await charge(on_either.world.store, account_id, key.id, [(now_us, calls)])
    (line, _), _ = await on_either.world.services.operator_accounts.list_page()
    assert (line.email, line.spent_nanos, line.credit_left_nanos) == (
        EMAIL,
        300_000,
        4_999_700_000,
    )
    assert line.last_used_us is not None
    page = (await operator.get(PAGE)).text
    assert "$0.0003" in page
    assert "$4.9997" in page
    one = (await operator.get(f"{PAGE}/{account_id}")).text
    assert "$4.9997" in one
    assert "1 call, 1,500 tokens" in one
    assert key.masked in one


async def test_a_suspended_account_is_refused_until_it_is_resumed(management: Management) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    address = f"{PAGE}/{await _account_of(management)}"
    assert f"Suspend {EMAIL}?" in (await operator.get(f"{address}/suspend")).text
    done = await operator.post(f"{address}/suspend")
    assert (done.status_code, done.headers["location"]) == (303, f"{address}?notice=suspended")
    assert (await management.world.services.accounts.get(EMAIL)).state == "suspended"
    assert "This account is suspended" in (await ada.get("/home")).text
    await operator.post(f"{address}/resume")
    assert (await management.world.services.accounts.get(EMAIL)).state == "active"


async def test_what_an_operator_did_is_written_down_with_his_place_for_operators_alone(
    on_either: Management,
) -> None:
    operator, ada = await operator_of(on_either), await on_either.signed_up()
    account_id = await _account_of(on_either)
    await operator.post(f"{PAGE}/{account_id}/suspend", headers={"user-agent": "Secret/1"})
    events, _ = await on_either.world.services.audit_log.list_page(account_id, is_for_operator=True)
    his = (await on_either.world.services.accounts.get(OPERATOR)).user_id
    assert (events[0].action, events[0].actor, events[0].ip, events[0].user_agent) == (
        "account.suspend",
        his,
        "10.1.1.1",
        "Secret/1",
    )
    read = (await operator.get(f"{PAGE}/{account_id}/activity")).text
    assert "An operator" in read
    assert "10.1.1.1" in read
    owners = [
        (await ada.get("/security/activity")).text,
        (await ada.get("/api/audit-events")).text,
    ]
    assert "The operator" in owners[0]
    for seen in owners:
        assert "10.1.1.1" not in seen
        assert "Secret/1" not in seen
        assert "127.0.0.1" in seen


async def test_rates_and_credit_line_bind_and_are_shown(management: Management) -> None:
    operator = await operator_of(management)
    ada = await management.signed_up()
    account_id = await _account_of(management)
    address = f"{PAGE}/{account_id}"
    rates = {"requests_per_minute": "30", "tokens_per_minute": "", "calls_at_once": "2"}
    assert (await operator.post(f"{address}/rates", data=rates)).status_code == 303
    file = await management.world.services.operator_accounts.get(account_id)
    assert (file.requests_per_minute, file.tokens_per_minute, file.calls_at_once) == (30, None, 2)
    assert 'value="30"' in (await operator.get(address)).text
    await operator.post(f"{address}/credit-line", data={"credit_line": "$20"})
    assert (await ada.get("/api/limits")).json()["available_usd"] == "25.00"
    assert 'value="20.00"' in (await operator.get(address)).text
    assert (await management.world.audit()).findings == ()


@pytest.mark.parametrize(
    ("form", "field", "typed"),
    [
        ("rates", "requests_per_minute", "many"),
        ("rates", "tokens_per_minute", "-1"),
        ("rates", "calls_at_once", "٣"),
        ("rates", "tokens_per_minute", "1" * 13),
        ("credit-line", "credit_line", "5,00"),
        ("credit-line", "credit_line", "-5"),
        ("credit-line", "credit_line", ""),
    ],
)
async def test_a_mistake_is_said_beside_its_field_and_changes_nothing(
    management: Management, form: str, field: str, typed: str
) -> None:
    operator = await operator_of(management)
    await management.signed_up()
    account_id = await _account_of(management)
    before = await management.world.services.operator_accounts.get(account_id)
    answer = await operator.post(f"{PAGE}/{account_id}/{form}", data={field: typed})
    assert answer.status_code == 400
    assert f'id="{field}-about"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert f'value="{typed}"' in answer.text
    assert await management.world.services.operator_accounts.get(account_id) == before
    balances = await management.world.services.billing.balances(account_id)
    assert balances.credit_line_nanos == 0


@pytest.mark.parametrize("form", ["rates", "credit-line", "resume"])
async def test_an_old_login_is_asked_who_it_is_before_anything_is_loosened(
    management: Management, form: str
) -> None:
    operator = await operator_of(management)
    await management.signed_up()
    account_id = await _account_of(management)
    await operator.post(f"{PAGE}/{account_id}/suspend")
    await let_pass(management, 16)
    typed = {"credit_line": "20", "requests_per_minute": "0"}
    asked = await operator.post(f"{PAGE}/{account_id}/{form}", data=typed)
    assert (asked.status_code, "Confirm" in asked.text) == (403, True)
    file = await management.world.services.operator_accounts.get(account_id)
    assert (file.view.state, file.requests_per_minute) == ("suspended", None)


async def test_an_account_that_is_closed_or_was_never_there_cannot_be_changed(
    management: Management,
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    account_id = await _account_of(management)
    assert (await ada.post("/profile/close", data={"email": EMAIL})).status_code == 303
    page = await operator.get(f"{PAGE}/{account_id}")
    assert (page.status_code, "Closed account" in page.text) == (200, True)
    assert _rows(await operator.get(PAGE, params={"q": account_id})) == [account_id]
    for path in ("suspend", "resume", "rates", "credit-line"):
        refused = await operator.post(f"{PAGE}/{account_id}/{path}", data={"a": "b"})
        assert refused.status_code == 409
        missing = await operator.post(f"{PAGE}/acct_{'0' * 26}/{path}", data={"a": "b"})
        assert missing.status_code == 404
    assert (await operator.get(f"{PAGE}/acct_{'0' * 26}")).status_code == 404


async def test_credit_is_posted_from_the_accounts_page(management: Management) -> None:
    operator = await operator_of(management)
    await management.signed_up()
    page = (await operator.get(f"{PAGE}/{await _account_of(management)}")).text
    link = re.search(r'href="(/operator/billing\?email=[^"]+)"', page)
    assert link
    assert f'value="{EMAIL}"' in (await operator.get(link[1])).text
