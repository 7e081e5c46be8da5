"""Guards a key's terms at the management API: set, changed, and loosened only by who he is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from latchgate.services.audit_log import AuditLog
from tests.support.factors import let_pass
from tests.support.management import PASSWORD, Management, error_of, running_management

pytestmark = pytest.mark.anyio
FACTS = ("expires_at", "scope", "models", "addresses")
BOUND: dict[str, Any] = {
    "expires_at": "2030-01-31",
    "scope": "inference",
    "models": ["m"],
    "addresses": ["192.0.2.0/24"],
}
LOOSER: list[dict[str, Any]] = [
    {"expires_at": ""},
    {"expires_at": "2031-01-01"},
    {"scope": "all"},
    {"scope": "read_only"},
    {"models": []},
    {"addresses": []},
    {"addresses": ["192.0.2.7", "198.51.100.7"]},
    {"addresses": ["192.0.0.0/16"]},
]
TIGHTER: list[dict[str, Any]] = [
    {"expires_at": "2029-01-31"},
    {"addresses": ["192.0.2.7", "192.0.2.128/25"]},
    {},
    BOUND,
]


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API over a new data directory."""
    async with running_management(tmp_path) as running:
        yield running


async def test_a_key_is_made_with_terms_and_shows_them(management: Management) -> None:
    ada = await management.signed_up()
    made = await ada.post("/api/keys", json={"name": "mine", **BOUND})
    assert made.status_code == 201, made.text
    expected = {**BOUND, "expires_at": "2030-02-01T00:00:00Z"}
    (listed,) = (await ada.get("/api/keys")).json()["data"]
    for shown in (made.json(), listed):
        assert {name: shown[name] for name in FACTS} == expected
    heir = (await ada.post("/api/keys", json={"replace": True})).json()
    assert {name: heir[name] for name in FACTS} == {**expected, "expires_at": None}
    free = (await ada.post("/api/keys", json={"replace": True, "scope": "all"})).json()
    assert [free[name] for name in FACTS] == [None, "all", [], []]


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires_at": "tomorrow"},
        {"expires_at": "2020-01-01"},
        {"expires_at": "2999-01-01"},
        {"scope": "admin"},
        {"models": ["no-such"]},
        {"models": "m"},
        {"models": [f"m{n}" for n in range(65)]},
        {"addresses": ["10.0.0.1/8"]},
        {"addresses": ["example.com"]},
        {"addresses": [f"10.0.0.{n}" for n in range(33)]},
        {"scopes": ["all"]},
    ],
)
async def test_wrong_terms_are_refused_by_name_and_change_nothing(
    management: Management, wrong: dict[str, Any]
) -> None:
    """Row 105."""
    ada = await management.signed_up()
    key = (await ada.post("/api/keys", json={})).json()
    for refused in (
        await ada.post("/api/keys", json={"replace": True, **wrong}),
        await ada.patch(f"/api/keys/{key['id']}", json=wrong),
    ):
        assert refused.status_code == 400, refused.text
        assert (error_of(refused)["param"] or "").startswith(next(iter(wrong)))
    (listed,) = (await ada.get("/api/keys")).json()["data"]
    assert [listed[name] for name in FACTS] == [None, "all", [], []]


@pytest.mark.parametrize("asked", LOOSER)
async def test_an_older_login_loosens_no_term(
    management: Management, asked: dict[str, Any]
) -> None:
    ada = await management.signed_up()
    key = (await ada.post("/api/keys", json=BOUND)).json()
    await let_pass(management, 16)
    refused = await ada.patch(f"/api/keys/{key['id']}", json=asked)
    assert (refused.status_code, error_of(refused)["code"]) == (403, "reauthentication_required")
    (listed,) = (await ada.get("/api/keys")).json()["data"]
    assert {name: listed[name] for name in FACTS} == {name: key[name] for name in FACTS}
    await ada.put("/api/session/confirmation", json={"password": PASSWORD})
    assert (await ada.patch(f"/api/keys/{key['id']}", json=asked)).status_code == 200


@pytest.mark.parametrize("asked", TIGHTER)
async def test_an_older_login_may_tighten_them(
    management: Management, asked: dict[str, Any]
) -> None:
    ada = await management.signed_up()
    key = (await ada.post("/api/keys", json=BOUND)).json()
    await let_pass(management, 16)
    changed = await ada.patch(f"/api/keys/{key['id']}", json=asked)
    assert changed.status_code == 200, changed.text
    for name in ("scope", "models", "addresses"):
        assert changed.json()[name] == asked.get(name, BOUND[name])


async def test_each_change_is_in_the_audit_log_with_what_was_before(
    management: Management,
) -> None:
    ada = await management.signed_up()
    key = (await ada.post("/api/keys", json={"name": "mine"})).json()
    for _ in range(2):  # the second changes nothing, and says nothing
        await ada.patch(f"/api/keys/{key['id']}", json={"models": ["m"]})
    account_id = (await ada.get("/api/session")).json()["account_id"]
    events = await AuditLog(management.world.store).list_recent(account_id)
    (told,) = [event for event in events if event.action == "key.terms"]
    assert told.details == {
        "name": "mine",
        "scope": "all",
        "models": ["m"],
        "before": {"scope": "all"},
    }


async def test_nobody_changes_another_accounts_key_or_one_that_has_ended(
    management: Management,
) -> None:
    ada = await management.signed_up()
    bob = await management.signed_up("bob@example.com")
    key = (await ada.post("/api/keys", json={})).json()
    for browser, key_id in ((bob, key["id"]), (ada, "key_none")):
        refused = await browser.patch(f"/api/keys/{key_id}", json={"scope": "inference"})
        assert (refused.status_code, error_of(refused)["code"]) == (404, "not_found")
    await ada.delete(f"/api/keys/{key['id']}")
    refused = await ada.patch(f"/api/keys/{key['id']}", json={"scope": "inference"})
    assert refused.status_code == 404
