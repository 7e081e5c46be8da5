"""Guards mails about a key: each new app and address once, few a day, off every call's path."""

from __future__ import annotations

import email
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.policy import SMTP
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from latchgate.clock import DAY_US
from latchgate.config.settings import MailSettings
from latchgate.services import key_notices
from latchgate.services.key_notices import KeyNotices, place_of, plain
from latchgate.services.mail import Mail
from latchgate.services.notices import Notices
from latchgate.storage import accounts, key_sightings
from tests.gateway.test_key_terms import SetClock
from tests.support.gateway import ACCOUNT, CALLER, Gateway, running_gateway

pytestmark = pytest.mark.anyio
EACH_ENGINE = pytest.mark.usefixtures("either_engine")


class Watched:
    """A gateway whose owner gets mail."""

    def __init__(self, gateway: Gateway, clock: SetClock, folder: Path) -> None:
        self.gateway = gateway
        self.clock = clock
        self._outbox = folder / "outbox"
        self.begin()

    def begin(self) -> None:
        """Look at calls from now on, and know nothing of those before but what the rows say."""
        self.mail = Mail(MailSettings(), self._outbox, self.clock)
        url = "http://localhost:8000"
        notices = Notices(self.mail, self.clock, url)
        self.notices = KeyNotices(self.gateway.store, self.clock, self.mail, notices, url)
        self.gateway.engine.drain.on_posted[:] = [self.notices.note]

    async def call(self, app: str = "Desk", ip: str = "127.0.0.1") -> None:
        """One call of an app, by way of a proxy of ours."""
        reply = await self.gateway.chat(headers={"x-title": app, "x-forwarded-for": ip})
        assert reply.status == 200

    async def letters(self) -> list[str]:
        """The mails that are new since it was asked last, oldest first."""
        await self.gateway.engine.drain.flush()
        await self.notices.flush()
        await self.mail.flush()
        found = []
        for path in sorted(self._outbox.glob("*.eml")):
            letter = email.message_from_bytes(path.read_bytes(), policy=SMTP)
            assert letter["to"] == "ada@example.com"
            found.append(f"{letter['subject']}\n{letter.get_content()}")
            path.unlink()
        return found


def _give_it_an_owner(conn: Connection) -> None:
    accounts.insert_user(
        conn,
        id="usr_ada",
        email="ada@example.com",
        email_key="ada@example.com",
        password_hash="x",
        is_operator=0,
        created_us=1,
        password_changed_us=1,
    )
    accounts.insert_membership(conn, user_id="usr_ada", account_id=ACCOUNT, role="owner")


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watched]:
    """A gateway with one account and its owner, behind a proxy that is trusted."""
    clock = SetClock()
    proxies = frozenset({"127.0.0.1"})
    async with running_gateway(folder, clock=clock, trusted_proxies=proxies) as gateway:
        await gateway.store.write(_give_it_an_owner)
        world = Watched(gateway, clock, folder)
        yield world
        gateway.engine.drain.on_posted.clear()
        await world.notices.flush()
        await world.mail.close()


@EACH_ENGINE
async def test_a_new_app_and_a_new_address_are_told_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        for _ in range(3):
            await world.call()
        (first,) = await world.letters()
        assert "used by a new app and a new address" in first
        assert "App, as it says of itself: Desk" in first
        assert "Network address: 127.0.0.1" in first
        assert re.search(
            r"revoke the key and create a fresh\s+one: http://\S+/api-keys/key_", first
        )
        assert world.gateway.secret not in first
        await world.call("Letters")
        (second,) = await world.letters()
        assert "used by a new app:" in second
        assert "Network address" not in second
        await world.call("Desk", "192.0.2.7")
        (third,) = await world.letters()
        assert "used by a new address:" in third
        assert "192.0.2.7" in third
        world.begin()  # as after a restart
        await world.call("Letters", "192.0.2.7")
        await world.call("Desk")
        assert await world.letters() == []


async def test_a_fresh_key_used_as_the_one_before_is_no_news(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.call()
        await world.letters()
        fresh = await world.gateway.api_keys.create(
            ACCOUNT, "new", caller=CALLER, replace=True, at_once=True
        )
        world.gateway.secret = fresh.secret
        await world.call()
        assert await world.letters() == []


@EACH_ENGINE
async def test_there_are_three_mails_a_day_and_the_rest_waits_for_the_next(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as world:
        sent = 0
        for number in range(6):
            await world.call(f"App {number}")
            sent += len(await world.letters())
            world.clock.at_us += 1
        assert sent == key_notices.MAILS_PER_DAY_MAX == 3
        world.clock.at_us += DAY_US
        await world.call("The last one")
        (letter,) = await world.letters()
        for name in ("App 3", "App 4", "App 5", "The last one"):
            assert f"itself: {name}\n" in letter
        assert "App 2" not in letter


@EACH_ENGINE
async def test_what_is_switched_off_is_not_told_then_or_later(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.notices.switch(ACCOUNT, "new_app", is_on=False, caller=CALLER)
        assert await world.notices.switches(ACCOUNT) == {"new_app": False, "new_address": True}
        await world.call()
        (letter,) = await world.letters()
        assert "used by a new address:" in letter
        await world.notices.switch(ACCOUNT, "new_address", is_on=False, caller=CALLER)
        await world.call("Letters", "192.0.2.7")
        assert await world.letters() == []
        for what in ("new_app", "new_address"):
            await world.notices.switch(ACCOUNT, what, is_on=True, caller=CALLER)
        await world.call("Desk", "192.0.2.7")
        assert await world.letters() == []
        await world.call("Third")
        assert len(await world.letters()) == 1


async def test_an_app_that_calls_itself_anew_each_time_fills_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_notices, "SIGHTINGS_KEPT_MAX", 5)
    monkeypatch.setattr(key_notices, "KNOWN_MAX", 3)
    async with watched(tmp_path) as world:
        mails = 0
        for number in range(12):
            await world.call(f"App {number}")
            world.clock.at_us += 1
            mails += len(await world.letters())
        kept = await world.gateway.store.read(key_sightings.list_sightings, ACCOUNT)
        apps = [row.value for row in kept if row.kind == "app"]
        assert apps == [f"App {number}" for number in range(7, 12)]
        assert mails == 3
        assert len(world.notices._known) <= 5


async def test_a_database_that_is_gone_delays_the_mail_and_loses_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as world:
        await world.gateway.store.write(
            lambda conn: conn.execute(text("ALTER TABLE key_sightings RENAME TO gone"))
        )
        await world.call()
        assert await world.letters() == []
        await world.gateway.store.write(
            lambda conn: conn.execute(text("ALTER TABLE gone RENAME TO key_sightings"))
        )
        await world.call()
        assert len(await world.letters()) == 1
        assert len(await world.gateway.events()) == 2
        assert (await world.gateway.audit()).findings == ()


@pytest.mark.parametrize(
    ("ip", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("garbage", ""),
        ("", ""),
    ],
)
def test_an_ipv6_device_that_changes_its_second_half_is_one_place(ip: str, place: str) -> None:
    assert place_of(ip) == place


def test_no_app_puts_a_link_into_a_mail() -> None:
    assert plain("Log in: https://evil.example/x?a=b") == "Log in· https···evil·example·x·a·b"
    assert plain("Bücher-Wurm 2") == "Bücher-Wurm 2"
