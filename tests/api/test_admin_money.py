"""Money over the admin API: exact, paged, and posted once however often it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from latchgate.clock import DAY_US
from latchgate.http.admin import ADMIN_PREFIX
from tests.support.admin import program
from tests.support.management import EMAIL, Management, error_of, running_management

pytestmark = pytest.mark.anyio
GIFT, USD = 5_000_000_000, 1_000_000_000


@pytest.fixture
async def management(tmp_path: Path, database_url: str) -> AsyncIterator[Management]:
    """The API on either engine."""
    async with running_management(tmp_path, database_url=database_url) as running:
        yield running


async def _ada(management: Management) -> str:
    await management.signed_up()
    account_id = (await management.world.services.accounts.get(EMAIL)).account_id
    return f"{ADMIN_PREFIX}/accounts/{account_id}"


def _once(name: str) -> dict[str, str]:
    return {"idempotency-key": name}


async def _post(
    client: httpx.AsyncClient, path: str, name: str, **asked: str
) -> tuple[int, dict[str, Any]]:
    answer = await client.post(path, json=asked, headers=_once(name))
    return answer.status_code, answer.json()


async def test_the_same_idempotency_key_posts_once_and_answers_the_same(
    management: Management,
) -> None:
    ada, client = await _ada(management), await program(management, "read", "money")
    gave = {"amount_usd": "2.000000001", "note": "Fair"}
    first = await _post(client, f"{ada}/credit", "order 1", **gave)
    again = await _post(client, f"{ada}/credit", "order 1", **gave)
    assert first == again
    assert first[0] == 201
    assert first[1]["credit_nanos"] == GIFT + 2 * USD + 1
    assert first[1]["posting"]["amount_usd"] == "2.000000001"
    racing = [_post(client, f"{ada}/credit", "order 2", amount_usd="1.00") for _ in range(5)]
    ids = {answer["posting"]["id"] for _, answer in await asyncio.gather(*racing)}
    assert len(ids) == 1
    for path, asked in (("refunds", {"amount_usd": "0.50"}), ("corrections", {"take_usd": "0.25"})):
        posted = [
            await _post(client, f"{ada}/{path}", path, reason="Slow", **asked) for _ in range(2)
        ]
        assert posted[0] == posted[1]
    postings = (await client.get(f"{ada}/postings")).json()["data"]
    assert [row["amount_usd"] for row in postings] == [
        *("-0.25", "0.50", "1.00", "2.000000001", "5.00")
    ]
    events = (await client.get(f"{ada}/events")).json()["data"]
    written = [event["action"] for event in events if event["action"].startswith("credit.")]
    assert written == ["credit.correct", "credit.refund", "credit.add", "credit.add"]
    assert (await client.get(f"{ADMIN_PREFIX}/audit")).json()["agrees"]


async def test_an_idempotency_key_that_is_used_for_something_else_is_refused(
    management: Management,
) -> None:
    ada, client = await _ada(management), await program(management, "money")
    assert (await _post(client, f"{ada}/credit", "k", amount_usd="1.00"))[0] == 201
    other = [
        await _post(client, f"{ada}/credit", "k", amount_usd="1.01"),
        await _post(client, f"{ada}/credit", "k", amount_usd="1.00", note="Else"),
        await _post(client, f"{ada}/refunds", "k", amount_usd="1.00", reason="Else"),
    ]
    for status, answer in other:
        assert (status, answer["error"]["code"]) == (409, "idempotency_key_reused")
    for bad in ("", "x" * 256):
        status, answer = await _post(client, f"{ada}/credit", bad, amount_usd="1.00")
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), bad
    his_own = await program(management, "money")
    assert (await _post(his_own, f"{ada}/credit", "k", amount_usd="1.00"))[0] == 201
    balances = await management.world.services.billing.balances(ada.rpartition("/")[2])
    assert balances.credit_nanos == GIFT + 2 * USD, "another admin key has names of its own"


async def test_a_batch_of_codes_is_made_once_and_its_codes_shown_once(
    management: Management,
) -> None:
    client = await program(management, "read", "money")
    asked = {"amount_usd": "1.00", "number": 3}
    path = f"{ADMIN_PREFIX}/codes"
    made = await client.post(path, json=asked, headers=_once("fair"))
    assert (made.status_code, len(made.json()["secrets"])) == (201, 3)
    again = await client.post(path, json=asked, headers=_once("fair"))
    assert (again.status_code, error_of(again)["code"]) == (409, "already_created")
    assert made.json()["id"] in error_of(again)["message"]
    assert len((await client.get(path)).json()["data"]) == 1


@pytest.mark.parametrize(
    ("path", "asked", "field"),
    [
        ("credit", {"amount_usd": "1,00"}, "amount_usd"),
        ("credit", {"amount_usd": "0"}, "amount_usd"),
        ("credit", {"amount_usd": "-5"}, "amount_usd"),
        ("credit", {"amount_usd": "5e2"}, "amount_usd"),
        ("credit", {"amount_usd": "1000000000000000000"}, "amount_usd"),
        ("credit", {"amount_usd": 1.5}, "amount_usd"),
        ("credit", {"amount_usd": "1.0000000001"}, "amount_usd"),
        ("credit", {"amount_usd": "1", "note": "x" * 201}, "note"),
        ("refunds", {"amount_usd": "1", "reason": " "}, "reason"),
        ("refunds", {"amount_usd": "1"}, "reason"),
        ("corrections", {"reason": "Both", "add_usd": "1", "take_usd": "1"}, "add_usd"),
        ("corrections", {"reason": "Neither"}, "add_usd"),
        ("corrections", {"reason": "Wrong", "take_usd": "-1"}, "take_usd"),
    ],
)
async def test_what_is_wrong_with_an_amount_is_said_of_its_field(
    management: Management, path: str, asked: dict[str, object], field: str
) -> None:
    ada, client = await _ada(management), await program(management, "all")
    answer = await client.post(f"{ada}/{path}", json=asked)
    assert (answer.status_code, error_of(answer)["param"]) == (400, field)
    assert len((await client.get(f"{ada}/postings")).json()["data"]) == 1


async def test_a_limit_that_is_no_amount_is_refused_and_nothing_is_a_limit(
    management: Management,
) -> None:
    ada, client = await _ada(management), await program(management, "all")
    path = f"{ada}/limits/account/day"
    for amount in ("-1", "NaN", "1e30", "0.0000000001", None, 10, ""):
        answer = await client.put(path, json={"amount_usd": amount})
        assert (answer.status_code, error_of(answer)["param"]) == (400, "amount_usd"), amount
    standing = (await client.put(path, json={"amount_usd": "0"})).json()
    assert standing["available_nanos"] == 0
    for what, period in (("account", "none"), ("app", "day"), ("account", "year")):
        answer = await client.put(f"{ada}/limits/{what}/{period}", json={"amount_usd": "1"})
        assert answer.status_code == 400, (what, period)
    assert (await client.delete(path)).json()["available_nanos"] == GIFT


async def test_lists_are_paged_by_cursor(management: Management) -> None:
    ada, client = await _ada(management), await program(management, "all")
    for number in range(5):
        await client.post(f"{ada}/credit", json={"amount_usd": "1.00", "note": f"{number}"})
    seen: list[str] = []
    following: str | None = None
    while True:
        params = {"limit": 2} | ({"before": following} if following else {})
        page = (await client.get(f"{ada}/postings", params=params)).json()
        seen += [row["note"] for row in page["data"]]
        following = page["next"]
        if following is None:
            break
        assert len(page["data"]) == 2
    assert seen == ["4", "3", "2", "1", "0", "Welcome"]
    for bad in ({"limit": 0}, {"limit": 201}, {"before": "x"}, {"page": 2}):
        assert (await client.get(f"{ada}/postings", params=bad)).status_code == 400, bad
    found = (await client.get(f"{ADMIN_PREFIX}/accounts", params={"q": "ada@", "limit": 1})).json()
    assert [row["email"] for row in found["data"]] == [EMAIL]


async def test_a_closed_month_is_listed_and_shown(management: Management) -> None:
    ada, client = await _ada(management), await program(management, "read")
    for table in ("accounts", "postings"):
        sql = text(f"UPDATE {table} SET created_us = created_us - {70 * DAY_US}")
        await management.world.store.write(lambda conn, sql=sql: conn.execute(sql))
    await management.world.services.monthly_statements.close_all()
    listed = (await client.get(f"{ada}/statements")).json()["data"]
    assert listed
    shown = await client.get(f"{ada}/statements/{listed[-1]['id']}")
    assert (shown.status_code, shown.json()["credit_usd"]) == (200, "5.00")
    assert "5.00" in shown.json()["csv"]


async def test_nothing_of_a_closed_account_is_changed(management: Management) -> None:
    ada, client = await _ada(management), await program(management, "all")
    account_id = ada.rpartition("/")[2]
    sql = text("UPDATE accounts SET closed_us = 1, state = 'suspended' WHERE id = :id")
    await management.world.store.write(lambda conn: conn.execute(sql, {"id": account_id}))
    for path, asked in (("credit", {"amount_usd": "1"}), ("resume", None)):
        answer = await client.post(f"{ada}/{path}", json=asked)
        assert (answer.status_code, error_of(answer)["code"]) == (409, "conflict")
    assert (await client.get(ada)).json()["state"] == "closed"
    gone = await client.get(f"{ADMIN_PREFIX}/accounts/acct_none")
    assert (gone.status_code, error_of(gone)["code"]) == (404, "not_found")
