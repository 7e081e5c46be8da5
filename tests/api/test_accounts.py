"""Guards accounts over real HTTP: who gets in, who is told what, and which sessions end."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from argon2 import PasswordHasher

from latchgate.app import World, open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings, ServerSettings, SignupSettings
from latchgate.domain.people import CLI
from latchgate.server import Health, Server, _config
from latchgate.services.throttles import LOGIN_BY_EMAIL_AND_PLACE

pytestmark = pytest.mark.anyio
ADA, BOB = "ada@example.com", "bob@example.com"
PASSWORD, NEW_PASSWORD = "seven quiet violet llamas", "nine loud orange camels"
LOGIN = {"email": ADA, "password": PASSWORD}
WRONG = {"email": ADA, "password": "not her password"}
TRIES = LOGIN_BY_EMAIL_AND_PLACE.tries


class CountingHasher(PasswordHasher):
    """A real hasher, made cheap, which notes what it is asked to do."""

    done: list[str]

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.done.append("hash")
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
        self.done.append("verify")
        return super().verify(hash, password)


@dataclass
class Site:
    """A server on a real port, and as many browsers as a test wants."""

    world: World
    port: int
    hasher: CountingHasher
    browsers: list[httpx.AsyncClient] = field(default_factory=list)

    def browser(self, ip: str = "127.0.0.1") -> httpx.AsyncClient:
        """A browser with its own cookies, calling from an address of loopback."""
        transport = httpx.AsyncHTTPTransport(local_address=ip)
        url = f"http://localhost:{self.port}"
        client = httpx.AsyncClient(transport=transport, base_url=url, timeout=60)
        client.headers["sec-fetch-site"] = "same-origin"
        self.browsers.append(client)
        return client

    async def signed_up(self, email: str = ADA) -> httpx.AsyncClient:
        """A browser in which somebody has just signed up."""
        browser = self.browser()
        answer = await browser.post("/api/signup", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return browser

    async def work_of(self, path: str, body: dict[str, str]) -> tuple[httpx.Response, list[str]]:
        """What a stranger is answered, and what the hasher had to do for it."""
        before = len(self.hasher.done)
        answer = await self.browser().post(path, json=body)
        return answer, self.hasher.done[before:]

    async def mails(self) -> str:
        """Every mail that was sent so far, as one text."""
        await self.world.services.mail.flush()
        paths = sorted(self.world.data.outbox.glob("*.eml"))
        return "\n".join(path.read_text() for path in paths)


@asynccontextmanager
async def running_site(folder: Path, **sections: Any) -> AsyncIterator[Site]:
    """A server as ``latchgate serve`` builds it, in this process, without a model."""
    embedded = EmbeddedSettings(enabled=False)
    settings = Settings(data_dir=folder / "data", embedded=embedded, **sections)
    world = await open_world(settings, serving=True)
    world.passwords._hasher = hasher = CountingHasher(1, 1024, 1)
    hasher.done = []
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(_config(world, Health(is_ready=True)))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    site = Site(world, listener.getsockname()[1], hasher)
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield site
    finally:
        for browser in site.browsers:
            await browser.aclose()
        server.should_exit = True
        await serving
        await world.close()
        listener.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A server on a new data directory."""
    async with running_site(tmp_path) as running:
        yield running


