"""Guards `latchgate price`: what is announced waits, what is taken over is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.test_story import Operator

PRICED = ("--input-price", "9", "--output-price", "9")


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """An operator with a model of OpenAI's and one of his own."""
    found = Operator(tmp_path / "data")
    found.asks("upstream", "add", "openai", "--base-url", "https://api.openai.com/v1")
    for name in ("gpt-4o", "own-brew"):
        found.asks("model", "add", name, "--upstream", "openai", *PRICED, "--context", "8192")
    return found


def test_a_price_is_announced_listed_and_withdrawn(operator: Operator) -> None:
    later, latest = (
        f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M}" for days in (3, 4)
    )
    change = ("model", "price", "own-brew", "--input-price", "1", "--output-price", "2")
    assert operator.asks(*change, "--from", later)["price_version"] == 1
    assert f"from {latest} UTC" in operator.types(*change, "--from", latest)
    waiting = operator.asks("price", "coming")["prices"]
    assert (waiting[0]["input_price"], waiting[0]["effective_from"]) == ("1.00", f"{later}:00Z")
    assert "own-brew" in operator.types("price", "coming")
    for row in waiting:
        operator.types("price", "withdraw", "own-brew", str(row["price_version"]))
    assert operator.asks("price", "coming")["prices"] == []
    operator.types("price", "withdraw", "own-brew", "2", code=1)
    operator.types(*change, "--from", "yesterday", code=2)


def test_prices_are_compared_and_only_what_is_named_is_taken_over(operator: Operator) -> None:
    assert "genai-prices" in operator.types("price", "import")
    compared = {row["name"]: row for row in operator.asks("price", "import")["models"]}
    assert (compared["gpt-4o"]["state"], compared["own-brew"]["listed"]) == ("differs", None)
    assert compared["own-brew"]["state"] == "The list has no own-brew of openai."
    operator.types("price", "import", "--take", "own-brew", code=2)
    operator.types("price", "import", "--percent", "0", code=2)
    operator.asks("price", "import", "--take-all")
    (first, second) = operator.asks("model", "list")["models"]
    assert (first["price_version"], second["price_version"]) == (2, 1)
    listed = compared["gpt-4o"]["listed"]
    assert first["input_price"] == listed["input_price"]
