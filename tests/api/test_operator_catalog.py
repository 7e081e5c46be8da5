"""Models and upstreams in the operator's hands: nothing shows a key, no price is edited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from tests.api.test_management_codes import OPERATOR, operator_of
from tests.support.factors import let_pass
from tests.support.management import Management, running_console
from tests.support.model_server import ModelServerThread, answers

pytestmark = pytest.mark.anyio
MODELS, UPSTREAMS = "/operator/models", "/operator/upstreams"
KEY = "upstream-key-4711"
UPSTREAM = {"name": "hosted", "base_url": "http://127.0.0.1:9/v1", "api_key": KEY}
MODEL = {
    "name": "vendor/big-1",
    "upstream": "lab",
    "kind": "chat",
    "tier": "premium",
    "context": "8192",
    "input_price": "$0.15",
    "output_price": "0.60",
    "images": "1",
}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """A console with its pages."""
    async with running_console(tmp_path) as running:
        yield running


async def test_a_model_is_added_given_a_new_price_version_and_removed(
    management: Management,
) -> None:
    operator, catalog = await operator_of(management), management.world.services.catalog
    assert (await operator.post(MODELS, data=MODEL)).status_code == 303
    (model,) = [view for view in await catalog.list_models() if view.name == MODEL["name"]]
    assert (model.tier, model.takes_images, model.context_tokens) == ("premium", True, 8192)
    assert (model.input_picos, model.cached_picos, model.output_picos) == (150000, 150000, 600000)
    page = (await operator.get(f"{MODELS}/change", params={"name": MODEL["name"]})).text
    assert 'value="0.60"' in page
    priced = {"name": MODEL["name"], "input_price": "0.3", "output_price": "1"}
    assert (await operator.post(f"{MODELS}/price", data=priced)).status_code == 303
    (model,) = [view for view in await catalog.list_models() if view.name == MODEL["name"]]
    assert (model.price_version, model.input_picos) == (2, 300_000)

    def versions(conn: Connection) -> int:
        count = conn.execute(
            text("SELECT count(DISTINCT version) FROM prices WHERE input_picos IN (150000, 300000)")
        )
        return int(count.scalar_one())

    assert await management.world.store.read(versions) == 2
    removed = await operator.post(f"{MODELS}/remove", data={"name": MODEL["name"]})
    assert removed.status_code == 303
    assert MODEL["name"] not in (await operator.get(MODELS)).text
    assert (await operator.post(f"{MODELS}/price", data=priced)).status_code == 404


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "no spaces"}, "name"),
        ({"context": "much"}, "context"),
        ({"context": ""}, "context"),
        ({"max_output": "9000"}, "max_output"),
        ({"input_price": "0,15"}, "input_price"),
        ({"output_price": ""}, "output_price"),
        ({"output_price": "-1"}, "output_price"),
    ],
)
async def test_a_models_mistake_is_said_beside_its_field_and_changes_nothing(
    management: Management, changed: dict[str, str], field: str
) -> None:
    operator = await operator_of(management)
    answer = await operator.post(MODELS, data={**MODEL, **changed})
    assert answer.status_code == 400
    assert f'id="{field}-about"' in answer.text
    assert answer.text.count('aria-invalid="true"') == 1
    assert len(await management.world.services.catalog.list_models()) == 1


async def test_an_upstreams_key_is_written_and_never_shown(management: Management) -> None:
    operator = await operator_of(management)
    with ModelServerThread(answers("ok")) as server:
        sent = {**UPSTREAM, "base_url": server.base_url, "speaks.chat": "1", "calls_at_once": "4"}
        assert (await operator.post(UPSTREAMS, data=sent)).status_code == 303
        tested = await operator.post(f"{UPSTREAMS}/test", data={"name": "hosted"})
        assert "<b>hosted works:</b>" in tested.text
    down = await operator.post(f"{UPSTREAMS}/test", data={"name": "hosted"})
    assert "<b>hosted does not work:</b>" in down.text
    other = {"name": "hosted", "api_key": "another-key-0815"}
    assert (await operator.post(f"{UPSTREAMS}/key", data=other)).status_code == 303
    refused = await operator.post(UPSTREAMS, data={**UPSTREAM, "base_url": "ftp://x"})
    assert (refused.status_code, 'id="base_url-about"' in refused.text) == (400, True)
    pages = [
        tested.text,
        refused.text,
        (await operator.get(UPSTREAMS)).text,
        (await operator.get(f"{UPSTREAMS}/change", params={"name": "hosted"})).text,
    ]
    for page in pages:
        assert KEY not in page
        assert other["api_key"] not in page
    assert "with a key" in pages[2]


async def test_an_upstream_is_disabled_for_a_while(management: Management) -> None:
    operator, catalog = await operator_of(management), management.world.services.catalog
    switch = f"{UPSTREAMS}/switch"
    off = await operator.post(switch, data={"name": "lab", "to": "off"}, follow_redirects=True)
    assert "its models are not on offer" in off.text
    assert await catalog.list_models() == []
    assert "m" not in management.world.directory.models
    assert "Upstream disabled" in (await operator.get(MODELS)).text
    assert "m</code>" not in (await operator.get("/prices")).text
    change = await operator.get(f"{UPSTREAMS}/change", params={"name": "lab"})
    assert "Enable upstream" in change.text
    await operator.post(switch, data={"name": "lab", "to": "on"})
    assert [view.name for view in await catalog.list_models()] == ["m"]
    assert "m" in management.world.directory.models


async def test_an_upstream_that_models_need_stays(management: Management) -> None:
    operator = await operator_of(management)
    kept = await operator.post(f"{UPSTREAMS}/remove", data={"name": "lab"})
    assert (kept.status_code, "1 models are served by lab" in kept.text) == (409, True)
    await operator.post(f"{MODELS}/remove", data={"name": "m"})
    assert (await operator.post(f"{UPSTREAMS}/remove", data={"name": "lab"})).status_code == 303
    assert (await operator.post(f"{UPSTREAMS}/test", data={"name": "lab"})).status_code == 404


async def test_changes_are_written_down_and_asked_again_of_an_old_login(
    management: Management,
) -> None:
    operator = await operator_of(management)
    await operator.post(UPSTREAMS, data={**UPSTREAM, "speaks.chat": "1"})
    await operator.post(f"{MODELS}/price", data={**MODEL, "name": "m"})
    his = (await management.world.services.accounts.get(OPERATOR)).user_id

    def events(conn: Connection) -> list[tuple[str, ...]]:
        found = conn.execute(
            text(
                "SELECT action, target, ip FROM audit_events"
                " WHERE account_id IS NULL AND actor = :actor ORDER BY at_us"
            ),
            {"actor": his},
        )
        return [tuple(row) for row in found]

    written = await management.world.store.read(events)
    assert written == [("upstream.add", "hosted", "10.1.1.1"), ("model.price", "m", "10.1.1.1")]
    await let_pass(management, 16)
    for path in (MODELS, f"{MODELS}/price", f"{MODELS}/remove", UPSTREAMS, f"{UPSTREAMS}/key"):
        asked = await operator.post(path, data={**MODEL, "name": "m"})
        assert (asked.status_code, "Confirm" in asked.text) == (403, True), path
    assert await management.world.store.read(events) == written


async def test_a_later_price_is_announced_to_everybody_and_can_be_withdrawn(
    management: Management,
) -> None:
    operator = await operator_of(management)
    prices = management.world.services.prices
    later = {
        "name": "m",
        "input_price": "0.9",
        "output_price": "1.8",
        "effective_from": "2030-01-31T18:00",
    }
    for wrong in ("tomorrow", "2020-01-01", "2999-01-01"):
        refused = await operator.post(f"{MODELS}/price", data={**later, "effective_from": wrong})
        assert (refused.status_code, 'id="effective_from-about"' in refused.text) == (400, True)
    soon = later | {"effective_from": _in_days(30)}
    moved = await operator.post(f"{MODELS}/price", data=soon)
    assert "is announced" in (await operator.get(moved.headers["location"])).text
    ada = await management.signed_up()
    seen = (await ada.get("/prices")).text
    assert "What will change" in seen
    assert f"{soon['effective_from'].replace('T', ' ')}:00 UTC" in seen
    listed = (await ada.get("/api/models")).json()
    assert [(one["name"], one["input_price_usd"]) for one in listed["data"]] == [("m", "0.10")]
    assert [(one["input_price_usd"], one["price_version"]) for one in listed["coming"]] == [
        ("0.90", 2)
    ]
    page = (await operator.get(f"{MODELS}/change", params={"name": "m"})).text
    assert "Withdraw" in page
    gone = await operator.post(f"{MODELS}/price/withdraw", data={"name": "m", "version": "2"})
    assert gone.status_code == 303
    assert await prices.list_coming() == []
    assert "What will change" not in (await ada.get("/prices")).text
    again = await operator.post(f"{MODELS}/price/withdraw", data={"name": "m", "version": "2"})
    assert again.status_code == 404


def _in_days(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M}"
