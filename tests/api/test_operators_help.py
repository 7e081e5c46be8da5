"""Guards what an operator does for somebody who has lost his phone, and who hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from latchgate import commands
from tests.api.test_passkeys import _log_in, _with_passkey
from tests.support.factors import set_up
from tests.support.management import EMAIL, PASSWORD, Management, running_console

pytestmark = pytest.mark.anyio
LOGIN = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API and the console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def test_reset_factors_leaves_the_password_alone_and_tells_the_owner(
    management: Management,
) -> None:
    ada, authenticator = await _with_passkey(management)
    await set_up(management, ada)
    await commands.run(management.world, "account.reset-factors", {"email": EMAIL})
    assert (await ada.get("/api/session")).status_code == 401
    assert (await _log_in(management.browser(), authenticator)).status_code == 401
    assert (await ada.post("/api/session", json=LOGIN)).status_code == 200
    assert "Your second factors were reset" in await management.letters()
    page = await ada.get("/security/activity")
    assert "Second factors reset" in page.text
    assert "The operator" in page.text


async def test_an_operator_ends_every_session_of_a_user_and_of_no_other(
    management: Management,
) -> None:
    ada, bob = await management.signed_up(), await management.signed_up("bob@example.com")
    await commands.run(management.world, "account.log-out", {"email": EMAIL})
    assert (await ada.get("/api/session")).status_code == 401
    assert (await bob.get("/api/session")).status_code == 200
