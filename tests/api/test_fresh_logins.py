"""Row 101: a stolen cookie makes no key once the login is some time ago."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from latchgate.clock import HOUR_US
from tests.support.management import PASSWORD, Management, error_of, running_console

pytestmark = pytest.mark.anyio


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API and the console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def _signed_up_long_ago(management: Management) -> httpx.AsyncClient:
    ada = await management.signed_up()
    sql = text(f"UPDATE sessions SET created_us = created_us - {13 * HOUR_US}")
    await management.world.store.write(lambda conn: conn.execute(sql))
    return ada


async def _keys(ada: httpx.AsyncClient) -> list[str]:
    return [key["name"] for key in (await ada.get("/api/keys")).json()["data"]]


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


async def test_guesses_of_it_are_throttled(management: Management) -> None:
    ada = await _signed_up_long_ago(management)
    answers = [await ada.post("/api/keys", json={"password": "no"}) for _ in range(11)]
    assert error_of(answers[-1])["code"] == "too_many_attempts"
    assert {answer.status_code for answer in answers[:10]} == {400}
    right = await ada.post("/api/keys", json={"password": PASSWORD})
    assert right.status_code == 429


async def test_the_form_asks_beside_the_field_and_keeps_the_name(management: Management) -> None:
    ada = await _signed_up_long_ago(management)
    assert 'name="password"' in (await ada.get("/api-keys")).text
    form = {"name": "Letter desk", "nonce": "n1"}
    for typed in ({}, {"password": "not the one"}):
        page = await ada.post("/api-keys", data=form | typed)
        assert page.status_code in {400, 403}
        assert 'aria-invalid="true"' in page.text
        assert 'value="Letter desk"' in page.text
        assert "not the one" not in page.text
    page = await ada.post("/api-keys", data=form | {"password": PASSWORD})
    assert "Save your key now" in page.text
    assert await _keys(ada) == ["Letter desk"]


async def test_a_fresh_login_is_not_asked(management: Management) -> None:
    ada = await management.signed_up()
    assert 'name="password"' not in (await ada.get("/api-keys")).text
    assert (await ada.post("/api/keys")).status_code == 201
