"""Guards that a code is read however it is typed, and that no slip of the finger makes another."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latchgate.domain.redemption_codes import CODE_CHARS, mint_code, read_code

LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PLACES = st.integers(0, CODE_CHARS - 1)


def _bare() -> str:
    return mint_code().replace("-", "")


def test_a_code_is_five_groups_of_four_and_reads_as_itself() -> None:
    for _ in range(200):
        code = mint_code()
        assert [len(group) for group in code.split("-")] == [4] * 5
        assert set(code) <= {*LETTERS, "-"}
        assert read_code(code) == code.replace("-", "")


def test_codes_are_not_made_twice() -> None:
    assert len({mint_code() for _ in range(2000)}) == 2000


@given(st.integers(), st.sampled_from([str.lower, str.upper, str.title]))
def test_case_hyphens_and_spaces_do_not_matter(spread: int, recase: object) -> None:
    code = _bare()
    assert callable(recase)
    at = spread % CODE_CHARS
    typed = f"  {code[:at]} - {code[at:]}\t"
    assert read_code(recase(typed)) == code


def test_letters_that_look_like_digits_are_read_as_digits() -> None:
    code = next(code for code in iter(_bare, "") if "0" in code and "1" in code)
    for zero, one in (("O", "I"), ("o", "l"), ("O", "L"), ("o", "i")):
        assert read_code(code.replace("0", zero).replace("1", one)) == code


@given(PLACES, st.sampled_from(LETTERS))
def test_one_wrong_letter_always_shows(at: int, letter: str) -> None:
    code = _bare()
    assume(code[at] != letter)
    assert read_code(code[:at] + letter + code[at + 1 :]) is None


@given(st.integers(0, CODE_CHARS - 2))
def test_two_neighbours_that_changed_places_always_show(at: int) -> None:
    code = _bare()
    assume(code[at] != code[at + 1])
    assert read_code(code[:at] + code[at + 1] + code[at] + code[at + 2 :]) is None


@given(PLACES)
def test_a_missing_or_doubled_letter_always_shows(at: int) -> None:
    code = _bare()
    assert read_code(code[:at] + code[at + 1 :]) is None
    assert read_code(code[:at] + code[at] + code[at:]) is None


@pytest.mark.parametrize(
    "typed", ["", "-", "U" * 20, "0" * 19 + "é", "٠" * 20, "0" * 65, "sk-lg-" + "0" * 14, "\0" * 20]
)
def test_junk_is_no_code(typed: str) -> None:
    assert read_code(typed) is None


@given(st.text(max_size=80))
def test_whatever_is_typed_is_a_code_or_nothing(typed: str) -> None:
    read = read_code(typed)
    assert read is None or set(read) <= set(string.ascii_uppercase + string.digits)
