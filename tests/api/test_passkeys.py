"""Guards passkeys: whose they are, for which site; each answer works once, and no copy does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from latchgate.clock import MINUTE_US
from latchgate.services.passkeys import PASSKEYS_MAX
from tests.support.authenticator import Authenticator, b64
from tests.support.factors import let_pass, set_up
from tests.support.management import Management, error_of, running_console

pytestmark = pytest.mark.anyio
LOGIN, CONFIRM, NEW = "/api/session/passkey", "/api/session/confirmation/passkey", "/api/passkeys"


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API and the console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def _challenge(browser: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await browser.post(f"{path}/challenge", json={})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _make(
    browser: httpx.AsyncClient, authenticator: Authenticator, name: str = ""
) -> httpx.Response:
    asked = await _challenge(browser, NEW)
    credential = authenticator.make(asked["options"])
    body = {"ticket": asked["ticket"], "credential": credential, "name": name}
    return await browser.post(NEW, json=body)


async def _log_in(browser: httpx.AsyncClient, authenticator: Authenticator) -> httpx.Response:
    asked = await _challenge(browser, LOGIN)
    body = {"ticket": asked["ticket"], "credential": authenticator.show(asked["options"])}
    return await browser.post(LOGIN, json=body)


async def _with_passkey(management: Management) -> tuple[httpx.AsyncClient, Authenticator]:
    ada, authenticator = await management.signed_up(), Authenticator()
    assert (await _make(ada, authenticator, "Laptop")).status_code == 201
    return ada, authenticator


def _assert_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_passkey")
    assert "latchgate" not in answer.cookies


# ── what it opens ───────────────────────────────────────────────────────────────────────────────
async def test_a_passkey_logs_in_without_password_and_code(management: Management) -> None:
    ada, authenticator = await _with_passkey(management)
    await set_up(management, ada)
    browser = management.browser()
    answer = await _log_in(browser, authenticator)
    assert (answer.status_code, answer.json()["email"]) == (200, "ada@example.com")
    assert (await browser.get("/api/session")).status_code == 200
    events = await management.world.services.audit_log.list_recent(answer.json()["account_id"])
    assert (events[0].action, events[0].details) == ("session.open", {"with": "passkey"})


async def test_what_a_browser_is_asked_for_must_verify_its_user_and_be_discoverable(
    management: Management,
) -> None:
    ada, authenticator = await _with_passkey(management)
    options = (await _challenge(ada, NEW))["options"]
    wanted = options["authenticatorSelection"]
    assert (wanted["residentKey"], wanted["userVerification"]) == ("required", "required")
    assert options["rp"]["id"] == "localhost"
    excluded = [item["id"] for item in options["excludeCredentials"]]
    assert excluded == [b64(authenticator.credential_id)]
    asked = (await _challenge(management.browser(), LOGIN))["options"]
    assert (asked["userVerification"], asked["rpId"]) == ("required", "localhost")
    assert asked["allowCredentials"] == [], "who has passkeys here is told to nobody"


async def test_a_passkey_confirms_who_it_is_and_renews_the_session(management: Management) -> None:
    ada, authenticator = await _with_passkey(management)
    thief = management.browser()
    thief.cookies.update(ada.cookies)
    await let_pass(management, 16)
    refused = await ada.post(f"{NEW}/challenge", json={})
    assert error_of(refused)["code"] == "reauthentication_required"
    asked = await _challenge(ada, "/api/session/confirmation")
    body = {"ticket": asked["ticket"], "credential": authenticator.show(asked["options"])}
    assert (await ada.put(CONFIRM, json=body)).status_code == 204
    assert (await ada.post(f"{NEW}/challenge", json={})).status_code == 200
    assert (await thief.get("/api/session")).status_code == 401


# ── what it does not ────────────────────────────────────────────────────────────────────────────
LIES: dict[str, dict[str, Any]] = {
    "another site's origin": {"origin": "http://localhost:8001"},
    "a look-alike": {"origin": "http://localhost.evil.example:8000"},
    "another site": {"rp_id": "evil.example"},
    "a user who was not verified": {"verifies_user": False},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_passkey_made_with_a_lie_is_not_kept(
    management: Management, lie: dict[str, Any]
) -> None:
    ada = await management.signed_up()
    _assert_refused(await _make(ada, Authenticator(**lie)))
    assert (await ada.get(NEW)).json()["data"] == []


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_an_answer_with_a_lie_opens_nothing(
    management: Management, lie: dict[str, Any]
) -> None:
    _, authenticator = await _with_passkey(management)
    for name, value in lie.items():
        setattr(authenticator, name, value)
    _assert_refused(await _log_in(management.browser(), authenticator))


async def test_an_answer_works_once_and_only_for_its_own_challenge(management: Management) -> None:
    _, authenticator = await _with_passkey(management)
    browser, thief = management.browser(), management.browser()
    asked = await _challenge(browser, LOGIN)
    body = {"ticket": asked["ticket"], "credential": authenticator.show(asked["options"])}
    assert (await browser.post(LOGIN, json=body)).status_code == 200
    _assert_refused(await thief.post(LOGIN, json=body))
    fresh = await _challenge(thief, LOGIN)
    _assert_refused(await thief.post(LOGIN, json=body | {"ticket": fresh["ticket"]}))


async def test_an_answer_that_was_refused_has_used_its_challenge_up(management: Management) -> None:
    _, authenticator = await _with_passkey(management)
    browser = management.browser()
    asked = await _challenge(browser, LOGIN)
    good = {"ticket": asked["ticket"], "credential": authenticator.show(asked["options"])}
    bad = deepcopy(good)
    bad["credential"]["response"]["signature"] = b64(b"\x30\x06\x02\x01\x01\x02\x01\x01")
    _assert_refused(await browser.post(LOGIN, json=bad))
    _assert_refused(await browser.post(LOGIN, json=good))


async def test_a_challenge_of_ten_minutes_ago_is_too_old(management: Management) -> None:
    _, authenticator = await _with_passkey(management)
    browser = management.browser()
    asked = await _challenge(browser, LOGIN)
    sql = text(f"UPDATE tickets SET expires_us = expires_us - {10 * MINUTE_US}")
    await management.world.store.write(lambda conn: conn.execute(sql))
    body = {"ticket": asked["ticket"], "credential": authenticator.show(asked["options"])}
    _assert_refused(await browser.post(LOGIN, json=body))


async def test_a_copy_whose_count_lags_behind_is_refused(management: Management) -> None:
    _, authenticator = await _with_passkey(management)
    assert (await _log_in(management.browser(), authenticator)).status_code == 200
    authenticator.count -= 1
    _assert_refused(await _log_in(management.browser(), authenticator))


async def test_an_authenticator_that_does_not_count_is_taken_again_and_again(
    management: Management,
) -> None:
    _, authenticator = await _with_passkey(management)
    for _ in range(2):
        authenticator.count = -1
        assert (await _log_in(management.browser(), authenticator)).status_code == 200


async def test_a_passkey_speaks_for_its_own_user_alone(management: Management) -> None:
    ada, authenticator = await _with_passkey(management)
    bob = await management.signed_up("bob@example.com")
    bobs = Authenticator()
    assert (await _make(bob, bobs)).status_code == 201
    asked = await _challenge(ada, "/api/session/confirmation")
    assert [item["id"] for item in asked["options"]["allowCredentials"]] == [
        b64(authenticator.credential_id)
    ]
    body = {"ticket": asked["ticket"], "credential": bobs.show(asked["options"])}
    _assert_refused(await ada.put(CONFIRM, json=body))
    bobs.user_handle = authenticator.user_handle
    _assert_refused(await _log_in(management.browser(), bobs))
    for path in (f"{NEW}/{(await bob.get(NEW)).json()['data'][0]['id']}",):
        assert (await ada.delete(path)).status_code == 404
        assert (await ada.put(path, json={"name": "mine"})).status_code == 404


async def test_a_ticket_opens_its_own_step_for_its_own_user(management: Management) -> None:
    ada, authenticator = await _with_passkey(management)
    bob = await management.signed_up("bob@example.com")
    asked = await _challenge(ada, NEW)
    stolen = {"ticket": asked["ticket"], "credential": Authenticator().make(asked["options"])}
    _assert_refused(await bob.post(NEW, json=stolen))
    asked = await _challenge(ada, "/api/session/confirmation")
    other = {"ticket": asked["ticket"], "credential": authenticator.show(asked["options"])}
    _assert_refused(await management.browser().post(LOGIN, json=other))


async def test_a_removed_passkey_opens_nothing_and_its_owner_was_told(
    management: Management,
) -> None:
    ada, authenticator = await _with_passkey(management)
    (passkey,) = (await ada.get(NEW)).json()["data"]
    assert (passkey["name"], passkey["last_used_at"]) == ("Laptop", None)
    assert (await ada.put(f"{NEW}/{passkey['id']}", json={"name": "Desk"})).status_code == 204
    assert (await ada.get(NEW)).json()["data"][0]["name"] == "Desk"
    assert (await ada.delete(f"{NEW}/{passkey['id']}")).status_code == 204
    _assert_refused(await _log_in(management.browser(), authenticator))
    letters = await management.letters()
    assert "A passkey was added" in letters
    assert "What: Laptop" in letters
    assert "A passkey was removed" in letters


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"rawId": 1},
        {"rawId": "é"},
        {"id": "AA", "rawId": "AA", "type": "public-key", "response": {}},
        {"rawId": "A" * 5000},
        {"id": "AA", "rawId": "AA", "response": {"userHandle": "____"}},
        {"rawId": "AA", "response": [[[[]]]]},
    ],
    ids=str,
)
async def test_junk_is_refused_like_any_other_wrong_passkey(
    management: Management, credential: dict[str, Any]
) -> None:
    ada, _ = await _with_passkey(management)
    for path, challenge in ((LOGIN, LOGIN), (NEW, NEW)):
        asked = await _challenge(ada, challenge)
        body = {"ticket": asked["ticket"], "credential": credential}
        _assert_refused(await ada.post(path, json=body))


async def test_there_is_a_limit_to_how_many(management: Management) -> None:
    ada = await management.signed_up()
    for _ in range(PASSKEYS_MAX):
        assert (await _make(ada, Authenticator())).status_code == 201
    refused = await _make(ada, Authenticator())
    assert (refused.status_code, error_of(refused)["code"]) == (409, "too_many_passkeys")
    refused = await _make(ada, Authenticator(), "x" * 65)
    assert (refused.status_code, error_of(refused)["param"]) == (400, "name")


async def test_challenges_are_throttled_where_nobody_is_logged_in(management: Management) -> None:
    stranger = management.browser()
    answers = [await stranger.post(f"{LOGIN}/challenge") for _ in range(101)]
    assert {answer.status_code for answer in answers[:100]} == {200}
    assert error_of(answers[-1])["code"] == "too_many_attempts"
