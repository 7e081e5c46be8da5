"""Guards the second factor: what it lets in, what it refuses, and what nobody can get around."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from latchgate.clock import MINUTE_US
from latchgate.services.throttles import CODE_BY_USER
from latchgate.services.totp import read_secret
from tests.support.factors import Phone, forget_used_steps, let_pass, set_up
from tests.support.management import EMAIL, PASSWORD, Management, error_of, running_console

pytestmark = pytest.mark.anyio
LOGIN = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API and the console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def _protected(management: Management) -> tuple[httpx.AsyncClient, Phone, list[str]]:
    ada = await management.signed_up()
    phone, codes = await set_up(management, ada)
    await forget_used_steps(management)
    return ada, phone, codes


async def _logged_in(browser: httpx.AsyncClient) -> bool:
    return (await browser.get("/api/session")).status_code == 200


async def _after_password(management: Management) -> httpx.AsyncClient:
    """A new browser on the second page of a login."""
    browser = management.browser()
    answer = await browser.post("/login", data=LOGIN | {"next": "/limits"})
    assert answer.headers["location"] == "/login/code?next=/limits"
    return browser


# ── the way in ──────────────────────────────────────────────────────────────────────────────────
async def test_the_password_alone_opens_nothing_and_the_code_leads_on(
    management: Management,
) -> None:
    _, phone, _ = await _protected(management)
    browser = await _after_password(management)
    assert not await _logged_in(browser)
    assert "latchgate" not in browser.cookies
    page = await browser.get("/login/code?next=/limits")
    assert 'autocomplete="one-time-code"' in page.text
    done = await browser.post(
        "/login/code", data={"code": f" {phone.code(management)} ", "next": "/limits"}
    )
    assert (done.status_code, done.headers["location"]) == (303, "/limits")
    assert await _logged_in(browser)
    assert "latchgate-step" not in browser.cookies


async def test_a_code_works_once_even_within_its_thirty_seconds(management: Management) -> None:
    """Row 95, the replay: somebody who looked over a shoulder is too late."""
    _, phone, _ = await _protected(management)
    code = phone.code(management)
    first, second = [await _after_password(management) for _ in range(2)]
    assert (await first.post("/login/code", data={"code": code})).status_code == 303
    again = await second.post("/login/code", data={"code": code})
    assert again.status_code == 401
    assert "used before" in again.text
    older = await second.post("/login/code", data={"code": phone.code(management, steps=-1)})
    assert older.status_code == 401, "a code from before one that was used is used up, too"
    assert not await _logged_in(second)


@pytest.mark.parametrize("typed", ["abcdef", "1234567", "", "12345", "١٢٣٤٥٦", "0" * 60_000])
async def test_what_is_no_code_is_refused_as_a_wrong_one(
    management: Management, typed: str
) -> None:
    """Row 95."""
    await _protected(management)
    answer = await management.browser().post("/api/session", json=LOGIN | {"code": typed})
    if len(typed) > 1000:
        assert answer.status_code == 400
    elif typed:
        assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_mfa_code")
    else:
        assert (answer.status_code, error_of(answer)["code"]) == (401, "mfa_code_required")


async def test_a_code_of_some_steps_ago_is_too_old(management: Management) -> None:
    """Row 95; ``test_totp.py`` has the exact bound."""
    _, phone, _ = await _protected(management)
    old = LOGIN | {"code": phone.code(management, steps=-3)}
    answer = await management.browser().post("/api/session", json=old)
    assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_mfa_code")


async def test_a_recovery_code_lets_in_once_and_its_owner_is_told(management: Management) -> None:
    ada, _, codes = await _protected(management)
    assert len(codes) == len(set(codes)) == 10
    typed = codes[3].upper().replace("-", " ")
    first, second = [await _after_password(management) for _ in range(2)]
    assert (await first.post("/login/code", data={"code": typed})).status_code == 303
    assert (await second.post("/login/code", data={"code": codes[3]})).status_code == 401
    assert "A recovery code was used" in await management.letters()
    assert "9 of 10 are left" in (await ada.get("/security")).text


async def test_somebody_elses_recovery_code_opens_nothing(management: Management) -> None:
    bob = await management.signed_up("bob@example.com")
    _, codes = await set_up(management, bob)
    await _protected(management)
    browser = await _after_password(management)
    assert (await browser.post("/login/code", data={"code": codes[0]})).status_code == 401


# ── guesses ─────────────────────────────────────────────────────────────────────────────────────
async def test_guesses_are_throttled_for_the_user_wherever_they_come_from_and_he_is_told(
    management: Management,
) -> None:
    ada, phone, _ = await _protected(management)
    await ada.delete("/api/session")
    for number in range(CODE_BY_USER.tries):
        stranger = management.browser(f"10.0.0.{number}")
        answer = await stranger.post("/api/session", json=LOGIN | {"code": "000000"})
        assert answer.status_code == 401
    right = LOGIN | {"code": phone.code(management)}
    refused = await management.browser("10.0.0.99").post("/api/session", json=right)
    assert (refused.status_code, error_of(refused)["code"]) == (429, "too_many_attempts")
    assert (await management.letters()).count("Somebody knows your password") == 1
    assert (await ada.post("/api/session", json=right)).status_code == 200, "her own device"


async def test_a_ticket_ends_after_five_wrong_codes_and_after_ten_minutes(
    management: Management,
) -> None:
    _, phone, _ = await _protected(management)
    guesser = await _after_password(management)
    throttles = management.world.services.logins._throttles
    for _ in range(5):
        await guesser.post("/login/code", data={"code": "000000"})
        throttles._counts.clear()
    ended = await guesser.post("/login/code", data={"code": phone.code(management)})
    assert ended.headers["location"] == "/login?notice=again"
    slow = await _after_password(management)
    sql = text(f"UPDATE tickets SET expires_us = expires_us - {10 * MINUTE_US}")
    await management.world.store.write(lambda conn: conn.execute(sql))
    late = await slow.post("/login/code", data={"code": phone.code(management)})
    assert late.headers["location"] == "/login?notice=again"
    assert "took too long" in (await slow.get("/login?notice=again")).text


async def test_a_ticket_works_once(management: Management) -> None:
    _, phone, codes = await _protected(management)
    browser = await _after_password(management)
    ticket = browser.cookies["latchgate-step"]
    await browser.post("/login/code", data={"code": phone.code(management)})
    thief = management.browser()
    thief.cookies.set("latchgate-step", ticket, domain="localhost.local")
    answer = await thief.post("/login/code", data={"code": codes[0]})
    assert answer.headers["location"] == "/login?notice=again"
    assert not await _logged_in(thief)


# ── ways around ─────────────────────────────────────────────────────────────────────────────────
async def test_signing_up_again_with_the_right_password_does_not_pass_it(
    management: Management,
) -> None:
    await _protected(management)
    thief = management.browser()
    assert (await thief.post("/api/signup", json=LOGIN)).status_code == 200
    assert not await _logged_in(thief)


async def test_a_reset_by_mail_does_not_pass_it(management: Management) -> None:
    ada, _, _ = await _protected(management)
    await ada.post("/api/password-resets", json={"email": EMAIL})
    found = re.search(r"/reset\?token=(\S+)", await management.letters())
    assert found
    new = "nine loud orange camels"
    redeem = {"token": found.group(1), "password": new}
    assert (await ada.post("/api/password-resets/redeem", json=redeem)).status_code == 204
    answer = await management.browser().post("/api/session", json={"email": EMAIL, "password": new})
    assert error_of(answer)["code"] == "mfa_code_required"


async def test_a_secret_that_was_only_shown_asks_for_nothing(management: Management) -> None:
    ada = await management.signed_up()
    page = await ada.get("/security/second-factor")
    assert page.text == (await ada.get("/security/second-factor")).text, "a reload keeps it"
    wrong = await ada.post("/security/second-factor", data={"code": "000000"})
    assert wrong.status_code == 401
    assert (await management.browser().post("/api/session", json=LOGIN)).status_code == 200


async def test_a_secret_that_a_thief_was_shown_never_becomes_the_owners(
    management: Management,
) -> None:
    """Somebody else's login, an hour ago, looked at the QR code and went away again."""
    ada, thief = await management.signed_up(), management.browser()
    await thief.post("/api/session", json=LOGIN)
    seen = await _secret_shown(thief)
    await thief.delete("/api/session")
    assert await _secret_shown(ada) != seen
    mine = await _secret_shown(ada)
    assert await _secret_shown(ada) == mine
    sql = text(f"UPDATE totp_factors SET created_us = created_us - {60 * MINUTE_US}")
    await management.world.store.write(lambda conn: conn.execute(sql))
    late = await ada.post("/security/second-factor", data={"code": Phone(mine).code(management)})
    assert late.status_code == 401
    assert await _secret_shown(ada) != mine


