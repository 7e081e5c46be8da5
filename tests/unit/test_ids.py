"""Guards that ids are unique, sort by time, and say nothing but their noun and their age."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.domain.ids import id_of, is_id, new_id

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
NOW_US = 1_790_000_000_000_000
#: Up to the year 10889, where 48 bits of milliseconds end.
TIMES_US = st.integers(0, (1 << 48) * 1000 - 1)
PREFIXES = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8)


def _time_ms(made: str) -> int:
    """The milliseconds inside an id, from the layout of a ULID: the first ten of its digits."""
    number = 0
    for digit in made.rpartition("_")[2][:10]:
        number = number * 32 + CROCKFORD.index(digit)
    return number


@given(PREFIXES, TIMES_US)
def test_an_id_is_its_prefix_and_26_digits_that_begin_with_the_time(
    prefix: str, now_us: int
) -> None:
    made = new_id(prefix, now_us)
    assert re.fullmatch(rf"{prefix}_[{CROCKFORD}]{{26}}", made)
    assert is_id(made)
    assert _time_ms(made) == now_us // 1000


@given(TIMES_US, TIMES_US)
def test_ids_sort_as_text_by_the_millisecond_they_were_made(one_us: int, other_us: int) -> None:
    one, other = new_id("acct", one_us), new_id("acct", other_us)
    if one_us // 1000 < other_us // 1000:
        assert one < other
    elif one_us // 1000 > other_us // 1000:
        assert one > other
    else:
        assert one != other


def test_ids_of_the_same_instant_are_unique() -> None:
    assert len({new_id("evt", NOW_US) for _ in range(20_000)}) == 20_000


def test_all_that_is_random_in_an_id_varies() -> None:
    tails = [new_id("evt", NOW_US)[-16:] for _ in range(2000)]
    for place in range(16):
        assert {tail[place] for tail in tails} == set(CROCKFORD)


def test_letters_that_look_like_digits_are_not_used() -> None:
    written = "".join(new_id("ab", NOW_US + step).partition("_")[2] for step in range(2000))
    assert not set(written) & set("ilou")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acct",
        "acct_",
        "_" + "0" * 26,
        "a_" + "0" * 26,
        "abcdefghi_" + "0" * 26,
        "acct_" + "0" * 25,
        "acct_" + "0" * 27,
        "ACCT_" + "0" * 26,
        "acct_" + "A" * 26,
        "acct_" + "i" * 26,
        "acct_" + "l" * 26,
        "acct_" + "o" * 26,
        "acct_" + "u" * 26,
        "acct-" + "0" * 26,
        "acct_" + "٣" * 26,
        "acct_" + "0" * 26 + "\n",
        " acct_" + "0" * 26,
        "acct_" + "0" * 25 + "'",
        "../" + "0" * 26,
        "\ud800",
        pytest.param("a" * 1_000_000, id="endless"),
    ],
)
def test_what_is_no_id_is_known(text: str) -> None:
    assert not is_id(text)


@given(st.text())
def test_any_text_is_an_id_or_not_without_an_exception(text: str) -> None:
    assert is_id(text) is (re.fullmatch(rf"[a-z]{{2,8}}_[{CROCKFORD}]{{26}}", text) is not None)


def test_the_id_of_a_name_is_always_the_same_and_of_another_another() -> None:
    found = id_of("pst", "adm_1 order 7")
    assert is_id(found)
    assert found == id_of("pst", "adm_1 order 7")
    others = {
        id_of("pst", "adm_1 order 8"),
        id_of("pst", "adm_2 order 7"),
        id_of("cbt", "adm_1 order 7"),
    }
    assert len(others | {found}) == 4