def told(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """All that an answer says, but for its id, its time and the random parts of its cookies."""
    headers = [
        (name, re.sub(r"^([^=]+)=[^;]+", r"\1=", value) if name == "set-cookie" else value)
        for name, value in answer.headers.multi_items()
        if name not in {"x-request-id", "date"}
    ]
    return answer.status_code, headers, answer.content


async def is_logged_in(browser: httpx.AsyncClient) -> bool:
    """Whether a browser's session is open."""
    return (await browser.get("/api/session")).status_code == 200


async def test_a_used_email_signs_up_to_the_same_answer_for_the_same_work(site: Site) -> None:
    await site.signed_up(BOB)
    new, new_work = await site.work_of("/api/signup", LOGIN)
    used, used_work = await site.work_of("/api/signup", {**LOGIN, "password": NEW_PASSWORD})
    assert told(new) == told(used)
    assert sorted(new_work) == sorted(used_work) == ["hash", "verify"]
    assert (await site.mails()).count("You already have an account") == 1
    assert len(await site.world.services.accounts.list_all()) == 2


async def test_a_used_email_in_another_spelling_signs_up_to_what_was_typed(site: Site) -> None:
    await site.signed_up(ADA)
    used = await site.browser().post("/api/signup", json={**LOGIN, "email": "Ada@Example.com"})
    new = await site.browser().post("/api/signup", json={**LOGIN, "email": "Bob@Example.com"})
    assert new.json() == {"email": "Bob@example.com"}
    assert used.json() == {"email": "Ada@example.com"}, "the stored spelling tells that it is used"


async def test_a_used_email_is_not_told_by_a_missing_invitation(tmp_path: Path) -> None:
    async with running_site(tmp_path, signup=SignupSettings(mode="invite")) as site:
        accounts = site.world.services.accounts
        await accounts.create(ADA, PASSWORD, is_operator=False, credit_nanos=None, actor="cli")
        used = await site.browser().post("/api/signup", json={**LOGIN, "password": NEW_PASSWORD})
        new = await site.browser().post("/api/signup", json={**LOGIN, "email": BOB})
        assert told(used) == told(new)


async def test_wrong_password_and_unknown_email_get_equal_bytes_for_equal_work(site: Site) -> None:
    await site.signed_up()
    wrong, wrong_work = await site.work_of("/api/session", WRONG)
    unknown, unknown_work = await site.work_of("/api/session", {**WRONG, "email": BOB})
    assert told(wrong) == told(unknown)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_credentials")
    assert wrong_work == unknown_work == ["verify"]


async def test_the_first_login_after_a_start_is_equal_work_for_all(site: Site) -> None:
    accounts = site.world.services.accounts
    await accounts.create(ADA, PASSWORD, is_operator=False, credit_nanos=None, actor="cli")
    _, unknown_work = await site.work_of("/api/session", {**WRONG, "email": BOB})
    _, wrong_work = await site.work_of("/api/session", WRONG)
    assert unknown_work == wrong_work


async def test_one_try_too_many_waits_but_the_owners_device_gets_in(site: Site) -> None:
    owner = await site.signed_up()
    await owner.delete("/api/session")
    bob = await site.signed_up(BOB)
    stranger = site.browser()
    for _ in range(TRIES):
        assert (await stranger.post("/api/session", json=WRONG)).status_code == 401
    before = len(site.hasher.done)
    refused = await stranger.post("/api/session", json=LOGIN)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_attempts")
    assert len(site.hasher.done) == before, "a refused try costs no hash"
    assert (await bob.post("/api/session", json=LOGIN)).status_code == 429, "not her own device"
    assert (await owner.post("/api/session", json=LOGIN)).status_code == 200
    assert (await site.browser("127.0.0.2").post("/api/session", json=LOGIN)).status_code == 200


async def test_sign_ups_from_one_place_are_bounded_as_the_operator_says(tmp_path: Path) -> None:
    async with running_site(tmp_path, signup=SignupSettings(tries_per_hour=2)) as site:
        statuses = [
            (await site.browser().post("/api/signup", json={**LOGIN, "email": email})).status_code
            for email in (ADA, BOB, "eve@example.com")
        ]
        assert statuses == [200, 200, 429]
        elsewhere = site.browser("127.0.0.2")
        assert (await elsewhere.post("/api/signup", json=LOGIN)).status_code == 200


async def test_an_unknown_email_is_throttled_like_a_known_one(site: Site) -> None:
    await site.signed_up()
    answers = {}
    for email in (ADA, BOB):
        tried = [
            await site.browser().post("/api/session", json={**WRONG, "email": email})
            for _ in range(TRIES + 1)
        ]
        answers[email] = [(answer.status_code, answer.json()) for answer in tried]
    assert answers[ADA] == answers[BOB]
    assert answers[ADA][-1][0] == 429


async def test_guesses_of_the_current_password_are_throttled_too(site: Site) -> None:
    thief = await site.signed_up()
    guess = {"current": "not her password", "new": NEW_PASSWORD}
    answers = [await thief.put("/api/password", json=guess) for _ in range(TRIES + 1)]
    assert [answer.status_code for answer in answers] == [400] * TRIES + [429]


async def test_a_reset_link_works_once_and_ends_every_session(site: Site) -> None:
    here, there = await site.signed_up(), site.browser()
    await there.post("/api/session", json=LOGIN)
    for _ in range(2):
        await site.browser().post("/api/password-resets", json={"email": ADA})
    first, second = re.findall(r"/reset\?token=(\S+)", await site.mails())
    weak = await here.post("/api/password-resets/redeem", json={"token": first, "password": "abc"})
    assert weak.json()["error"]["code"] == "weak_password"
    assert await is_logged_in(here), "a weak password does not use the link up"
    redeem = {"token": first, "password": NEW_PASSWORD}
    done = await site.browser().post("/api/password-resets/redeem", json=redeem)
    assert (done.status_code, "set-cookie" in done.headers) == (204, False)
    assert [await is_logged_in(browser) for browser in (here, there)] == [False, False]
    for token in (first, second):
        again = await here.post("/api/password-resets/redeem", json={**redeem, "token": token})
        assert again.json()["error"]["code"] == "invalid_reset_token"
    assert (await here.post("/api/session", json=LOGIN)).status_code == 401
    assert (await here.post("/api/session", json=LOGIN | {"password": NEW_PASSWORD})).is_success


async def test_a_new_password_asks_for_the_current_and_ends_other_sessions(site: Site) -> None:
    here, there = await site.signed_up(), site.browser()
    await there.post("/api/session", json=LOGIN)
    guess = {"current": "not her password", "new": NEW_PASSWORD}
    refused = await there.put("/api/password", json=guess)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "current")
    assert [await is_logged_in(browser) for browser in (here, there)] == [True, True]
    asked = {"current": PASSWORD, "new": NEW_PASSWORD}
    assert (await site.browser().put("/api/password", json=asked)).status_code == 401
    assert (await here.put("/api/password", json=asked)).status_code == 204
    assert [await is_logged_in(browser) for browser in (here, there)] == [True, False]
    assert (await there.post("/api/session", json=LOGIN)).status_code == 401


