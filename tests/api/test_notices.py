"""Guards the switches of mails about a key, and the mail that nobody can switch off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.test_fresh_logins import confirmed
from tests.support.factors import let_pass
from tests.support.management import Management, error_of, running_console

pytestmark = pytest.mark.anyio
OFF = {"what": "new_app", "is_on": "0"}


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Management]:
    """The console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def test_the_owner_is_told_that_his_key_was_replaced(console: Management) -> None:
    ada = await console.signed_up()
    await ada.post("/api/keys", json={"name": "Old"})
    fresh = (await ada.post("/api/keys", json={"name": "New", "replace": True})).json()
    assert "was replaced" not in await console.letters(), "both work until the new one is used"
    await ada.post(f"/api/keys/{fresh['id']}/confirm")
    letters = await console.letters()
    assert letters.count("Your API key was replaced") == 1
    assert "New (sk-lg-" in letters
    assert fresh["secret"] not in letters
    await ada.post(f"/api/keys/{fresh['id']}/confirm")
    await ada.post("/api/keys", json={"name": "Third", "replace": True, "at_once": True})
    assert (await console.letters()).count("Your API key was replaced") == 2


async def test_notices_are_switched_on_the_security_page(console: Management) -> None:
    ada = await console.signed_up()
    assert (await ada.get("/api/notices")).json() == {"new_app": True, "new_address": True}
    off = await ada.post("/security/notices", data=OFF)
    assert (off.status_code, off.headers["location"]) == (303, "/security?notice=mails")
    page = (await ada.get("/security?notice=mails")).text
    assert "Saved: it holds for the next use" in page
    assert "A mail about the key switched off" in page
    assert (await ada.get("/api/notices")).json() == {"new_app": False, "new_address": True}
    await ada.post("/security/notices", data=OFF | {"is_on": "1"})
    assert (await ada.get("/api/notices")).json() == {"new_app": True, "new_address": True}
    wrong = await ada.post("/security/notices", data={"what": "key_replaced", "is_on": "0"})
    assert wrong.status_code == 400


async def test_an_older_login_switches_none_off(console: Management) -> None:
    ada = await console.signed_up()
    await let_pass(console, 16)
    refused = await ada.put("/api/notices", json={"what": "new_app", "is_on": False})
    assert (refused.status_code, error_of(refused)["code"]) == (403, "reauthentication_required")
    on = await ada.put("/api/notices", json={"what": "new_app", "is_on": True})
    assert on.status_code == 200
    asked = await ada.post("/security/notices", data=OFF)
    assert (await ada.get("/api/notices")).json()["new_app"] is True
    assert (await confirmed(ada, asked)).status_code == 200
    assert (await ada.get("/api/notices")).json()["new_app"] is False
    switched = await ada.put("/api/notices", json={"what": "new_address", "is_on": False})
    assert switched.json() == {"new_app": False, "new_address": False}
