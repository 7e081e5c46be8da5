"""Codes, refunds and corrections over the management API and on the console's page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from latchgate.domain.people import CLI
from tests.support.management import (
    EMAIL,
    PASSWORD,
    Management,
    error_of,
    running_console,
    running_management,
)

pytestmark = pytest.mark.anyio
OPERATOR = "operator@example.com"
USD = 1_000_000_000


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API over a new data directory."""
    async with running_management(tmp_path) as running:
        yield running


async def operator_of(
    management: Management, url: str = "http://localhost:8000"
) -> httpx.AsyncClient:
    """A browser in which the operator has just logged in."""
    accounts = management.world.services.accounts
    await accounts.create(OPERATOR, PASSWORD, is_operator=True, credit_nanos=0, actor="cli")
    browser = management.browser("10.1.1.1")
    browser.base_url = httpx.URL(url)
    answer = await browser.post("/api/session", json={"email": OPERATOR, "password": PASSWORD})
    assert answer.status_code < 300, answer.text
    return browser


async def test_a_batch_is_made_by_the_operator_and_a_code_redeemed_by_an_owner(
    management: Management,
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    made = await operator.post(
        "/api/operator/codes",
        json={
            "amount_usd": "2.50",
            "codes": 3,
            "note": "Fair",
            "expires_at": "2030-01-01T00:00:00Z",
        },
    )
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    batch = made.json()
    assert (len(batch["secrets"]), batch["amount_usd"], batch["redeemed"]) == (3, "2.50", 0)
    assert batch["expires_at"] == "2030-01-01T00:00:00Z"
    redeemed = await ada.post("/api/billing/redemptions", json={"code": batch["secrets"][0]})
    assert redeemed.status_code == 201
    assert (redeemed.json()["kind"], redeemed.json()["amount_usd"]) == ("redemption", "2.50")
    again = await ada.post("/api/billing/redemptions", json={"code": batch["secrets"][0]})
    assert (again.status_code, error_of(again)["code"]) == (409, "code_used")
    assert error_of(again)["param"] == "code"
    billing = (await ada.get("/api/billing")).json()
    assert [row["kind"] for row in billing["data"]] == ["redemption", "gift"]
    assert billing["credit_usd"] == "7.50"
    listed = (await operator.get("/api/operator/codes")).json()["data"]
    assert [(row["id"], row["redeemed"]) for row in listed] == [(batch["id"], 1)]
    assert batch["secrets"][1] not in str(listed)
    withdrawn = await operator.post(f"/api/operator/codes/{batch['id']}/withdraw")
    assert withdrawn.json()["withdrawn_at"] is not None
    late = await ada.post("/api/billing/redemptions", json={"code": batch["secrets"][1]})
    assert (late.status_code, error_of(late)["code"]) == (409, "code_withdrawn")


async def test_refunds_and_corrections_are_postings_whose_reason_the_owner_reads(
    management: Management,
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    for kind, amount, take, reason in (
        ("refund", "1.25", False, "The model was down"),
        ("correction", "6.50", True, "Given twice"),
        ("correction", "0.25", False, "Counted wrongly"),
    ):
        asked = {"email": EMAIL, "kind": kind, "amount_usd": amount, "reason": reason}
        answer = await operator.post("/api/operator/postings", json={**asked, "take": take})
        assert answer.status_code == 201, answer.text
    billing = (await ada.get("/api/billing")).json()
    assert [(row["kind"], row["amount_usd"], row["note"]) for row in billing["data"]] == [
        ("correction", "0.25", "Counted wrongly"),
        ("correction", "-6.50", "Given twice"),
        ("refund", "1.25", "The model was down"),
        ("gift", "5.00", "Welcome"),
    ]
    assert billing["available_nanos"] == 0
    assert (await management.world.audit()).findings == ()


async def test_a_correction_may_leave_a_debt_which_the_audit_agrees_with(
    management: Management,
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    asked = {"email": EMAIL, "kind": "correction", "amount_usd": "7", "reason": "x", "take": True}
    assert (await operator.post("/api/operator/postings", json=asked)).status_code == 201
    assert (await ada.get("/api/billing")).json()["available_usd"] == "-2.00"
    assert (await ada.get("/api/limits")).json()["available_nanos"] == 0
    assert (await management.world.audit()).findings == ()


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"kind": "refund", "amount_usd": "1", "reason": ""}, "reason"),
        ({"kind": "refund", "amount_usd": "1", "reason": "  "}, "reason"),
        ({"kind": "correction", "amount_usd": "0", "reason": "x"}, "amount_usd"),
        ({"kind": "correction", "amount_usd": "-1", "reason": "x"}, "amount_usd"),
        ({"kind": "refund", "amount_usd": "1e3", "reason": "x"}, "amount_usd"),
        ({"kind": "refund", "amount_usd": "1", "reason": "a\nb"}, "reason"),
        ({"kind": "gift", "amount_usd": "1", "reason": "x"}, "kind"),
    ],
)
async def test_a_posting_that_cannot_be_is_refused_and_changes_nothing(
    management: Management, asked: dict[str, str], param: str
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    answer = await operator.post("/api/operator/postings", json={"email": EMAIL, **asked})
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)
    assert len((await ada.get("/api/billing")).json()["data"]) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/operator/codes"),
        ("GET", "/api/operator/codes"),
        ("POST", "/api/operator/codes/cbt_00000000000000000000000000/withdraw"),
        ("POST", "/api/operator/postings"),
    ],
)
async def test_only_an_operator_makes_money(management: Management, method: str, path: str) -> None:
    ada, stranger = await management.signed_up(), management.browser()
    body = {"amount_usd": "1", "codes": 1} if path.endswith("codes") else None
    if path.endswith("postings"):
        body = {"email": EMAIL, "kind": "top_up", "amount_usd": "1"}
    sent = {"json": body} if method == "POST" else {}
    refused = await ada.request(method, path, **sent)  # type: ignore[arg-type]
    assert (refused.status_code, error_of(refused)["code"]) == (403, "forbidden")
    unknown = await stranger.request(method, path, **sent)  # type: ignore[arg-type]
    assert (unknown.status_code, error_of(unknown)["code"]) == (401, "session_expired")


