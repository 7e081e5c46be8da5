"""Guards that an amount of money is read and written exactly, or refused by name."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.money import AMOUNT_NANOS_MAX, NANOS_PER_USD, format_usd, parse_usd

#: More than 64 bits, and so more than any column keeps.
ANY_NANOS = st.integers(-(2**70), 2**70)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("5", 5 * NANOS_PER_USD),
        ("5.0", 5 * NANOS_PER_USD),
        ("5.00", 5 * NANOS_PER_USD),
        ("005.00", 5 * NANOS_PER_USD),
        ("0.1", 100_000_000),
        ("0.000000001", 1),
        ("0.010000000", 10_000_000),
        ("1.000000001", 1_000_000_001),
        ("999999999.999999999", AMOUNT_NANOS_MAX - 1),
        ("1000000000", AMOUNT_NANOS_MAX),
        ("1000000000.000000000", AMOUNT_NANOS_MAX),
    ],
)
def test_an_amount_is_read_to_the_last_decimal(text: str, nanos: int) -> None:
    assert parse_usd(text) == nanos


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "5.",
        ".5",
        "-5",
        "-0",
        "+5",
        "--5",
        "−5",  # the minus sign of typography
        "5-",
        "5e2",
        "5E2",
        "1e-9",
        "e",
        "nan",
        "NaN",
        "sNaN",
        "inf",
        "-Infinity",
        "0x10",
        "1_000",
        "1,000",
        "1,5",
        "1 000",
        "1.5.0",
        "$5",
        "5 USD",
        " 5",
        "5 ",
        "5\n",
        "5.00\n",
        "\n5",
        "5\r\n",
        "5\x00",
        "５",  # digits of another script
        "٥",
        "5.٥",
        "²",
        "½",
        "5\u00a0",
        "\ud800",
        "True",
        "None",
    ],
)
def test_what_is_not_plainly_an_amount_is_never_guessed(text: str) -> None:
    with pytest.raises(InvalidRequest, match="decimal US dollars") as caught:
        parse_usd(text, allow_zero=True)
    assert caught.value.param == "amount"
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "text", ["0.0000000001", "1.0000000000", "0.1234567891", "1." + "0" * 5000]
)
def test_a_tenth_decimal_is_refused_rather_than_rounded(text: str) -> None:
    with pytest.raises(InvalidRequest, match="at most nine decimals"):
        parse_usd(text)


@pytest.mark.parametrize("text", ["1000000000.000000001", "1000000001", "9999999999.999999999"])
def test_an_amount_above_the_largest_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="at most 1000000000 US dollars"):
        parse_usd(text)


@pytest.mark.parametrize("text", ["10000000000", "9" * 30, "9" * 5000, "0" * 5000 + "1"])
def test_an_endless_row_of_digits_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_usd(text)
    assert len(caught.value.public) < 200


@pytest.mark.parametrize("text", ["0", "0.0", "0.000000000", "0000"])
def test_zero_is_an_amount_only_where_it_is_allowed(text: str) -> None:
    assert parse_usd(text, allow_zero=True) == 0
    with pytest.raises(InvalidRequest, match="more than zero"):
        parse_usd(text)


@pytest.mark.parametrize("text", ["x", "0", "1000000001"])
def test_every_refusal_names_the_field_it_was_told(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_usd(text, param="daily_limit")
    assert caught.value.param == "daily_limit"


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (5_000_000_000, "5.00"),
        (-5_000_000_000, "-5.00"),
        (5_100_000_000, "5.10"),
        (-21_820, "-0.00002182"),
        (1_234_567_890, "1.23456789"),
        (AMOUNT_NANOS_MAX, "1000000000.00"),
    ],
)
def test_an_amount_is_written_in_full(nanos: int, text: str) -> None:
    assert format_usd(nanos) == text


@pytest.mark.parametrize(
    ("decimals_min", "text"), [(0, "7"), (1, "7.0"), (2, "7.00"), (9, "7.000000000")]
)
def test_the_fewest_decimals_are_asked_for(decimals_min: int, text: str) -> None:
    assert format_usd(7 * NANOS_PER_USD, decimals_min=decimals_min) == text


@given(ANY_NANOS, st.integers(0, 9))
@example(2**63 - 1, 2)
@example(-(2**63), 2)
def test_what_is_written_is_exactly_the_amount(nanos: int, decimals_min: int) -> None:
    text = format_usd(nanos, decimals_min=decimals_min)
    assert Decimal(text).scaleb(9) == nanos
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]{1,9})?", text)
    assert len(text.partition(".")[2]) >= decimals_min


@given(st.integers(0, AMOUNT_NANOS_MAX), st.integers(0, 9))
def test_what_is_written_is_read_back(nanos: int, decimals_min: int) -> None:
    assert parse_usd(format_usd(nanos, decimals_min=decimals_min), allow_zero=True) == nanos


@given(st.one_of(st.text(), st.text("0123456789.eE+-_naif \n", max_size=22)))
def test_any_text_is_the_decimal_it_looks_like_or_a_refusal(text: str) -> None:
    try:
        nanos = parse_usd(text, allow_zero=True)
    except InvalidRequest as refusal:
        assert refusal.param == "amount"  # noqa: PT017 (a refusal is one of the two right answers)
    else:
        assert Decimal(text).scaleb(9) == nanos
        assert 0 <= nanos <= AMOUNT_NANOS_MAX
