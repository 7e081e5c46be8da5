"""Guards sessions: how long they last, where they were used, and who ends them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from latchgate.clock import DAY_US, MINUTE_US
from latchgate.config.settings import SignupSettings
from tests.support.factors import set_up
from tests.support.management import (
    EMAIL,
    PASSWORD,
    Management,
    error_of,
    running_console,
    running_management,
)

pytestmark = pytest.mark.anyio
LOGIN = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API and the console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def _age(management: Management, column: str, by_us: int) -> None:
    sql = text(f"UPDATE sessions SET {column} = {column} - {by_us}")
    await management.world.store.write(lambda conn: conn.execute(sql))


async def _status(browser: httpx.AsyncClient) -> int:
    return (await browser.get("/api/session")).status_code


async def test_a_session_that_is_not_used_for_two_weeks_ends(management: Management) -> None:
    ada = await management.signed_up()
    await _age(management, "seen_us", 14 * DAY_US - MINUTE_US)
    assert await _status(ada) == 200, "its use begins the two weeks anew"
    await _age(management, "seen_us", 14 * DAY_US)
    answer = await ada.get("/api/session")
    assert (answer.status_code, error_of(answer)["code"]) == (401, "session_expired")


async def test_every_session_ends_after_ninety_days_however_much_it_is_used(
    management: Management,
) -> None:
    ada = await management.signed_up()
    await _age(management, "expires_us", 90 * DAY_US - MINUTE_US)
    assert await _status(ada) == 200
    await _age(management, "expires_us", MINUTE_US)
    assert await _status(ada) == 401


async def test_one_other_device_is_logged_out_and_no_other(management: Management) -> None:
    here, there, third = [await management.signed_up(), management.browser(), management.browser()]
    for browser in (there, third):
        await browser.post("/api/session", json=LOGIN)
    listed = (await here.get("/api/sessions")).json()["data"]
    assert [session["is_current"] for session in listed].count(True) == 1
    (its_own,) = [
        session["id"]
        for session in (await there.get("/api/sessions")).json()["data"]
        if session["is_current"]
    ]
    assert (await here.delete(f"/api/sessions/{its_own}")).status_code == 204
    assert [await _status(browser) for browser in (here, there, third)] == [200, 401, 200]
    assert (await here.delete(f"/api/sessions/{its_own}")).status_code == 404


async def test_somebody_elses_session_is_not_there(management: Management) -> None:
    ada, bob = await management.signed_up(), await management.signed_up("bob@example.com")
    (session,) = (await ada.get("/api/sessions")).json()["data"]
    assert (await bob.delete(f"/api/sessions/{session['id']}")).status_code == 404
    page = await bob.post(f"/security/sessions/{session['id']}/end")
    assert page.status_code == 404
    assert await _status(ada) == 200


async def test_a_session_says_where_it_was_last_used_and_nothing_that_opens_it(
    management: Management,
) -> None:
    ada = await management.signed_up()
    moved = management.browser("10.7.7.7")
    moved.cookies.update(ada.cookies)
    assert await _status(moved) == 200
    answer = await moved.get("/api/sessions")
    assert answer.json()["data"][0]["address"] == "10.7.7.7"
    page = await moved.get("/security")
    assert "10.7.7.7" in page.text
    for token in (ada.cookies["latchgate"], ada.cookies["latchgate-device"]):
        assert token not in page.text + answer.text


async def test_every_page_of_an_account_has_a_way_out(management: Management) -> None:
    ada = await management.signed_up()
    for path in ("/home", "/security", "/profile", "/api-keys", "/limits", "/profile/close"):
        page = await ada.get(path)
        assert re.search(r'action="/logout"><button[^>]*>Log out<', page.text), path


async def test_after_logging_out_no_page_comes_back_from_a_cache(management: Management) -> None:
    ada = await management.signed_up()
    assert (await ada.get("/security")).headers["cache-control"] == "no-store"
    out = await ada.post("/logout")
    assert 'latchgate=""' in out.headers["set-cookie"]
    assert (await ada.get("/security")).headers["location"] == "/login?next=/security"


async def test_after_a_change_of_factors_the_other_devices_can_be_logged_out(
    management: Management,
) -> None:
    ada, other = await management.signed_up(), management.browser()
    await other.post("/api/session", json=LOGIN)
    await set_up(management, ada)
    page = await ada.get("/security?notice=totp_on")
    assert "Devices that are logged in stay so; you can log them out below." in page.text
    assert await _status(other) == 200
    assert (await ada.post("/security/logout-others")).status_code == 303
    assert [await _status(browser) for browser in (ada, other)] == [200, 401]


async def test_a_password_is_taken_exactly_as_it_was_typed(management: Management) -> None:
    typed = f"  {PASSWORD} ÄÖ\t"
    asked = {"email": EMAIL, "password": typed}
    assert (await management.browser().post("/api/signup", json=asked)).status_code == 200
    for other in (typed.strip(), typed.lower(), typed.upper(), typed[:-1], typed + " "):
        wrong = await management.browser().post("/api/session", json=asked | {"password": other})
        assert wrong.status_code == 401, other
    assert (await management.browser().post("/api/session", json=asked)).status_code == 200
    page = await management.browser().post("/login", data=asked)
    assert page.headers["location"] == "/home"


async def test_an_invitation_is_used_once(tmp_path: Path) -> None:
    async with running_management(tmp_path, signup=SignupSettings(mode="invite")) as management:
        made = await management.world.services.invitations.create(None, "cli")
        token = made.url.partition("invitation=")[2]
        answers = [
            await management.browser().post(
                "/api/signup",
                json={"email": f"a{n}@example.com", "password": PASSWORD, "invitation": token},
            )
            for n in range(2)
        ]
        assert answers[0].status_code == 200
        assert error_of(answers[1])["code"] == "invitation_required"
