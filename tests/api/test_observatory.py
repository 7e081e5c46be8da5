"""Every page earns at least 120 points by the checks of Mozilla's HTTP Observatory, behind TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http.cookiejar import Cookie
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, text

from latchgate.storage.tables import metadata
from tests.support.management import Management, running_console
from tests.support.observatory import points, score
from tests.support.routes import FILES, ROUTES, address_of, operator_with_all

pytestmark = pytest.mark.anyio
ENOUGH = 120
OTHERS = ("/nowhere", "/operator/nowhere")


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Management]:
    """The console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


def _cookies(browser: httpx.AsyncClient) -> list[Cookie]:
    return list(browser.cookies.jar)


async def test_every_page_is_worth_120_points_to_whoever_opens_it(console: Management) -> None:
    operator, ids = await operator_with_all(console)
    stranger = console.browser()
    stranger.base_url = operator.base_url
    for path in (*ROUTES, *OTHERS):
        address = address_of(path, ids)
        for browser in (operator, stranger):
            answer = await browser.get(
                address, headers={"origin": "https://elsewhere.example"}, follow_redirects=True
            )
            is_page = answer.headers["content-type"] == "text/html; charset=utf-8"
            assert is_page or (path in FILES and browser is operator), path
            found = points(answer, _cookies(browser))
            assert score(found) >= ENOUGH, (path, found)


async def test_every_cookie_a_login_leaves_is_bound_to_host_script_and_site(
    console: Management,
) -> None:
    operator, _ = await operator_with_all(console)
    assert {cookie.name for cookie in _cookies(operator)} == {
        "__Host-latchgate",
        "__Host-latchgate-device",
    }
    found = points(await operator.get("/home"), _cookies(operator))
    assert found["cookies"] == 5


@pytest.mark.parametrize(
    ("name", "value", "check", "gives"),
    [
        ("content-security-policy", None, "content-security-policy", -25),
        ("content-security-policy", "default-src 'self'", "content-security-policy", 5),
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self' 'unsafe-inline'",
            "content-security-policy",
            -20,
        ),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'",
            "content-security-policy",
            0,
        ),
        ("content-security-policy", "default-src 'none'", "x-frame-options", 0),
        ("strict-transport-security", None, "strict-transport-security", -20),
        ("strict-transport-security", "max-age=600", "strict-transport-security", -10),
        ("referrer-policy", "unsafe-url", "referrer-policy", -5),
        ("x-content-type-options", None, "x-content-type-options", -5),
        ("cross-origin-resource-policy", "cross-origin", "cross-origin-resource-policy", 0),
        (
            "access-control-allow-credentials",
            "true",
            "cross-origin-resource-sharing",
            -50,
        ),
    ],
)
async def test_a_weaker_header_would_be_noticed(
    console: Management, name: str, value: str | None, check: str, gives: int
) -> None:
    browser = console.browser()
    browser.base_url = httpx.URL("https://localhost:8000")
    answer = await browser.get("/", headers={"origin": "https://elsewhere.example"})
    assert points(answer)[check] >= max(gives, 0)
    if name == "access-control-allow-credentials":
        answer.headers["access-control-allow-origin"] = "https://elsewhere.example"
    if value is None:
        del answer.headers[name]
    else:
        answer.headers[name] = value
    assert points(answer)[check] == gives


async def test_looking_at_pages_changes_nothing(console: Management) -> None:
    """What changes something is a form that is sent; a link, or a picture's address, does not."""
    operator, ids = await operator_with_all(console)
    await console.world.services.mail.flush()
    before = await console.world.store.read(_everything)
    for path in ROUTES:
        assert (await operator.get(address_of(path, ids))).status_code < 500, path
    assert await console.world.store.read(_everything) == before


#: Tickets, and the secret of a second factor that is not switched on by being shown.
_FOR_LOOKING = {"sessions", "tickets", "totp_factors"}


def _everything(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    """All rows but what a form is opened with, and when a session was last seen."""
    return {
        name: [tuple(row) for row in conn.execute(text(f"SELECT * FROM {name}"))]
        for name in sorted(metadata.tables.keys() - _FOR_LOOKING)
    }
