"""Limits and switches over the management API: what cannot be is refused, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.management import Management, error_of, running_management

pytestmark = pytest.mark.anyio


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API over a new data directory."""
    async with running_management(tmp_path) as running:
        yield running


def _limit(value: object) -> dict[str, Any]:
    return {"what": "account", "period": "day", "limit_usd": value}


#: What is no amount, and what names no limit; the parameter that is to blame.
NO_AMOUNTS: list[object] = [
    *("-1", "NaN", "Infinity", "1e30", "0.0000000001", "", " ", "5 USD", "5,00", "1" * 33),
    *(10, -1, 0.5, True, [], {}),
]
NO_LIMITS: list[tuple[dict[str, Any], str]] = [
    ({"what": "account", "period": "none", "limit_usd": "1"}, "period"),
    ({"what": "app", "period": "day", "limit_usd": "1"}, "what"),
    ({"what": "key", "period": "year", "limit_usd": "1"}, "period"),
    ({"what": "key", "period": "day"}, "limit_usd"),
    ({**_limit("1"), "account_id": "acct_other"}, "account_id"),
]


async def test_a_limit_that_cannot_be_is_refused_by_name_and_changes_nothing(
    management: Management,
) -> None:
    """Row 73."""
    ada = await management.signed_up()
    before = (await ada.get("/api/limits")).json()
    for asked, param in [(_limit(value), "limit_usd") for value in NO_AMOUNTS] + NO_LIMITS:
        answer = await ada.put("/api/limits", json=asked)
        assert (answer.status_code, error_of(answer)["param"]) == (400, param), asked
    assert (await ada.get("/api/limits")).json() == before


async def test_zero_is_a_limit_that_blocks_all_and_null_takes_it_away(
    management: Management,
) -> None:
    """Row 73: 0 is legal."""
    ada = await management.signed_up()
    blocked = (await ada.put("/api/limits", json=_limit("0"))).json()
    assert blocked["available_nanos"] == 0
    freed = (await ada.put("/api/limits", json=_limit(None))).json()
    assert freed["available_usd"] == "5.00"
    assert [limit["what"] for limit in freed["data"]] == ["credit"]


async def test_the_one_number_is_what_the_tightest_limit_leaves(management: Management) -> None:
    ada = await management.signed_up()
    await ada.put("/api/limits", json=_limit("4.00"))
    answer = await ada.put(
        "/api/limits", json={"what": "key", "period": "month", "limit_usd": "1.50"}
    )
    standing = answer.json()
    assert standing["available_usd"] == "1.50"
    assert min(limit["left_nanos"] for limit in standing["data"]) == standing["available_nanos"]


async def test_a_time_zone_that_is_none_is_refused(management: Management) -> None:
    ada = await management.signed_up()
    for name in ("Mars/Olympus", "../../etc/passwd", "", "x" * 65):
        answer = await ada.put("/api/limits/time-zone", json={"time_zone": name})
        assert (answer.status_code, error_of(answer)["param"]) == (400, "time_zone"), name
    answer = await ada.put("/api/limits/time-zone", json={"time_zone": "Europe/Berlin"})
    assert answer.json()["time_zone"] == "Europe/Berlin"


async def test_premium_models_are_the_owners_to_switch(management: Management) -> None:
    ada, grace = await management.signed_up(), await management.signed_up("grace@example.com")
    assert (await ada.get("/api/limits")).json()["premium"] == {"account": False, "key": True}
    switched = await ada.put("/api/limits/premium", json={"what": "account", "is_on": True})
    assert switched.json()["premium"] == {"account": True, "key": True}
    assert (await grace.get("/api/limits")).json()["premium"]["account"] is False
    for asked in ({"what": "model", "is_on": True}, {"what": "key", "is_on": "yes"}, {}):
        assert (await ada.put("/api/limits/premium", json=asked)).status_code == 400
    cross = await ada.put(
        "/api/limits/premium",
        content=json.dumps({"what": "key", "is_on": False}),
        headers={"content-type": "application/json", "sec-fetch-site": "cross-site"},
    )
    assert (cross.status_code, error_of(cross)["code"]) == (403, "cross_site_request")
    assert (await ada.get("/api/limits")).json() == switched.json()
