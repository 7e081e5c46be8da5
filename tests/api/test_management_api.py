"""The management API end to end: real services, a real database, real mails in the outbox."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from latchgate.config.settings import SignupSettings
from tests.support.management import (
    EMAIL,
    PASSWORD,
    Management,
    error_of,
    running_management,
)

pytestmark = pytest.mark.anyio
OTHER = "grace@example.com"
NEW_PASSWORD = "nine loud orange camels"
LOGIN = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API over a new data directory."""
    async with running_management(tmp_path) as running:
        yield running


# ── sign up, log in, log out ────────────────────────────────────────────────────────────────────
async def test_signing_up_logs_in_and_gives_the_gift(management: Management) -> None:
    ada = await management.signed_up()
    session = (await ada.get("/api/session")).json()
    assert (session["email"], session["is_operator"]) == (EMAIL, False)
    assert session["account_state"] == "active"
    billing = (await ada.get("/api/billing")).json()
    assert (billing["available_nanos"], billing["available_usd"]) == (5_000_000_000, "5.00")
    assert [posting["kind"] for posting in billing["data"]] == ["gift"]


async def test_a_used_email_signs_up_to_the_same_answer_and_to_nothing(
    management: Management,
) -> None:
    """Row 89: the answer is equal, and the mail tells the owner."""
    first = await management.browser().post("/api/signup", json=LOGIN)
    stranger = management.browser()
    second = await stranger.post("/api/signup", json={"email": EMAIL, "password": NEW_PASSWORD})
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    shapes = [re.sub(r"=[^;]+", "", str(a.headers.get_list("set-cookie"))) for a in (first, second)]
    assert shapes[0] == shapes[1]
    devices = [a.cookies["latchgate-device"] for a in (first, second)]
    ages = {device[: len("usr_") + 6] for device in devices}
    assert len(ages) == 1, "an id's age in the device's cookie tells a decoy from a new user"
    assert (await stranger.get("/api/session")).status_code == 401
    assert "already" in await management.letters()


async def test_a_login_opens_a_session_and_a_logout_ends_it_for_every_copy(
    management: Management,
) -> None:
    """Row 100: the copied cookie of a logged-out user opens nothing."""
    await management.signed_up()
    browser, thief = management.browser(), management.browser()
    answer = await browser.post("/api/session", json=LOGIN)
    assert (answer.status_code, answer.json()["email"]) == (200, EMAIL)
    thief.cookies.update(browser.cookies)
    assert (await thief.get("/api/session")).status_code == 200
    gone = await browser.delete("/api/session")
    assert (gone.status_code, gone.content) == (204, b"")
    assert "latchgate" not in browser.cookies
    refused = await thief.get("/api/session")
    assert (refused.status_code, error_of(refused)["code"]) == (401, "session_expired")


