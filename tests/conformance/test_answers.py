"""Guards that every client gets its answers, and that each was charged what it says, exactly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.callers import Caller
from tests.conformance.clients import Client, that, that_talk
from tests.conformance.driving import Result
from tests.conformance.house import EMBEDDED, EMBEDDED_VECTORS, NANOS
from tests.conformance.player import DIMENSIONS, THOUGHT
from tests.conformance.player import TEXT as PLAYED

WORDS = ("chat", "stream")
#: The words of the upstream that lingers, and one more that an estimate may make of them.
TOKENS_ARRIVED_MAX = 4


def _price(call: dict[str, Any]) -> int:
    """What a call must have cost: tokens times price, in nano-USD."""
    fresh = call["input_tokens"] - call["cached_tokens"]
    counts = (fresh, call["cached_tokens"], call["output_tokens"])
    return sum(count * price for count, price in zip(counts, NANOS, strict=True))


def _check(call: dict[str, Any], result: Result) -> None:
    """The client's usage is the one that was charged, and the charge is its price to the nano."""
    assert call["outcome"] == "answered"
    assert call["charge_nanos"] == _price(call)
    if result.usage is not None:
        assert result.usage == (call["input_tokens"], call["output_tokens"])


@pytest.mark.column("models")
@that("models")
def test_it_lists_the_models(caller: Caller, client: Client, word: str) -> None:
    result = caller.ask(word, "player")
    assert {"player", "thinker", EMBEDDED} <= set(result.models), result


@pytest.mark.column("answers")
@that(*WORDS)
def test_an_answer_costs_exactly_what_its_usage_says(
    caller: Caller, client: Client, word: str
) -> None:
    result, calls = caller.charged(word, "player")
    assert result.text == PLAYED
    [call] = calls
    assert call["cached_tokens"] > 0
    assert call["is_stream"] == (word == "stream")
    _check(call, result)


@pytest.mark.column("embedded")
@that(*WORDS)
def test_the_embedded_model_answers_for_exactly_its_price(
    caller: Caller, client: Client, word: str
) -> None:
    result, calls = caller.charged(word, EMBEDDED)
    assert result.text
    [call] = calls
    assert call["output_tokens"] > 0
    _check(call, result)


@pytest.mark.column("answers")
@that("stream_silent")
def test_a_stream_is_metered_though_nobody_asks_for_its_usage(
    caller: Caller, client: Client, word: str
) -> None:
    result, calls = caller.charged(word, "player")
    assert result.text == PLAYED
    _check(calls[0], result)
    assert calls[0]["counted_by"] == "upstream"


@pytest.mark.column("answers")
@that("complete", "complete_stream")
def test_text_completions_cost_exactly_what_their_usage_says(
    caller: Caller, client: Client, word: str
) -> None:
    result, calls = caller.charged(word, "player")
    assert result.text == PLAYED
    _check(calls[0], result)


@pytest.mark.column("tools")
@that("tool")
def test_a_tool_is_called_and_its_result_is_answered(
    caller: Caller, client: Client, word: str
) -> None:
    result, calls = caller.charged(word, "player", calls=2)
    assert result.tool is not None
    assert result.tool.replace(" ", "") == '{"city":"Bern"}'
    assert "sunny in Bern" in (result.text or "")
    for call in calls:
        _check(call, Result())


@pytest.mark.column("tools")
@that("tool_stream")
def test_a_streamed_call_of_a_tool_arrives_whole(caller: Caller, client: Client, word: str) -> None:
    result, calls = caller.charged(word, "player")
    assert result.tool is not None
    assert result.tool.replace(" ", "") == '{"city":"Bern"}'
    _check(calls[-1], Result())


@pytest.mark.column("images")
@that("image")
def test_an_image_is_seen(caller: Caller, client: Client, word: str) -> None:
    result, calls = caller.charged(word, "player")
    assert result.text == "I see 1 image(s)."
    _check(calls[0], Result())


@pytest.mark.column("schema")
@that("schema")
def test_an_answer_has_the_shape_that_was_asked_for(
    caller: Caller, client: Client, word: str
) -> None:
    result, calls = caller.charged(word, "player")
    assert "Bern" in (result.text or "")
    _check(calls[0], Result())


@pytest.mark.column("reasoning")
@that("reasoning")
def test_thoughts_are_shown_and_paid_for(caller: Caller, client: Client, word: str) -> None:
    result, calls = caller.charged(word, "thinker")
    assert result.text == PLAYED
    assert result.reasoning == THOUGHT
    _check(calls[0], result)


@pytest.mark.column("embeddings")
@pytest.mark.parametrize("model", ["vectors", EMBEDDED_VECTORS])
@that("embed")
def test_embeddings_cost_exactly_what_their_usage_says(
    caller: Caller, client: Client, word: str, model: str
) -> None:
    result, calls = caller.charged(word, model)
    size = DIMENSIONS if model == "vectors" else 384
    assert result.vectors == (size, size)
    _check(calls[0], result)


@pytest.mark.column("count")
@pytest.mark.parametrize("model", ["player", EMBEDDED])
@that("count")
def test_counting_tokens_is_free(caller: Caller, client: Client, word: str, model: str) -> None:
    known = caller.calls_known()
    result = caller.ask(word, model)
    assert result.refused is None, result.refused
    assert result.usage is not None
    assert result.usage[0] > 0
    assert caller.calls_known() == known


@pytest.mark.column("retries")
@that_talk(and_try_again=True)
def test_a_call_that_is_tried_three_times_is_charged_once(
    caller: Caller, client: Client, word: str
) -> None:
    known = caller.calls_known()
    result = caller.ask(word, "recovers")
    assert result.refused is None, result.refused
    assert result.text == PLAYED
    new = caller.house.calls_after(caller.customer, known)
    [paid] = [call for call in new if call["charge_nanos"]]
    _check(paid, result)


@pytest.mark.column("hang-up")
@that("hang_up")
def test_a_client_that_leaves_pays_for_what_had_arrived(
    caller: Caller, client: Client, word: str
) -> None:
    result, calls = caller.charged(word, "lingers")
    assert result.text is not None
    assert PLAYED.startswith(result.text[:3])
    [call] = calls
    assert call["outcome"] == "hung_up"
    assert call["counted_by"] == "gateway"
    assert 1 <= call["output_tokens"] <= TOKENS_ARRIVED_MAX
    assert call["charge_nanos"] == _price(call)