async def test_logging_out_everywhere_ends_copies_too(site: Site) -> None:
    here, there, thief = await site.signed_up(), site.browser(), site.browser()
    await there.post("/api/session", json=LOGIN)
    thief.cookies.update(here.cookies)
    assert await is_logged_in(thief)
    assert (await there.delete("/api/sessions")).status_code == 204
    assert [await is_logged_in(browser) for browser in (here, there, thief)] == [False] * 3
    assert "latchgate" not in there.cookies


async def test_a_login_takes_over_no_session_that_was_planted(site: Site) -> None:
    victim = await site.signed_up()
    for planted in ("p" * 43, victim.cookies["latchgate"]):
        headers = {"cookie": f"latchgate={planted}"}
        answer = await site.browser().post("/api/session", json=LOGIN, headers=headers)
        assert answer.cookies["latchgate"] not in {planted, victim.cookies["latchgate"]}
    fixed = await site.browser().get("/api/session", headers={"cookie": f"latchgate={'p' * 43}"})
    assert fixed.status_code == 401


async def test_a_suspended_accounts_keys_are_refused_and_its_owner_sees_why(site: Site) -> None:
    ada = await site.signed_up()
    key = (await ada.post("/api/keys", json={"name": "laptop"})).json()
    caller = site.browser()
    caller.headers["authorization"] = f"Bearer {key['secret']}"
    assert (await caller.get("/v1/models")).status_code == 200
    await site.world.services.accounts.suspend(ADA, CLI)
    refused = await caller.get("/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "account_suspended")
    assert (await ada.get("/api/session")).json()["account_state"] == "suspended"
    login = await site.browser().post("/api/session", json=LOGIN)
    assert (login.status_code, login.json()["account_state"]) == (200, "suspended")
    assert "This account is suspended" in (await ada.get("/home")).text
    await site.world.services.accounts.resume(ADA, CLI)
    assert (await caller.get("/v1/models")).status_code == 200


@pytest.mark.parametrize("is_behind_tls", [False, True], ids=["plain", "behind TLS"])
async def test_cookies_are_for_this_host_and_not_for_scripts(
    tmp_path: Path, *, is_behind_tls: bool
) -> None:
    server = ServerSettings(trusted_proxies=("127.0.0.1",))
    async with running_site(tmp_path, server=server) as site:
        browser = site.browser()
        if is_behind_tls:
            browser.headers["x-forwarded-proto"] = "https"
        answer = await browser.post("/api/signup", json=LOGIN)
        prefix, secure = ("__Host-", {"secure"}) if is_behind_tls else ("", set())
        names = set()
        for cookie in answer.headers.get_list("set-cookie"):
            pair, *flags = cookie.lower().split("; ")
            names.add(pair.partition("=")[0])
            kept = {flag for flag in flags if not flag.startswith(("max-age=", "expires="))}
            assert kept == {"httponly", "path=/", "samesite=lax"} | secure
        assert names == {f"{prefix}latchgate".lower(), f"{prefix}latchgate-device".lower()}
