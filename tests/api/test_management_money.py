"""Keys, usage, credit and prices over the management API, each only to its own account."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import USD, running_gateway
from tests.support.management import Management, error_of, running_management

pytestmark = pytest.mark.anyio
OTHER = "grace@example.com"


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API over a new data directory."""
    async with running_management(tmp_path) as running:
        yield running


async def test_a_secret_is_in_the_answer_that_makes_it_and_nowhere_else(
    management: Management,
) -> None:
    ada = await management.signed_up()
    made = await ada.post("/api/keys", json={"name": " laptop "})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    key = made.json()
    assert key["secret"].startswith("sk-lg-")
    assert (key["name"], key["state"], key["replaces"]) == ("laptop", "live", None)
    listed = await ada.get("/api/keys")
    assert [entry["id"] for entry in listed.json()["data"]] == [key["id"]]
    assert "secret" not in listed.json()["data"][0]
    assert key["secret"] not in listed.text
    assert key["secret"].encode() not in management.world.data.database.read_bytes()


async def test_a_second_key_is_a_replacement_and_has_to_be_asked_for(
    management: Management,
) -> None:
    ada = await management.signed_up()
    first = (await ada.post("/api/keys")).json()
    refused = await ada.post("/api/keys", json={})
    assert (refused.status_code, error_of(refused)["code"]) == (409, "live_key_exists")
    second = (await ada.post("/api/keys", json={"replace": True})).json()
    assert (second["state"], second["replaces"]) == ("pending", first["id"])
    assert (await ada.post(f"/api/keys/{second['id']}/confirm")).status_code == 204
    third = (await ada.post("/api/keys", json={"replace": True, "at_once": True})).json()
    states = {key["id"]: key["state"] for key in (await ada.get("/api/keys")).json()["data"]}
    assert states == {first["id"]: "replaced", second["id"]: "replaced", third["id"]: "live"}


async def test_a_key_is_revoked_once_and_then_it_is_not_found(management: Management) -> None:
    """Row 81."""
    ada = await management.signed_up()
    key_id = (await ada.post("/api/keys")).json()["id"]
    revoked = await ada.delete(f"/api/keys/{key_id}")
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    again = await ada.delete(f"/api/keys/{key_id}")
    assert (again.status_code, error_of(again)["code"]) == (404, "not_found")


async def test_another_accounts_key_looks_like_a_missing_one(management: Management) -> None:
    """Row 76."""
    ada = await management.signed_up()
    grace = await management.signed_up(OTHER)
    key_id = (await ada.post("/api/keys")).json()["id"]
    for method, path in (("DELETE", "/api/keys/{}"), ("POST", "/api/keys/{}/confirm")):
        hers = await grace.request(method, path.format(key_id))
        missing = await grace.request(method, path.format("key_" + "0" * 26))
        assert hers.status_code == missing.status_code == 404
        assert hers.json() == missing.json()
    assert (await grace.get("/api/keys")).json()["data"] == []
    assert (await ada.get("/api/keys")).json()["data"][0]["state"] == "live"


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/api/usage?limit=0", "limit"),
        ("/api/usage?limit=201", "limit"),
        ("/api/usage?limit=many", "limit"),
        ("/api/usage/summary?period=year", "period"),
        ("/api/usage/summary?from=2026-02-30", "from"),
        ("/api/usage/summary?from=2026-02-01&to=2026-01-31", "to"),
        ("/api/usage/summary?from=2024-01-01&to=2026-01-31", "from"),
        ("/api/usage/summary?to=2026-01-31", "from"),
        ("/api/usage/summary?from=9999-12-31", "from"),
        ("/api/usage/summary?from=2026-01-01T00:05Z", "from"),
        ("/api/usage/summary?from=２０２６-01-01", "from"),
        ("/api/usage/summary?period=last_month&per=quarter", "per"),
        ("/api/usage/summary?app=%00", "app"),
        ("/api/usage?key=" + "x" * 65, "key"),
        ("/api/usage/export.csv?period=never", "period"),
        ("/api/usage/export.json?from=yesterday", "from"),
        ("/api/billing?before=%27%20OR%201=1", "before"),
        ("/api/usage?before=" + "x" * 9000, "before"),
    ],
)
async def test_a_page_that_cannot_be_is_refused_by_name(
    management: Management, path: str, param: str
) -> None:
    ada = await management.signed_up()
    answer = await ada.get(path)
    assert (answer.status_code, error_of(answer)["param"]) == (400, param)


