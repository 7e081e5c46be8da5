"""Every page that a browser can ask for, and an operator in whose account there is something."""

from __future__ import annotations

import string

import httpx
from fastapi.routing import APIRoute

from latchgate.clock import DAY_US
from latchgate.console import build_routers
from latchgate.domain.usage import Usage
from tests.api.test_management_codes import operator_of
from tests.support.management import Management
from tests.support.months import Call, back_date, charge

ROUTES = sorted(
    route.path
    for router in build_routers()
    for route in router.routes
    if isinstance(route, APIRoute) and "GET" in route.methods
)
#: Those that are no pages.
FILES = {"/statements/{statement_id}/csv", "/statements/{statement_id}/pdf"}
_LONG_AGO_US = 70 * DAY_US


async def operator_with_all(console: Management) -> tuple[httpx.AsyncClient, dict[str, str]]:
    """An operator's browser, over TLS, and what a page's address can be about in his account."""
    store = console.world.store
    browser = await operator_of(console, "https://localhost:8000")
    account_id = (await browser.get("/api/session")).json()["account_id"]
    began_us = console.world.clock.now_us() - _LONG_AGO_US
    await store.write(back_date, account_id, began_us)
    key = (await browser.post("/api/keys", json={"name": "Laptop"})).json()
    await charge(store, account_id, key["id"], [(began_us + 1, [Call("m", Usage(10, 0, 10))])])
    statements = (await browser.get("/api/billing/statements")).json()["data"]
    calls = (await browser.get("/api/usage?limit=1")).json()["data"]
    return browser, {
        "key_id": key["id"],
        "account_id": account_id,
        "statement_id": statements[0]["id"],
        "request_id": calls[0]["request_id"],
        "batch_id": "cbt_00000000000000000000000000",
        "passkey_id": "pky_00000000000000000000000000",
    }


def address_of(path: str, ids: dict[str, str]) -> str:
    """A route's address. A route about something new needs an id of it above."""
    names = {name for _, name, *_ in string.Formatter().parse(path) if name}
    return path.format(**{name: ids[name] for name in names})
