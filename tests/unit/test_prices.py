"""Guards that tokens cost exactly what their price says, rounded once and never guessed."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.prices import Price, format_price, parse_price, round_half_even, share_of
from latchgate.domain.usage import NOTHING, TOKENS_MAX, Usage

#: The dearest price that can be written: 999999.999999 US dollars per million tokens.
PICOS_MAX = 999_999_999_999
NANOS_PER_USD = 10**9

#: Small numbers meet ties often; large ones would lose digits in a float.
PICOS = st.one_of(st.integers(0, 2000), st.integers(0, PICOS_MAX))
TOKENS = st.one_of(st.integers(0, 50), st.integers(0, TOKENS_MAX))
PRICES = st.builds(Price, st.just("price_1"), PICOS, PICOS, PICOS)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    input_tokens = draw(TOKENS)
    return Usage(input_tokens, draw(st.integers(0, input_tokens)), draw(TOKENS))


def _exact_nanos(price: Price, usage: Usage) -> Fraction:
    """The charge without rounding, from the definition: US dollars per million tokens."""
    usd = [
        Fraction(picos, 10**6) * Fraction(tokens, 10**6)
        for picos, tokens in (
            (price.input_picos, usage.input_tokens - usage.cached_tokens),
            (price.cached_picos, usage.cached_tokens),
            (price.output_picos, usage.output_tokens),
        )
    ]
    return sum(usd, Fraction(0)) * NANOS_PER_USD


@given(PRICES, usages())
@example(Price("p", 500, 0, 0), Usage(1, 0, 0))
@example(Price("p", 500, 0, 0), Usage(3, 0, 0))
@example(Price("p", PICOS_MAX, PICOS_MAX, PICOS_MAX), Usage(TOKENS_MAX, 1, TOKENS_MAX))
def test_a_charge_is_the_exact_sum_rounded_half_to_even_once(price: Price, usage: Usage) -> None:
    assert price.charge_nanos(usage) == round(_exact_nanos(price, usage))


@pytest.mark.parametrize(
    ("tokens", "nanos"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3), (7, 4)]
)
def test_half_a_nano_goes_to_the_even_neighbour(tokens: int, nanos: int) -> None:
    assert Price("p", 500, 0, 0).charge_nanos(Usage(tokens, 0, 0)) == nanos


def test_halves_of_two_classes_are_added_before_they_are_rounded() -> None:
    price = Price("p", 500, 0, 500)
    assert price.charge_nanos(Usage(1, 0, 1)) == 1
    assert price.charge_nanos(Usage(1, 0, 0)) + price.charge_nanos(Usage(0, 0, 1)) == 0


def test_a_published_price_list_gives_the_published_bill() -> None:
    price = Price("p", parse_price("2.5", param="i"), 1_250_000, parse_price("10", param="o"))
    assert price.charge_nanos(Usage(1_000_000, 0, 1_000_000)) == 12_500_000_000
    assert price.charge_nanos(Usage(1_000_000, 400_000, 0)) == 2_000_000_000


@given(usages())
def test_a_zero_price_is_free_for_any_usage(usage: Usage) -> None:
    free = Price("p", 0, 0, 0)
    assert free.is_free
    assert free.charge_nanos(usage) == 0
    assert free.bound_nanos(usage.input_tokens, usage.output_tokens) == 0
    assert free.output_tokens_affordable(usage.input_tokens, 0) is None


@pytest.mark.parametrize("picos", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_one_priced_class_is_enough_not_to_be_free(picos: tuple[int, int, int]) -> None:
    assert not Price("p", *picos).is_free


@given(PRICES)
def test_no_tokens_cost_nothing(price: Price) -> None:
    assert price.charge_nanos(NOTHING) == 0


@given(PRICES, usages())
def test_cached_tokens_are_charged_at_their_own_price_only(price: Price, usage: Usage) -> None:
    all_cached = Usage(usage.input_tokens, usage.input_tokens, usage.output_tokens)
    dearer_input = dataclasses.replace(price, input_picos=price.input_picos + 1_000_000)
    assert price.charge_nanos(all_cached) == dearer_input.charge_nanos(all_cached)
    same = dataclasses.replace(price, cached_picos=price.input_picos)
    none_cached = msgspec.structs.replace(usage, cached_tokens=0)
    assert same.charge_nanos(usage) == price.charge_nanos(none_cached)


@given(PRICES, usages(), TOKENS, TOKENS)
def test_the_bound_is_never_below_the_charge(
    price: Price, usage: Usage, more_input: int, more_output: int
) -> None:
    bound = price.bound_nanos(usage.input_tokens + more_input, usage.output_tokens + more_output)
    assert price.charge_nanos(usage) <= bound


@given(PRICES, TOKENS, TOKENS)
def test_the_bound_is_the_dearest_case_rounded_up(
    price: Price, input_tokens: int, output_tokens: int
) -> None:
    dearest = max(
        _exact_nanos(price, Usage(input_tokens, cached, output_tokens))
        for cached in (0, input_tokens)
    )
    assert 0 <= price.bound_nanos(input_tokens, output_tokens) - dearest < 1


@given(PRICES, TOKENS, st.integers(0, 2**63 - 1))
def test_affordable_output_is_within_the_amount_and_one_more_is_not(
    price: Price, input_tokens: int, amount_nanos: int
) -> None:
    assume(price.output_picos)
    affordable = price.output_tokens_affordable(input_tokens, amount_nanos)
    assert affordable is not None
    assert price.bound_nanos(input_tokens, affordable + 1) > amount_nanos
    if price.bound_nanos(input_tokens, 0) <= amount_nanos:
        assert price.bound_nanos(input_tokens, affordable) <= amount_nanos
    else:
        assert affordable == 0


def test_free_output_is_without_end_only_when_the_input_is_paid() -> None:
    price = Price("p", 1000, 1000, 0)
    assert price.output_tokens_affordable(5, 5) is None
    assert price.output_tokens_affordable(6, 5) == 0


@given(st.integers(0, 2**80), st.integers(1, 2**40))
@example(1, 2)
@example(3, 2)
def test_a_division_rounds_half_to_even(numerator: int, denominator: int) -> None:
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@pytest.mark.parametrize(
    ("text", "picos"),
    [
        ("0", 0),
        ("0.000000", 0),
        ("0.000001", 1),
        ("0.15", 150_000),
        ("15", 15_000_000),
        ("000015", 15_000_000),
        ("999999.999999", PICOS_MAX),
    ],
)
def test_a_price_is_read_to_the_last_decimal(text: str, picos: int) -> None:
    assert parse_price(text, param="input_price") == picos


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".1",
        "-1",
        "+1",
        "-0",
        "1e3",
        "1E-3",
        "nan",
        "NaN",
        "inf",
        "1,5",
        "1_0",
        " 1",
        "1 ",
        "1\n",
        "$1",
        "１",
        "٣",
        "0x1",
        "0.0000001",
        "0.1500000",
        "1000000",
        "9" * 5000,
        "\udfff",
    ],
)
def test_what_is_not_plainly_a_price_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="at most six decimals") as caught:
        parse_price(text, param="input_price")
    assert caught.value.param == "input_price"
    assert len(caught.value.public) < 200


@given(st.integers(0, PICOS_MAX))
def test_a_price_is_written_exactly_and_read_back(picos: int) -> None:
    text = format_price(picos)
    assert Fraction(text) * 10**6 == picos
    assert parse_price(text, param="p") == picos
    assert len(text.partition(".")[2]) >= 2


def test_a_share_of_a_price_is_rounded_half_to_even() -> None:
    shares = [share_of(picos, percent) for picos, percent in ((150_000, 150), (1, 150), (3, 150))]
    assert shares == [225_000, 2, 4]
    assert share_of(0, 150) == 0
