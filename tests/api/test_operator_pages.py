"""Every page of the operator's is an address that nobody has, to whoever is no operator."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import Connection, text

from latchgate.console import build_routers
from latchgate.storage.tables import metadata
from tests.api.test_management_codes import operator_of
from tests.support.management import Management, running_console

pytestmark = pytest.mark.anyio
ROUTES = sorted(
    (method, route.path)
    for router in build_routers()
    for route in router.routes
    if isinstance(route, APIRoute) and route.path.startswith("/operator")
    for method in route.methods
)
#: Written at any request of a session: that is not what a page changes.
_SEEN = {"sessions"}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """A console with its pages."""
    async with running_console(tmp_path) as running:
        yield running


def _everything(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {
        name: [tuple(row) for row in conn.execute(text(f"SELECT * FROM {name}"))]
        for name in sorted(metadata.tables.keys() - _SEEN)
    }


async def _address(management: Management, path: str) -> str:
    """A route's address over what there really is."""
    (account, *_), _ = await management.world.services.operator_accounts.list_page()
    names = {
        "account_id": account.account_id,
        "batch_id": "cbt_00000000000000000000000000",
        "key_id": "adm_00000000000000000000000000",
        "name": "lab" if "upstream" in path else "m",
    }
    return path.format(**names)


async def test_a_plain_account_finds_nothing_there_and_changes_nothing(
    management: Management,
) -> None:
    ada = await management.signed_up()
    before = await management.world.store.read(_everything)
    unknown = await ada.get("/operator-of-nothing")
    for method, path in ROUTES:
        answer = await ada.request(method, await _address(management, path), data={"a": "b"})
        assert answer.status_code == unknown.status_code == 404, path
        assert "There is nothing at this address." in answer.text
        assert _same(answer.text) == _same(unknown.text), path
    assert await management.world.store.read(_everything) == before


async def test_a_stranger_is_led_to_the_login_and_changes_nothing(management: Management) -> None:
    await management.signed_up()
    before = await management.world.store.read(_everything)
    browser = management.browser()
    for method, path in ROUTES:
        answer = await browser.request(method, await _address(management, path), data={"a": "b"})
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/login")
    assert await management.world.store.read(_everything) == before


def _same(page: str) -> str:
    """A page without its request's id."""
    return re.sub(r"req_\w+", "", page)


async def test_the_sidebar_shows_them_to_operators_alone(management: Management) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    assert "/operator/" not in (await ada.get("/home")).text
    assert "/operator/accounts" in (await operator.get("/home")).text
