"""Prices from the public list: all is shown, what is chosen is taken over, and exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ConditionalPrice, ModelPrice, TieredPrices, TimeOfDateConstraint

from latchgate.clock import SystemClock
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.people import CLI
from latchgate.services.catalog import ModelTerms, ModelView
from latchgate.services.price_list import PriceList
from tests.api.test_management_codes import operator_of
from tests.support.management import Management, running_console

pytestmark = pytest.mark.anyio
PAGE = "/operator/models/import"
OPENAI = "https://api.openai.com/v1"
NOW_US = SystemClock().now_us()
DEAR = ModelTerms(9_000_000, 9_000_000, 9_000_000)


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """A console with four models: one of them on the list and dear, two that it does not know."""
    async with running_console(tmp_path) as running:
        catalog = running.world.services.catalog
        await catalog.add_upstream("openai", base_url=OPENAI, api_key=None)
        for name, upstream in (("gpt-4o", "openai"), ("own-brew", "openai"), ("gpt-5", "lab")):
            await catalog.add_model(
                name,
                upstream=upstream,
                upstream_model=None,
                tier="standard",
                context_tokens=8192,
                output_tokens_max=None,
                terms=DEAR,
            )
        yield running


async def _model(management: Management, name: str) -> ModelView:
    models = await management.world.services.catalog.list_models()
    return next(model for model in models if model.name == name)


def _list() -> DataSnapshot:
    return get_snapshot()


async def test_the_preview_says_what_matches_and_why_the_rest_stays(
    management: Management,
) -> None:
    preview = await management.world.services.price_import.preview()
    assert preview.source.startswith("genai-prices ")
    lines = {line.model.name: line for line in preview.lines}
    assert [line.model.name for line in preview.changes] == ["gpt-4o"]
    assert lines["gpt-4o"].listed.name == "openai/gpt-4o"
    assert "web_searches_kcount" in lines["gpt-4o"].listed.left_out
    assert lines["own-brew"].listed.problem == "The list has no own-brew of openai."
    for name in ("gpt-5", "m"):
        assert lines[name].listed.problem == "The list knows no server at http://127.0.0.1:9/v1."
    named = await management.world.services.price_import.preview(provider="openai")
    assert [line.model.name for line in named.changes] == ["gpt-4o", "gpt-5"]
    assert (await _model(management, "gpt-4o")).price_version == 1, "a preview changes nothing"


async def test_what_is_taken_over_is_the_lists_price_exactly_and_what_is_not_named_stays(
    management: Management,
) -> None:
    imports = management.world.services.price_import
    _, listed = _list().find_provider_model("gpt-4o", None, "openai", None)
    usd = vars(listed.prices)
    done = await imports.apply(["gpt-4o"], provider="openai", caller=CLI)
    assert [line.model.name for line in done.lines] == ["gpt-4o"]
    model = await _model(management, "gpt-4o")
    own = (model.input_picos, model.cached_picos, model.output_picos)
    keys = ("input_mtok", "cache_read_mtok", "output_mtok")
    assert own == tuple(usd[key] * 1_000_000 for key in keys)
    assert (model.price_version, model.priority_percent) == (2, 200)
    assert (await _model(management, "gpt-5")).price_version == 1
    again = await imports.apply(["gpt-4o"], caller=CLI)
    assert again.lines == ()
    assert (await _model(management, "gpt-4o")).price_version == 2
    dearer = await imports.preview(percent=120)
    (line,) = [line for line in dearer.lines if line.model.name == "gpt-4o"]
    assert line.terms is not None
    assert line.terms.input_picos * 100 == model.input_picos * 120


@pytest.mark.parametrize("names", [["own-brew"], ["gpt-4o", "gpt-5"], ["gone"]])
async def test_nothing_is_taken_over_where_one_of_them_can_not_be(
    management: Management, names: list[str]
) -> None:
    with pytest.raises(InvalidRequest, match="can't be taken over"):
        await management.world.services.price_import.apply(names, caller=CLI)
    versions = [m.price_version for m in await management.world.services.catalog.list_models()]
    assert set(versions) == {1}


@pytest.mark.parametrize(
    ("prices", "problem"),
    [
        (
            ModelPrice(input_mtok=TieredPrices(base=Decimal(1), tiers=[]), output_mtok=Decimal(2)),
            "depends on how long the prompt is",
        ),
        (ModelPrice(input_mtok=Decimal("0.0000001")), "more digits"),
        (ModelPrice(input_mtok=Decimal(1_000_000)), "more digits"),
        (ModelPrice(requests_kcount=Decimal(1)), "no price for a million tokens"),
        (ModelPrice(), "no price for a million tokens"),
    ],
)
def test_a_price_that_a_model_here_can_not_have_is_not_made_up(
    monkeypatch: pytest.MonkeyPatch, prices: ModelPrice, problem: str
) -> None:
    _, model = _list().find_provider_model("gpt-4o", None, "openai", None)
    monkeypatch.setattr(model, "prices", prices)
    listed = PriceList().find("gpt-4o", base_url=OPENAI, provider="", now_us=NOW_US)
    assert problem in listed.problem
    assert listed.picos == (0, 0, 0)


def test_a_price_by_the_hour_is_not_taken_for_the_price_of_now() -> None:
    hours = [
        (whose.id, model)
        for whose in _list().providers
        for model in whose.models
        if isinstance(model.prices, list)
        and any(
            isinstance(price, ConditionalPrice)
            and isinstance(price.constraint, TimeOfDateConstraint)
            for price in model.prices
        )
    ]
    assert hours, "the list has some"
    whose, model = hours[0]
    listed = PriceList().find(model.id, base_url="", provider=whose, now_us=NOW_US)
    assert listed.problem == "Its price depends on the hour of the day."


async def test_an_operator_compares_ticks_and_takes_over(management: Management) -> None:
    operator = await operator_of(management)
    page = (await operator.get(PAGE, params={"provider": "openai"})).text
    assert 'name="take.gpt-4o"' in page
    assert 'name="take.gpt-5"' in page
    assert 'name="take.own-brew"' not in page
    assert "Stays: The list has no own-brew of openai." in page
    none = await operator.post(PAGE, data={"provider": "openai", "percent": ""})
    assert (none.status_code, "Tick the models" in none.text) == (400, True)
    for typed, field in (({"percent": "0"}, "percent"), ({"percent": "x"}, "percent")):
        wrong = await operator.get(PAGE, params=typed)
        assert (wrong.status_code, f'id="{field}-about"' in wrong.text) == (400, True)
    sent = {"provider": "openai", "percent": "110", "take.gpt-5": "1"}
    moved = await operator.post(PAGE, data=sent)
    assert moved.status_code == 303
    assert "taken over" in (await operator.get(moved.headers["location"])).text
    changed = [await _model(management, name) for name in ("gpt-4o", "gpt-5")]
    assert [model.price_version for model in changed] == [1, 2]
    ada = await management.signed_up()
    assert (await ada.get(PAGE)).status_code == 404