@pytest.mark.parametrize(
    "path", ["/api/session", "/api/keys", "/api/usage", "/api/billing", "/api/models"]
)
async def test_nothing_of_an_account_is_shown_without_a_session(
    management: Management, path: str
) -> None:
    browser = management.browser()
    browser.cookies.set("latchgate", "x" * 43)
    answer = await browser.get(path)
    assert (answer.status_code, error_of(answer)["code"]) == (401, "session_expired")


async def test_prices_are_decimal_dollars_per_million_tokens(management: Management) -> None:
    ada = await management.signed_up()
    (model,) = (await ada.get("/api/models")).json()["data"]
    assert (model["name"], model["context_tokens"]) == ("m", 8192)
    prices = [model[f"{kind}_price_usd"] for kind in ("input", "cached", "output")]
    assert prices == ["0.10", "0.02", "0.40"]
    prices = [model[f"priority_{kind}_price_usd"] for kind in ("input", "cached", "output")]
    assert prices == ["0.20", "0.04", "0.80"]


async def test_an_embeddings_model_has_its_kind_and_no_output(management: Management) -> None:
    await management.world.services.catalog.add_model(
        "vectors",
        upstream="lab",
        upstream_model=None,
        tier="standard",
        context_tokens=256,
        output_tokens_max=None,
        terms=ModelTerms(20_000, 20_000, 0),
        kind="embeddings",
    )
    ada = await management.signed_up()
    models = (await ada.get("/api/models")).json()["data"]
    assert [(model["name"], model["kind"], model["takes_images"]) for model in models] == [
        ("m", "chat", False),
        ("vectors", "embeddings", False),
    ]
    assert (models[1]["output_tokens_max"], models[1]["output_price_usd"]) == (0, "0.00")
    entry = management.world.directory.models["vectors"]
    assert (entry.kind, entry.takes_images) == ("embeddings", False)
    assert entry.target.speaks == {"chat", "completions", "embeddings"}


async def test_a_call_is_on_its_own_accounts_usage_and_in_its_sum(
    management: Management, tmp_path: Path
) -> None:
    ada, grace = await management.signed_up(), await management.signed_up(OTHER)
    account_id = (await ada.get("/api/session")).json()["account_id"]
    other_id = (await grace.get("/api/session")).json()["account_id"]
    (tmp_path / "gateway").mkdir()
    async with running_gateway(tmp_path / "gateway") as gateway:
        made = await gateway.add_account(account_id, 1 * USD)
        await gateway.add_account(other_id, 1 * USD)
        await gateway.chat(key=made.secret)
        management.app.state.services = dataclasses.replace(
            management.world.services, usage=gateway.usage, billing=gateway.billing
        )
        usage = (await ada.get("/api/usage")).json()
        (call,) = usage["data"]
        assert usage["totals"]["calls"] == 1
        assert usage["totals"]["charge_nanos"] == call["charge_nanos"] > 0
        receipt = (await ada.get(f"/api/usage/{call['request_id']}")).json()
        assert receipt["charge_usd"] == call["charge_usd"]
        assert receipt["input_price_usd"] == "0.10"
        summary = (await ada.get("/api/usage/summary?period=7d")).json()
        (bar,) = [bar for bar in summary["bars"] if bar["calls"]]
        for cut in ([bar], bar["parts"], *(summary[f"by_{n}"] for n in ("app", "model", "key"))):
            (part,) = cut
            assert {name: part[name] for name in usage["totals"]} == summary["totals"]
        assert summary["totals"] == usage["totals"]
        assert summary["by_app"][0]["app"] == call["app"] == "unknown"
        (used,) = summary["by_model"]
        assert (used["model"], used["tier"], used["service_tier"]) == ("m", "standard", "default")
        assert summary["other_apps"]["calls"] == 0
        billing = (await ada.get("/api/billing")).json()
        assert billing["spent_nanos"] == call["charge_nanos"]
        assert billing["available_nanos"] == 1 * USD - call["charge_nanos"]
        assert (await grace.get("/api/usage")).json()["data"] == []
        assert (await grace.get("/api/usage/summary")).json()["by_app"] == []
        assert (await grace.get(f"/api/usage/{call['request_id']}")).status_code == 404
