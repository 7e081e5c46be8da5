"""Guards what people read of money: prices with their zeros, and refusals word for word."""

from __future__ import annotations

import pytest

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import parse_usd
from latchgate.domain.prices import format_price, parse_price


@pytest.mark.parametrize(
    ("picos", "text"),
    [
        (0, "0.00"),
        (1, "0.000001"),
        (10, "0.00001"),
        (150_000, "0.15"),
        (500_000, "0.50"),
        (1_000_000, "1.00"),
        (2_500_000, "2.50"),
        (10_050_000, "10.05"),
        (15_125_000, "15.125"),
        (999_999_999_999, "999999.999999"),
    ],
)
def test_a_price_is_written_with_two_decimals_or_as_many_as_it_has(picos: int, text: str) -> None:
    assert format_price(picos) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "five",
            "An amount is decimal US dollars with at most nine decimals, such as 5.00.",
        ),
        ("1000000001", "An amount is at most 1000000000 US dollars."),
        ("0", "An amount must be more than zero, such as 5.00."),
    ],
)
def test_a_refused_amount_is_told_in_a_whole_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_usd(text)
    assert caught.value.public == sentence


def test_a_refused_price_is_told_in_a_whole_sentence() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_price("1e3", param="input_price")
    assert caught.value.public == (
        "A price is US dollars per million tokens with at most six decimals, such as 0.15."
    )
