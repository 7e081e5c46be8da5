"""Guards a key's page and the forms of its terms, without a browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.test_fresh_logins import confirmed
from tests.support.factors import let_pass
from tests.support.management import Management, running_console

pytestmark = pytest.mark.anyio
OPEN = {"expires_at": "", "scope": "all", "models": "", "addresses": ""}
BOUND = {
    "expires_at": "2030-01-31",
    "scope": "inference",
    "models": "m",
    "addresses": "192.0.2.7\r\n2001:db8::/32",
}


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Management]:
    """The console over a new data directory."""
    async with running_console(tmp_path) as running:
        yield running


async def key_of(browser: httpx.AsyncClient) -> dict[str, Any]:
    """The account's newest usable key, as the API says it."""
    keys: list[dict[str, Any]] = (await browser.get("/api/keys")).json()["data"]
    return keys[0]


def typed(page: httpx.Response, name: str) -> str:
    """What a field of the page holds."""
    found = re.search(rf'name="{name}"[^>]*value="([^"]*)"', page.text)
    lines = re.search(rf'<textarea id="{name}"[^>]*>\n(.*?)</textarea>', page.text, re.DOTALL)
    match = found or lines
    assert match, page.text
    return unescape(match.group(1))


async def test_terms_are_set_on_the_keys_page_and_shown_as_they_are(console: Management) -> None:
    ada = await console.signed_up()
    key = (await ada.post("/api/keys", json={"name": "Letter desk"})).json()
    page = f"/api-keys/{key['id']}"
    assert "Never" in (await ada.get(page)).text
    saved = await ada.post(f"{page}/terms", data=BOUND)
    assert (saved.status_code, saved.headers["location"]) == (303, f"{page}?notice=terms")
    shown = await ada.get(saved.headers["location"])
    assert "Saved. It binds the key’s next call." in shown.text
    assert typed(shown, "expires_at") == "2030-01-31"
    assert typed(shown, "models") == "m"
    assert typed(shown, "addresses") == "192.0.2.7\n2001:db8::/32"
    assert 'value="inference" checked' in shown.text
    bound = await key_of(ada)
    assert (bound["expires_at"], bound["scope"]) == ("2030-02-01T00:00:00Z", "inference")
    assert (bound["models"], bound["addresses"]) == (["m"], ["192.0.2.7", "2001:db8::/32"])
    activity = (await ada.get("/security")).text
    assert "Terms of the key changed: Letter desk" in activity
    await ada.post(f"{page}/terms", data=OPEN)
    freed = await key_of(ada)
    assert (freed["expires_at"], freed["scope"], freed["models"]) == (None, "all", [])


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("expires_at", "tomorrow", "such as 2027-01-31"),
        ("expires_at", "2020-01-01", "must be one to come"),
        ("models", "m\nno-such", "no model &#39;no-such&#39;"),
        ("addresses", "10.0.0.1/8", "Write 10.0.0.0/8"),
        ("addresses", "<script>", "&lt;script&gt; is no address"),
        ("scope", "admin", "scope is one of"),
    ],
)
async def test_a_mistake_is_said_beside_its_field_and_nothing_typed_is_lost(
    console: Management, field: str, text: str, says: str
) -> None:
    ada = await console.signed_up()
    key = (await ada.post("/api/keys", json={})).json()
    form = {**BOUND, field: text}
    for path, more in (
        (f"/api-keys/{key['id']}/terms", {}),
        ("/api-keys", {"name": "New", "nonce": "n", "replace": "1"}),
    ):
        page = await ada.post(path, data=form | more)
        assert page.status_code == 400
        assert says in page.text
        if field != "scope":
            assert f'id="{field}-about">' in page.text
            assert 'aria-invalid="true"' in page.text
        for name in ("expires_at", "models", "addresses"):
            assert typed(page, name) == form[name]
        assert "<script>" not in page.text.replace("<script type", "")
    assert len((await ada.get("/api/keys")).json()["data"]) == 1
    assert (await key_of(ada))["scope"] == "all"


async def test_loosening_asks_who_he_is_and_then_goes_on_and_tightening_does_not(
    console: Management,
) -> None:
    ada = await console.signed_up()
    key = (await ada.post("/api/keys", json={})).json()
    path = f"/api-keys/{key['id']}/terms"
    await let_pass(console, 16)
    assert (await ada.post(path, data=BOUND)).status_code == 303
    asked = await ada.post(path, data=OPEN | {"models": "m\r\n"})
    assert (await key_of(ada))["scope"] == "inference"
    done = await confirmed(ada, asked)
    assert done.status_code == 200
    assert "Saved. It binds" in done.text
    freed = await key_of(ada)
    assert (freed["scope"], freed["models"], freed["addresses"]) == ("all", ["m"], [])


async def test_a_key_is_made_with_terms_and_its_successors_form_has_them(
    console: Management,
) -> None:
    ada = await console.signed_up()
    form = await ada.get("/api-keys/new")
    assert "<details" in form.text
    assert "open><summary>Terms" not in form.text
    made = await ada.post("/api-keys", data={"name": "Mine", "nonce": "n1", **BOUND})
    assert "Save your key now" in made.text
    assert (await key_of(ada))["addresses"] == ["192.0.2.7", "2001:db8::/32"]
    form = await ada.get("/api-keys/new")
    assert "open><summary>Terms" in form.text
    assert typed(form, "addresses") == "192.0.2.7\n2001:db8::/32"
    assert typed(form, "expires_at") == "", "the date was the other key's"
    await ada.post("/api-keys", data={"name": "Heir", "nonce": "n2", "replace": "1"})
    heir = (await ada.get("/api/keys")).json()["data"][0]
    assert (heir["name"], heir["scope"], heir["expires_at"]) == ("Heir", "inference", None)


async def test_an_ended_keys_page_has_no_forms_and_another_accounts_none(
    console: Management,
) -> None:
    ada = await console.signed_up()
    bob = await console.signed_up("bob@example.com")
    key = (await ada.post("/api/keys", json={"name": "Mine", "models": ["m"]})).json()
    page = f"/api-keys/{key['id']}"
    for path in (page, f"{page}/revoke"):
        assert (await bob.get(path)).status_code == 404
    assert (await bob.post(f"{page}/terms", data=OPEN)).status_code == 404
    listed = await ada.get("/api-keys")
    assert f'href="{page}"' in listed.text
    await ada.post(f"{page}/revoke")
    ended = await ada.get(page)
    assert ended.status_code == 200
    assert "This key has ended" in ended.text
    assert f'action="{page}' not in ended.text
    assert "<code>m</code>" in ended.text
    assert (await ada.post(f"{page}/terms", data=OPEN)).status_code == 404
    assert (await ada.get(f"{page}/revoke")).status_code == 404


async def test_an_expired_key_is_shown_as_that(console: Management) -> None:
    ada = await console.signed_up()
    key = (await ada.post("/api/keys", json={"name": "Mine"})).json()
    await ada.post(f"/api-keys/{key['id']}/terms", data=OPEN | {"expires_at": "2030-01-31"})
    await console.world.store.write(
        lambda conn: conn.exec_driver_sql("UPDATE api_keys SET expires_us = created_us + 1")
    )
    for path in ("/api-keys", f"/api-keys/{key['id']}"):
        page = (await ada.get(path)).text
        assert '<span class="tag">Expired</span>' in page
        assert "Revoke key" not in page
    assert "You have no key at the moment" in (await ada.get("/api-keys")).text
    assert (await key_of(ada))["state"] == "expired"
    assert (await ada.post("/api/keys", json={"name": "Next"})).status_code == 201
