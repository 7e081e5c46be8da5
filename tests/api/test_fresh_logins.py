"""Row 101: what a stolen cookie does not open once the login is some time ago."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.factors import forget_used_steps, let_pass, set_up
from tests.support.management import PASSWORD, Management, error_of, running_console

pytestmark = pytest.mark.anyio
KEY_MINUTES, SENSITIVE_MINUTES = 12 * 60 + 1, 16
ON = {"what": "account", "is_on": "1"}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API and the console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def _signed_up_long_ago(
    management: Management, minutes: int = KEY_MINUTES
) -> httpx.AsyncClient:
    ada = await management.signed_up()
    await let_pass(management, minutes)
    return ada


async def _keys(ada: httpx.AsyncClient) -> list[str]:
    return [key["name"] for key in (await ada.get("/api/keys")).json()["data"]]


async def _limits(ada: httpx.AsyncClient) -> dict[str, str]:
    limits = (await ada.get("/api/limits")).json()["data"]
    return {view["what"]: view["limit_usd"] for view in limits}


def fields_of(page: httpx.Response) -> dict[str, str]:
    """What the confirmation's form would send, without what is typed into it."""
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
    return {unescape(name): unescape(value) for name, value in hidden}


async def confirmed(
    browser: httpx.AsyncClient, page: httpx.Response, **typed: str
) -> httpx.Response:
    """What comes after the page, as a browser goes on by itself."""
    assert "Confirm it is you" in page.text, page.text
    form = fields_of(page) | {"confirm_password": PASSWORD} | typed
    return await browser.post("/confirm", data=form, follow_redirects=True)


# ── by the API ──────────────────────────────────────────────────────────────────────────────────
async def test_an_older_login_makes_a_key_with_the_password_only(management: Management) -> None:
    ada = await _signed_up_long_ago(management)
    for asked in ({}, {"password": ""}):
        refused = await ada.post("/api/keys", json=asked)
        error = error_of(refused)
        assert (refused.status_code, error["code"]) == (403, "reauthentication_required")
        assert error["type"] == "permission_error"
    wrong = await ada.post("/api/keys", json={"password": "not the one"})
    assert (wrong.status_code, error_of(wrong)["code"]) == (400, "wrong_password")
    assert await _keys(ada) == []
    made = await ada.post("/api/keys", json={"name": "mine", "password": PASSWORD})
    assert made.status_code == 201
    assert await _keys(ada) == ["mine"]


async def test_wrong_guesses_stand_in_the_owners_log(management: Management) -> None:
    ada = await _signed_up_long_ago(management)
    await ada.put("/api/session/confirmation", json={"password": "a guess"})
    change = {"current": "another guess", "new": "nine loud orange camels"}
    await ada.put("/api/password", json=change)
    events = (await ada.get("/api/audit-events")).json()["data"]
    assert [event["action"] for event in events][:2] == ["session.confirm_failed"] * 2
    assert "guess" not in str(events)


async def test_a_strangers_wrong_codes_do_not_stop_a_user_who_confirms(
    management: Management,
) -> None:
    ada = await management.signed_up()
    phone, _ = await set_up(management, ada)
    await forget_used_steps(management)
    stranger = management.browser("10.9.9.9")
    login = {"email": "ada@example.com", "password": PASSWORD, "code": "000000"}
    answers = [await stranger.post("/api/session", json=login) for _ in range(6)]
    assert answers[-1].status_code == 429
    both = {"password": PASSWORD, "code": phone.code(management)}
    assert (await ada.put("/api/session/confirmation", json=both)).status_code == 204


async def test_guesses_of_it_are_throttled(management: Management) -> None:
    ada = await _signed_up_long_ago(management)
    answers = [await ada.post("/api/keys", json={"password": "no"}) for _ in range(11)]
    assert error_of(answers[-1])["code"] == "too_many_attempts"
    assert {answer.status_code for answer in answers[:10]} == {400}
    right = await ada.post("/api/keys", json={"password": PASSWORD})
    assert right.status_code == 429


async def test_a_fresh_login_is_not_asked(management: Management) -> None:
    ada = await management.signed_up()
    assert (await ada.post("/api/keys")).status_code == 201
    off = {"what": "account", "period": "day", "limit_usd": None}
    assert (await ada.put("/api/limits", json=off)).status_code == 200


LOOSER: list[tuple[str, str, dict[str, Any] | None]] = [
    ("PUT", "/api/limits", {"what": "account", "period": "day", "limit_usd": "2.00"}),
    ("PUT", "/api/limits", {"what": "account", "period": "day", "limit_usd": None}),
    ("PUT", "/api/limits/premium", {"what": "account", "is_on": True}),
    ("PUT", "/api/limits/time-zone", {"time_zone": "Europe/Berlin"}),
    ("DELETE", "/api/sessions?except_current=true", None),
    ("DELETE", "/api/sessions/ses_none", None),
]


