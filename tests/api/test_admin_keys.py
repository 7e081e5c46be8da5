"""Admin keys on either engine: whom they open to, from when, until when, and who hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from latchgate import commands
from latchgate.clock import DAY_US
from latchgate.domain.errors import Conflict, InvalidRequest, RateLimited
from latchgate.domain.people import CLI
from latchgate.http.admin import ADMIN_PREFIX
from latchgate.services.admin_keys import REQUESTS_BY_KEY, SLOW_BY_KEY, USABLE_MAX, WRONG_BY_PLACE
from tests.api.test_management_codes import operator_of
from tests.support.admin import OPERATOR, make_key, program, program_with
from tests.support.management import EMAIL, PASSWORD, Management, error_of, running_console

pytestmark = pytest.mark.anyio
KEY = f"{ADMIN_PREFIX}/key"


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """A console with its pages."""
    async with running_console(tmp_path) as running:
        yield running


@pytest.fixture
async def on_either(tmp_path: Path, database_url: str) -> AsyncIterator[Management]:
    """The same on either engine."""
    async with running_console(tmp_path, database_url=database_url) as running:
        yield running


async def _change(management: Management, sql: str) -> None:
    await management.world.store.write(lambda conn: conn.execute(text(sql)))


def _assert_refused(answer: httpx.Response, says: str = "Send an admin key that works") -> None:
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (401, "invalid_admin_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert says in error["message"]


async def test_a_key_is_made_used_listed_and_revoked(on_either: Management) -> None:
    services = on_either.world.services
    key = await make_key(on_either, "money", "read")
    assert key.view.scopes == ("read", "money"), "in their own order"
    client = program_with(on_either, key.secret)
    answer = await client.get(KEY)
    assert (answer.status_code, answer.json()["masked"]) == (200, key.view.masked)
    assert key.secret.startswith(key.view.masked.partition("…")[0])
    (listed,), following = await services.admin_keys.list_page()
    assert (listed.last_used_ip, listed.state, following) == ("10.2.2.2", "live", None)
    assert listed.last_used_us is not None
    stored = await on_either.world.store.read(
        lambda conn: [*conn.execute(text("SELECT * FROM admin_keys")).one()]
    )
    assert not any(key.secret[21:53] in str(value) for value in stored)
    ended = await services.admin_keys.revoke(key.view.id, CLI)
    assert ended.state == "revoked"
    assert await services.admin_keys.revoke(key.view.id, CLI) == ended, "again changes nothing"
    _assert_refused(await client.get(KEY))
    events = await services.audit_log.list_recent(
        (await services.accounts.get(OPERATOR)).account_id
    )
    written = [event.action for event in events if event.target == key.view.id]
    assert written == ["admin_key.revoke", "admin_key.create"]
    assert "An admin key was made in your name" in await on_either.letters()


async def test_a_key_stops_with_its_operator_and_at_its_date(on_either: Management) -> None:
    services = on_either.world.services
    client = await program(on_either, "all")
    ends = await make_key(on_either, "read", expires_at="2030-12-31")
    ending = program_with(on_either, ends.secret)
    await services.accounts.suspend(OPERATOR, CLI)
    _assert_refused(await client.get(KEY))
    assert {key.state for key in (await services.admin_keys.list_page())[0]} == {"stopped"}
    await services.accounts.resume(OPERATOR, CLI)
    assert (await client.get(KEY)).status_code == 200
    await _change(on_either, "UPDATE users SET is_operator = 0")
    _assert_refused(await client.get(KEY))
    await _change(on_either, "UPDATE users SET is_operator = 1")
    assert (await ending.get(KEY)).status_code == 200
    past_us = on_either.world.clock.now_us() - DAY_US
    await _change(on_either, f"UPDATE admin_keys SET expires_us = {past_us} WHERE expires_us > 0")
    _assert_refused(await ending.get(KEY))
    assert (await services.admin_keys.get(ends.view.id)).state == "expired"
    assert (await client.get(KEY)).status_code == 200


async def test_a_key_that_suspends_its_own_operator_is_refused_next(management: Management) -> None:
    client = await program(management, "all")
    his = (await management.world.services.accounts.get(OPERATOR)).account_id
    suspended = await client.post(f"{ADMIN_PREFIX}/accounts/{his}/suspend")
    assert suspended.json()["state"] == "suspended"
    _assert_refused(await client.get(KEY))


async def test_a_users_key_opens_nothing_here_nor_an_admin_key_elsewhere(
    management: Management,
) -> None:
    ada = await management.signed_up()
    users = (await commands.run(management.world, "key.create", {"email": EMAIL}))["secret"]
    admin = await make_key(management, "all")
    _assert_refused(await program_with(management, users).get(KEY), "an account's API key")
    for path in ("/api/session", "/api/keys", "/api/operator/codes"):
        assert (await program_with(management, admin.secret).get(path)).status_code == 401, path
    assert (await ada.get("/api/session")).status_code == 200
    wrong = [
        admin.secret[:-1] + ("0" if admin.secret[-1] != "0" else "1"),
        admin.secret.replace("lg-admin-", "sk-lg-"),
        admin.secret + "x" * 300,
        "",
        "lg-admin-",
    ]
    for secret in wrong:
        _assert_refused(await program_with(management, secret).get(KEY))
    basic = management.browser()
    for header in ("Basic abc", "Bearer", f"Token {admin.secret}", "Bearer \t "):
        _assert_refused(await basic.get(KEY, headers={"authorization": header}))


async def test_an_operators_session_opens_nothing_here(management: Management) -> None:
    operator = await operator_of(management)
    assert (await operator.get("/operator/api")).status_code == 200
    _assert_refused(await operator.get(f"{ADMIN_PREFIX}/accounts"))
    _assert_refused(await operator.get(KEY))


async def test_another_sites_page_can_use_no_key(management: Management) -> None:
    client = await program(management, "all")
    his = (await management.world.services.accounts.get(OPERATOR)).account_id
    answer = await client.post(
        f"{ADMIN_PREFIX}/accounts/{his}/log-out", headers={"origin": "https://evil.example"}
    )
    assert (answer.status_code, error_of(answer)["code"]) == (403, "cross_site_request")


async def test_what_a_key_does_is_written_down_under_its_id(management: Management) -> None:
    ada = await management.signed_up()
    account_id = (await management.world.services.accounts.get(EMAIL)).account_id
    key = await make_key(management, "read", "accounts", "money", "catalog")
    client = program_with(management, key.secret, "10.9.9.9")
    at = f"{ADMIN_PREFIX}/accounts/{account_id}"
    await client.put(f"{at}/limits/account/day", json={"amount_usd": "3.00"})
    await client.post(f"{at}/credit", json={"amount_usd": "1.00"})
    credit, limit = (await client.get(f"{at}/events")).json()["data"][:2]
    assert (credit["action"], limit["action"]) == ("credit.add", "limit.set")
    for event in (credit, limit):
        assert event["actor"] == key.view.id
        assert (event["address"], event["user_agent"]) == ("10.9.9.9", "provisioner/1.0")
    await client.put(
        f"{ADMIN_PREFIX}/models/m/price", json={"input_price": "1", "output_price": "2"}
    )
    (price, *_) = (await client.get(f"{ADMIN_PREFIX}/events")).json()["data"]
    assert (price["action"], price["actor"], price["target"]) == ("model.price", key.view.id, "m")
    postings = (await client.get(f"{at}/postings")).json()["data"]
    assert postings[0]["actor"] == key.view.id
    own = await ada.get("/security/activity")
    assert "The operator" in own.text
    assert "10.9.9.9" not in own.text, "where an operator's program runs is not his business"
    assert "10.9.9.9" not in (await ada.get("/api/audit-events")).text
    operator = management.browser()
    await operator.post("/api/session", json={"email": OPERATOR, "password": PASSWORD})
    assert "An admin key" in (await operator.get(f"/operator/accounts/{account_id}")).text


async def test_a_key_is_made_for_operators_alone_and_of_known_scopes(
    management: Management,
) -> None:
    await management.signed_up()
    keys = management.world.services.admin_keys
    with pytest.raises(Conflict, match="is no operator") as refused:
        await keys.create(EMAIL, "", scopes=["read"], caller=CLI)
    assert refused.value.code == "not_an_operator"
    for scopes in ([], ["write"], ["read", "write"], ["READ"]):
        with pytest.raises(InvalidRequest, match="read, accounts, money, catalog, all"):
            await keys.create(OPERATOR, "", scopes=scopes, caller=CLI)
    for expires_at, says in (
        ("2020-01-01", "one to come"),
        ("tomorrow", "a day such as"),
        ("2099-01-01", "at most 10 years"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            await make_key(management, "read", expires_at=expires_at)
    assert (await make_key(management, "all", "read")).view.scopes == ("all",)
    for _ in range(USABLE_MAX - 1):
        await make_key(management, "read")
    with pytest.raises(Conflict, match="Revoke one first"):
        await make_key(management, "read")
    page, following = await keys.list_page(limit=60)
    rest, end = await keys.list_page(before=following, limit=60)
    assert (len(page), len(rest), end) == (60, USABLE_MAX - 60, None)


async def test_requests_are_throttled_by_key_and_wrong_keys_by_place(
    management: Management,
) -> None:
    keys = management.world.services.admin_keys
    key, other = await make_key(management, "read"), await make_key(management, "read")
    slow = program_with(management, other.secret)
    answers = [await slow.get(f"{ADMIN_PREFIX}/audit") for _ in range(SLOW_BY_KEY.tries + 1)]
    assert [answer.status_code for answer in answers] == [200] * SLOW_BY_KEY.tries + [429]
    assert (await slow.get(f"{ADMIN_PREFIX}/books")).status_code == 200
    for _ in range(REQUESTS_BY_KEY.tries):
        await keys.identify(key.secret, "10.0.0.1")
    answer = await program_with(management, key.secret).get(KEY)
    assert (answer.status_code, error_of(answer)["code"]) == (429, "too_many_attempts")
    assert int(answer.headers["retry-after"]) > 0
    await keys.revoke(key.view.id, CLI)
    for _ in range(WRONG_BY_PLACE.tries):
        _assert_refused(await program_with(management, key.secret).get(KEY))
    with pytest.raises(RateLimited):
        await keys.identify(key.secret, "10.2.2.2")
    there = await program_with(management, other.secret).get(KEY)
    assert there.status_code == 200, "a key that works is let in from the same place"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:6379",
        "http://169.254.169.254/v1",
        "https://user:p@host.example/v1",
        "ftp://x",
        "http://[fe80::1]/v1",
    ],
)
async def test_an_upstream_that_must_not_be_called_is_refused(
    management: Management, base_url: str
) -> None:
    client = await program(management, "catalog")
    asked = {"name": "evil", "base_url": base_url}
    answer = await client.post(f"{ADMIN_PREFIX}/upstreams", json=asked)
    assert (answer.status_code, error_of(answer)["param"]) == (400, "base_url")
    assert error_of(answer)["code"] == "upstream_url_not_allowed"
    assert len(await management.world.services.catalog.list_upstreams()) == 1


# ── the console ─────────────────────────────────────────────────────────────────────────────────
FORM = {"name": "Provisioner", "scope.read": "1", "scope.accounts": "1", "nonce": "n1"}


async def test_an_operator_makes_a_key_on_the_page_sees_it_once_and_revokes_it(
    management: Management,
) -> None:
    operator = await operator_of(management)
    assert "No admin key yet" in (await operator.get("/operator/api")).text
    made = await operator.post("/operator/api", data=FORM)
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    secret = made.text.partition('id="admin-key">')[2].partition("<")[0]
    assert (await program_with(management, secret).get(KEY)).json()["scopes"] == [
        "read",
        "accounts",
    ]
    page = (await operator.get("/operator/api")).text
    assert secret not in page
    assert "Provisioner" in page
    again = await operator.post("/operator/api", data=FORM)
    assert (again.status_code, "has made its key already" in again.text) == (409, True)
    revoke = page.partition('href="/operator/api/adm_')[2].partition('"')[0]
    asked = await operator.get(f"/operator/api/adm_{revoke}")
    assert "Revoke Provisioner?" in asked.text
    assert (await operator.post(f"/operator/api/adm_{revoke}")).status_code == 303
    _assert_refused(await program_with(management, secret).get(KEY))
    assert (await operator.get(f"/operator/api/adm_{revoke}")).status_code == 404


async def test_a_mistake_is_said_beside_its_field_and_makes_no_key(management: Management) -> None:
    operator = await operator_of(management)
    for changed, field in (
        ({"scope.read": "", "scope.accounts": ""}, "scopes"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"name": "x" * 65}, "name"),
    ):
        answer = await operator.post("/operator/api", data={**FORM, **changed})
        assert (answer.status_code, f'id="{field}-about"' in answer.text) == (400, True), field
    assert (await management.world.services.admin_keys.list_page())[0] == []


async def test_making_a_key_asks_an_old_login_who_it_is(management: Management) -> None:
    operator = await operator_of(management)
    await _change(management, "UPDATE sessions SET confirmed_us = 0")
    asked = await operator.post("/operator/api", data=FORM)
    assert (asked.status_code, "Confirm" in asked.text) == (403, True)
    assert (await management.world.services.admin_keys.list_page())[0] == []