async def test_the_page_keeps_what_was_typed_and_says_what_is_wrong_beside_it(
    tmp_path: Path,
) -> None:
    async with running_console(tmp_path) as management:
        codes = management.world.services.redemption_codes
        (code,) = (await codes.create(3 * USD, 1, note="<b>Hi</b>", caller=CLI)).codes
        ada = await management.signed_up()
        refused = await ada.post("/billing/redeem", data={"code": 'x"><script>'})
        assert refused.status_code == 400
        assert 'value="x&#34;&gt;&lt;script&gt;"' in refused.text
        assert 'aria-invalid="true"' in refused.text
        moved = await ada.post("/billing/redeem", data={"code": code})
        assert moved.status_code == 303
        shown = await ada.get(moved.headers["location"])
        assert "$3.00 of credit is yours." in shown.text
        assert "Code redeemed" in shown.text
        assert "&lt;b&gt;Hi&lt;/b&gt;" in shown.text
        again = await ada.post("/billing/redeem", data={"code": code})
        assert again.status_code == 409
        assert "You have redeemed this code already" in again.text
        other = await management.signed_up("grace@example.com")
        assert "of credit is yours" not in (await other.get(moved.headers["location"])).text


async def test_every_posting_is_on_some_page(tmp_path: Path) -> None:
    async with running_console(tmp_path) as management:
        ada = await management.signed_up()
        account_id = (await ada.get("/api/session")).json()["account_id"]
        billing = management.world.services.billing
        for number in range(120):
            await billing.add_credit(account_id, USD, note=f"number {number};", caller=CLI)
        text, path = "", "/billing"
        for _ in range(3):
            shown = (await ada.get(path)).text
            text += shown
            path = shown.partition('href="/billing?before=')[2].partition('"')[0]
            path = f"/billing?before={path}"
        assert path == "/billing?before="
        assert all(text.count(f"number {number};") == 1 for number in range(120))