@pytest.mark.parametrize(("method", "path", "body"), LOOSER, ids=str)
async def test_what_is_sensitive_wants_a_quarter_of_an_hour(
    management: Management, method: str, path: str, body: dict[str, Any] | None
) -> None:
    ada = await management.signed_up()
    tight = {"what": "account", "period": "day", "limit_usd": "1.00"}
    assert (await ada.put("/api/limits", json=tight)).status_code == 200
    await let_pass(management, SENSITIVE_MINUTES)
    refused = await ada.request(method, path, json=body)
    assert error_of(refused)["code"] == "reauthentication_required"
    assert (await _limits(ada))["account"] == "1.00"
    asked = {"password": PASSWORD}
    assert (await ada.put("/api/session/confirmation", json=asked)).status_code == 204
    again = await ada.request(method, path, json=body)
    assert again.status_code in {200, 204, 404}


async def test_what_lowers_a_risk_never_asks(management: Management) -> None:
    ada = await _signed_up_long_ago(management)
    tight = {"what": "account", "period": "day", "limit_usd": "1.00"}
    assert (await ada.put("/api/limits", json=tight)).status_code == 200
    tighter = tight | {"limit_usd": "0.50"}
    assert (await ada.put("/api/limits", json=tighter)).status_code == 200
    off = {"what": "key", "is_on": False}
    assert (await ada.put("/api/limits/premium", json=off)).status_code == 200
    assert (await ada.delete("/api/sessions")).status_code == 204


async def test_who_confirms_gets_another_session_token_and_the_old_one_is_dead(
    management: Management,
) -> None:
    ada, thief = await _signed_up_long_ago(management), management.browser()
    thief.cookies.update(ada.cookies)
    assert (await thief.get("/api/session")).status_code == 200
    asked = {"password": PASSWORD}
    assert (await ada.put("/api/session/confirmation", json=asked)).status_code == 204
    assert (await ada.get("/api/session")).status_code == 200
    assert (await thief.get("/api/session")).status_code == 401


async def test_with_a_second_factor_the_password_alone_confirms_nothing(
    management: Management,
) -> None:
    ada = await management.signed_up()
    phone, _ = await set_up(management, ada)
    await forget_used_steps(management)
    await let_pass(management, KEY_MINUTES)
    for body in ({"password": PASSWORD}, {"password": PASSWORD, "code": "000000"}):
        for answer in (
            await ada.put("/api/session/confirmation", json=body),
            await ada.post("/api/keys", json=body),
        ):
            assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_mfa_code")
    both = {"password": PASSWORD, "code": phone.code(management)}
    assert (await ada.post("/api/keys", json=both)).status_code == 201
    replay = await ada.put("/api/session/confirmation", json=both)
    assert error_of(replay)["code"] == "invalid_mfa_code"


# ── by the pages ────────────────────────────────────────────────────────────────────────────────
async def test_after_confirming_the_key_is_made_with_the_name_that_was_typed(
    management: Management,
) -> None:
    ada = await _signed_up_long_ago(management)
    asked = await ada.post("/api-keys", data={"name": 'Letter "desk" <b>', "nonce": "n1"})
    assert asked.status_code == 403
    assert await _keys(ada) == []
    wrong = await ada.post("/confirm", data=fields_of(asked) | {"confirm_password": "not it"})
    assert wrong.status_code == 400
    assert 'aria-invalid="true"' in wrong.text
    assert "not it" not in wrong.text
    page = await confirmed(ada, wrong)
    assert "Save your key now" in page.text
    assert await _keys(ada) == ['Letter "desk" <b>']


async def test_after_confirming_the_limits_are_what_was_typed(management: Management) -> None:
    ada = await management.signed_up()
    form = {"account_limit.day": "1.00", "key_limit.month": "3.00"}
    assert (await ada.post("/limits", data=form)).status_code == 303
    await let_pass(management, SENSITIVE_MINUTES)
    looser = form | {"account_limit.day": "2.00"}
    page = await confirmed(ada, await ada.post("/limits", data=looser))
    assert "Saved. It binds the next call." in page.text
    assert (await _limits(ada))["account"] == "2.00"


async def test_a_page_that_is_only_looked_at_is_come_back_to(management: Management) -> None:
    ada = await _signed_up_long_ago(management, SENSITIVE_MINUTES)
    asked = await ada.get("/security/second-factor?from=here")
    page = await confirmed(ada, asked)
    assert str(page.url).endswith("/security/second-factor?from=here")
    assert "Scan this with your app" in page.text


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/\\evil", "javascript:x", "/confirm", ""]
)
async def test_nobody_is_sent_elsewhere_with_what_he_typed(management: Management, to: str) -> None:
    ada = await _signed_up_long_ago(management)
    form = {"confirm_password": PASSWORD, "confirm_to": to, "confirm_method": "get"}
    answer = await ada.post("/confirm", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/home")


async def test_nobody_confirms_who_is_not_logged_in(management: Management) -> None:
    answer = await management.browser().post("/confirm", data={"confirm_password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_whoever_thinks_better_of_it_goes_back_to_where_he_was(
    management: Management,
) -> None:
    ada = await _signed_up_long_ago(management)
    for came_from, back in (
        ("http://localhost:8000/limits?notice=saved", "/limits"),
        ("javascript:alert(1)", "/home"),
        ("http://localhost:8000//evil.example", "/home"),
        ("", "/home"),
    ):
        page = await ada.post("/limits/premium", data=ON, headers={"referer": came_from})
        assert f'href="{back}">Not now<' in page.text