async def test_a_wrong_password_and_an_unknown_user_are_told_the_same(
    management: Management,
) -> None:
    """Row 93."""
    await management.signed_up()
    browser = management.browser()
    wrong = await browser.post("/api/session", json={**LOGIN, "password": "wrong"})
    unknown = await browser.post("/api/session", json={"email": OTHER, "password": "wrong"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert error_of(wrong)["code"] == "invalid_credentials"
    assert error_of(wrong)["type"] == "authentication_error"
    assert "set-cookie" not in wrong.headers


async def test_the_eleventh_try_waits_but_the_owner_gets_in_from_his_own_device(
    management: Management,
) -> None:
    """Row 94."""
    owner = await management.signed_up()
    await owner.delete("/api/session")
    stranger = management.browser()
    for _ in range(10):
        tried = await stranger.post("/api/session", json={**LOGIN, "password": "wrong"})
        assert tried.status_code == 401
    refused = await stranger.post("/api/session", json=LOGIN)
    assert (refused.status_code, error_of(refused)["code"]) == (429, "too_many_attempts")
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert (await owner.post("/api/session", json=LOGIN)).status_code == 200


async def test_logging_out_everywhere_may_leave_this_browser_in(management: Management) -> None:
    here, there = await management.signed_up(), management.browser()
    await there.post("/api/session", json=LOGIN)
    await here.delete("/api/sessions?except_current=true")
    statuses = [(await browser.get("/api/session")).status_code for browser in (here, there)]
    assert statuses == [200, 401]
    await here.delete("/api/sessions")
    assert (await here.get("/api/session")).status_code == 401


# ── passwords ───────────────────────────────────────────────────────────────────────────────────
async def test_a_new_password_ends_every_other_session(management: Management) -> None:
    here, there = await management.signed_up(), management.browser()
    await there.post("/api/session", json=LOGIN)
    asked = {"current": PASSWORD, "new": NEW_PASSWORD}
    assert (await here.put("/api/password", json=asked)).status_code == 204
    assert (await here.get("/api/session")).status_code == 200
    assert (await there.get("/api/session")).status_code == 401
    wrong = await here.put("/api/password", json=asked)
    assert (wrong.status_code, error_of(wrong)["param"]) == (400, "current")


async def test_a_forgotten_password_is_replaced_by_a_link_that_works_once(
    management: Management,
) -> None:
    """Row 98, and the answer is the same for an address without an account."""
    ada = await management.signed_up()
    known = await ada.post("/api/password-resets", json={"email": EMAIL})
    unknown = await ada.post("/api/password-resets", json={"email": OTHER})
    assert known.status_code == unknown.status_code == 202
    assert known.json() == unknown.json()
    found = re.search(r"/reset\?token=(\S+)", await management.letters())
    assert found is not None
    redeem = {"token": found.group(1), "password": NEW_PASSWORD}
    assert (await ada.post("/api/password-resets/redeem", json=redeem)).status_code == 204
    again = await ada.post("/api/password-resets/redeem", json=redeem)
    assert (again.status_code, error_of(again)["code"]) == (400, "invalid_reset_token")
    assert (await ada.get("/api/session")).status_code == 401
    login = {"email": EMAIL, "password": NEW_PASSWORD}
    assert (await ada.post("/api/session", json=login)).status_code == 200


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"password": "password1"}, "weak_password", "password"),
        ({"password": "short77"}, "weak_password", "password"),
        ({"password": EMAIL}, "weak_password", "password"),
        ({"password": "x" * 2000}, "string_above_max_length", "password"),
        ({"password": "é" * 600}, "string_above_max_length", "password"),
        ({"email": "a@b"}, "invalid_email", "email"),
        ({"email": "a" * 300 + "@example.com"}, "invalid_email", "email"),
        ({"email": "a@example.com\r\nBcc: b@example.com"}, "invalid_email", "email"),
        ({"email": 7}, "invalid_type", "email"),
        ({"email": None}, "invalid_type", "email"),
        ({"is_operator": True}, "unknown_parameter", "is_operator"),
        ({"\ud800": 1}, "invalid_value", None),
        ({"email": "\ud800@example.com"}, "invalid_value", "email"),
    ],
)
async def test_a_bad_sign_up_names_the_field_and_makes_nothing(
    management: Management, fields: dict[str, Any], code: str, param: str | None
) -> None:
    """Rows 90 to 92."""
    body = json.dumps({**LOGIN, **fields})  # ASCII: a lone surrogate travels as an escape
    headers = {"content-type": "application/json"}
    answer = await management.browser().post("/api/signup", content=body, headers=headers)
    assert answer.status_code == 400
    assert (error_of(answer)["code"], error_of(answer)["param"]) == (code, param)
    assert await management.world.services.accounts.list_all() == []


async def test_a_closed_server_takes_nobody(tmp_path: Path) -> None:
    async with running_management(tmp_path, signup=SignupSettings(mode="closed")) as management:
        answer = await management.browser().post("/api/signup", json=LOGIN)
        assert (answer.status_code, error_of(answer)["code"]) == (403, "signup_closed")


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b'{"email":"\xff"}', "application/json", 400, "invalid_json"),
        (b"[" * 60_000, "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_type"),
        (b"null", "application/json", 400, "invalid_type"),
        (b"", "application/json", 400, "missing_required_parameter"),
        (b"{}", "application/json", 400, "missing_required_parameter"),
        (b"{}", "text/plain", 415, "unsupported_content_type"),
        (b"email=a", "application/x-www-form-urlencoded", 415, "unsupported_content_type"),
        (b"{}", "application/vnd.x+json", 415, "unsupported_content_type"),
        (b"{}", "", 415, "unsupported_content_type"),
    ],
)
async def test_only_json_is_taken(
    management: Management, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = await management.browser().post(
        "/api/session", content=body, headers={"content-type": content_type}
    )
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
