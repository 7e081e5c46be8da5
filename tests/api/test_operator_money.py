"""The operator's page of money: the same as on the command line, and nothing for anybody else."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.api.test_management_codes import operator_of
from tests.support.management import EMAIL, Management, running_console

pytestmark = pytest.mark.anyio
PAGE = "/operator/billing"
BATCH = {"worth": "2.50", "codes": "3", "expires": "2030-12-31", "note": "Fair, spring"}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """A console with its pages."""
    async with running_console(tmp_path) as running:
        yield running


def _codes(text: str) -> list[str]:
    return [row["code"] for row in csv.DictReader(io.StringIO(text))]


async def test_codes_are_in_the_answer_that_makes_them_and_nowhere_else(
    management: Management,
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    made = await operator.post(f"{PAGE}/codes", data={**BATCH, "as": "page"})
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    printed = made.text.partition('<code id="codes-made">')[2].partition("</code>")[0]
    codes = _codes(printed)
    assert len(codes) == 3
    assert "2031-01-01T00:00:00Z" in printed
    listed = (await operator.get(PAGE)).text
    assert "0 of 3" in listed
    assert "31 December 2030" in listed
    assert not [code for code in codes if code in listed]
    moved = await ada.post("/billing/redeem", data={"code": codes[0]})
    assert moved.status_code == 303
    assert "1 of 3" in (await operator.get(PAGE)).text


async def test_codes_can_be_saved_as_a_file_and_the_rest_withdrawn(management: Management) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    saved = await operator.post(f"{PAGE}/codes", data={**BATCH, "as": "file"})
    assert saved.headers["content-disposition"].startswith('attachment; filename="codes-cbt_')
    codes = _codes(saved.text)
    await ada.post("/billing/redeem", data={"code": codes[0]})
    listed = (await operator.get(PAGE)).text
    path = listed.partition('href="/operator/billing/codes/')[2].partition('"')[0]
    asked = (await operator.get(f"{PAGE}/codes/{path}")).text
    assert "Withdraw 2 codes of $2.50?" in asked
    assert (await operator.post(f"{PAGE}/codes/{path}")).status_code == 303
    refused = await ada.post("/billing/redeem", data={"code": codes[1]})
    assert "This code was withdrawn." in refused.text
    assert "Withdrawn" in (await operator.get(PAGE)).text
    missing = await operator.get(f"{PAGE}/codes/cbt_none/withdraw")
    assert missing.status_code == 404


async def test_what_is_posted_reaches_its_owner_with_the_reason(management: Management) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    for kind, amount in (("top_up", "3"), ("refund", "1"), ("correction", "0.5"), ("take", "8")):
        sent = {"email": EMAIL, "kind": kind, "amount": amount, "reason": f"For {kind}"}
        moved = await operator.post(f"{PAGE}/postings", data=sent)
        assert moved.status_code == 303
        assert "Posted:" in (await operator.get(moved.headers["location"])).text
    rows = (await ada.get("/api/billing")).json()["data"]
    assert [(row["kind"], row["amount_usd"], row["note"]) for row in rows[:4]] == [
        ("correction", "-8.00", "For take"),
        ("correction", "0.50", "For correction"),
        ("refund", "1.00", "For refund"),
        ("top_up", "3.00", "For top_up"),
    ]
    assert (await management.world.audit()).findings == ()


@pytest.mark.parametrize(
    ("form", "changed", "field"),
    [
        ("codes", {"worth": "0"}, "worth"),
        ("codes", {"worth": "10001"}, "worth"),
        ("codes", {"codes": "10001"}, "codes"),
        ("codes", {"codes": "many"}, "codes"),
        ("codes", {"codes": "٣"}, "codes"),
        ("codes", {"expires": "tomorrow"}, "expires"),
        ("codes", {"expires": "2020-01-01"}, "expires"),
        ("codes", {"note": "x" * 201}, "note"),
        ("postings", {"email": "nobody@example.com"}, "email"),
        ("postings", {"amount": "-1"}, "amount"),
        ("postings", {"reason": ""}, "reason"),
    ],
)
async def test_a_mistake_is_said_beside_its_field_and_changes_nothing(
    management: Management, form: str, changed: dict[str, str], field: str
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    right = BATCH if form == "codes" else {
        "email": EMAIL, "kind": "refund", "amount": "1", "reason": "x"
    }  # fmt: skip
    answer = await operator.post(f"{PAGE}/{form}", data={**right, **changed})
    assert answer.status_code in {400, 404}
    assert f'id="{field}-about"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert len((await ada.get("/api/billing")).json()["data"]) == 1
    assert "No codes yet" in (await operator.get(PAGE)).text


async def _tried(browser: httpx.AsyncClient) -> set[int]:
    answers = [
        await browser.get(PAGE),
        await browser.post(f"{PAGE}/codes", data=BATCH),
        await browser.post(f"{PAGE}/postings", data={"email": EMAIL, "kind": "top_up"}),
        await browser.get(f"{PAGE}/codes/cbt_00000000000000000000000000/withdraw"),
        await browser.post(f"{PAGE}/codes/cbt_00000000000000000000000000/withdraw"),
    ]
    return {answer.status_code for answer in answers}


async def test_it_is_for_operators_alone(management: Management) -> None:
    ada = await management.signed_up()
    assert await _tried(ada) == {404}
    assert "/operator/" not in (await ada.get("/billing")).text
    assert await _tried(management.browser()) == {303}


@pytest.mark.parametrize("path", [PAGE, "/billing", "/statements"])
async def test_no_two_parts_of_a_page_have_one_name(management: Management, path: str) -> None:
    """Else a label would lead to the wrong field."""
    operator = await operator_of(management)
    await operator.post(f"{PAGE}/codes", data=BATCH)
    ids = re.findall(r'\bid="([^"]+)"', (await operator.get(path)).text)
    assert sorted(ids) == sorted(set(ids))
