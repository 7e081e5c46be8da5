"""A phone with an authenticator app, and time that passes."""

from __future__ import annotations

import re

import httpx
from sqlalchemy import text

from latchgate.clock import MINUTE_US, SECOND_US
from latchgate.services import totp
from tests.support.management import Management


class Phone:
    """What an app on a phone does with a secret that was typed into it."""

    def __init__(self, secret_text: str) -> None:
        self._secret = totp.read_secret(secret_text)

    def code(self, management: Management, *, steps: int = 0) -> str:
        """The code that it shows now, or did some steps of thirty seconds ago."""
        now_s = management.world.clock.now_us() // SECOND_US
        return totp.code_at(self._secret, now_s // totp.STEP_S + steps)


async def set_up(management: Management, browser: httpx.AsyncClient) -> tuple[Phone, list[str]]:
    """Switch codes from an app on, by the pages; the phone, and the recovery codes."""
    page = await browser.get("/security/second-factor")
    found = re.search(r'id="totp-secret">([A-Z2-7 ]+)<', page.text)
    assert found, page.text
    phone = Phone(found.group(1))
    done = await browser.post("/security/second-factor", data={"code": phone.code(management)})
    assert done.status_code == 200, done.text
    return phone, re.findall(r"<li><code>([0-9a-z-]+)</code>", done.text)


async def forget_used_steps(management: Management) -> None:
    """As if half a minute had passed: what the phone shows now was not used yet."""
    await management.world.store.write(
        lambda conn: conn.execute(text("UPDATE totp_factors SET used_step = 0"))
    )


async def let_pass(management: Management, minutes: int) -> None:
    """As if so many minutes had passed since everybody logged in."""
    sql = text(f"UPDATE sessions SET confirmed_us = confirmed_us - {minutes * MINUTE_US}")
    await management.world.store.write(lambda conn: conn.execute(sql))