async def _secret_shown(browser: httpx.AsyncClient) -> str:
    page = await browser.get("/security/second-factor")
    found = re.search(r'id="totp-secret">([A-Z2-7 ]+)<', page.text)
    assert found
    return found.group(1)


# ── set up and switch off ───────────────────────────────────────────────────────────────────────
async def test_neither_the_secret_nor_a_recovery_code_is_readable_in_the_database(
    management: Management,
) -> None:
    ada = await management.signed_up()
    secret = (await _secret_shown(ada)).replace(" ", "")
    _, codes = await set_up(management, ada)
    await management.world.services.mail.flush()
    needles = [
        secret,
        read_secret(secret).hex(),
        *codes,
        *(code.replace("-", "") for code in codes),
    ]
    kept = [path for path in management.world.data.database.parent.rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        bytes_ = path.read_bytes()
        assert read_secret(secret) not in bytes_
        assert not [needle for needle in needles if needle.encode() in bytes_], path
    assert codes[0] not in (await ada.get("/security")).text
    assert secret not in (await ada.get("/security/second-factor")).text


async def test_every_change_asks_who_it_is_is_written_down_and_is_mailed(
    management: Management,
) -> None:
    ada, phone, codes = await _protected(management)
    await let_pass(management, 16)
    changes = ("/security/second-factor", "/security/second-factor/off", "/security/recovery-codes")
    for path in changes:
        page = await ada.post(path, data={})
        assert page.status_code == 403
        assert "Confirm it is you" in page.text
    confirmation = {"password": PASSWORD, "code": phone.code(management)}
    assert (await ada.put("/api/session/confirmation", json=confirmation)).status_code == 204
    renewed = await ada.post("/security/recovery-codes")
    assert not set(codes) & set(re.findall(r"<code>([0-9a-z-]+)</code>", renewed.text))
    browser = await _after_password(management)
    assert (await browser.post("/login/code", data={"code": codes[0]})).status_code == 401
    off = await ada.post("/security/second-factor/off")
    assert off.headers["location"] == "/security?notice=totp_off"
    assert (await management.browser().post("/api/session", json=LOGIN)).status_code == 200
    letters = await management.letters()
    for subject in ("Codes from an app are on", "new recovery codes", "Codes from an app are off"):
        assert subject in letters
    page = await ada.get("/security/activity")
    for words in ("switched on", "New recovery codes made", "switched off", "Confirmed that it is"):
        assert words in page.text


async def test_a_second_app_does_not_replace_the_first_unasked(management: Management) -> None:
    ada, _, _ = await _protected(management)
    for answer in (
        await ada.get("/security/second-factor"),
        await ada.post("/security/second-factor", data={"code": "000000"}),
    ):
        assert (answer.status_code, answer.headers["location"]) == (303, "/security")


async def test_behind_tls_the_ticket_is_bound_to_the_host_and_to_tls(
    management: Management,
) -> None:
    _, phone, _ = await _protected(management)
    browser = management.browser()
    browser.base_url = httpx.URL("https://localhost:8000")
    answer = await browser.post("/login", data=LOGIN)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-latchgate-step=")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=600"):
        assert part in cookie
    done = await browser.post("/login/code", data={"code": phone.code(management)})
    assert done.headers["location"] == "/home"
    assert await _logged_in(browser)
