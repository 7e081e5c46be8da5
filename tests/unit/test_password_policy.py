"""Guards which passwords are refused, and that the refusal says why and never repeats them."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.password_policy import (
    PASSWORD_BYTES_MAX,
    PASSWORD_CHARS_MIN,
    check_password,
    is_common,
)

EMAIL = "ada.lovelace@example.com"
COMMON = files("latchgate.domain").joinpath("common_passwords.txt").read_text("utf-8").split()
#: Those that begin and end with a letter: what is around them can be told from them.
WORDS = [word for word in COMMON if word[0].isalpha() and word[-1].isalpha()]


def _refusal(password: str, email: str = EMAIL) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check_password(password, email=email)
    assert caught.value.param == "password"
    return caught.value


def _is_taken(password: str, email: str = EMAIL) -> bool:
    try:
        check_password(password, email=email)
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "vukmalti",
        "no digits and no capitals",
        "zürich im regen",
        "日本語パスワード",
        "🐌🐙🦔🐸🐌🐙🦔🐸",
        "dragons eat lovelace",
        "ada.lovelace writes notes",
        "a latchgate of my own",
        "x7#qW2!p",
        " vukmalti ",
    ],
)
def test_length_and_rarity_are_enough(password: str) -> None:
    assert _is_taken(password)


@pytest.mark.parametrize(
    "password", ["", "x", "vukmalt", "x7#qW2!", "日本語パスワー", "🐌🐙🦔🐸🐌🐙🦔"]
)
def test_fewer_than_eight_characters_are_too_few(password: str) -> None:
    refusal = _refusal(password)
    assert refusal.code == "weak_password"
    assert "at least 8 characters" in refusal.public


@pytest.mark.parametrize(
    "password",
    ["vuk malti " * 103, "é" * 513, "🐌🐙🦔🐸" * 65, "x" * 10_000_000],
    ids=["ascii", "two bytes each", "four bytes each", "endless"],
)
def test_more_bytes_than_are_hashed_are_refused(password: str) -> None:
    refusal = _refusal(password)
    assert refusal.code == "string_above_max_length"
    assert str(PASSWORD_BYTES_MAX) in refusal.public


def test_the_longest_password_is_taken() -> None:
    longest = ("vuk malti " * 103)[:PASSWORD_BYTES_MAX]
    assert len(longest) == PASSWORD_BYTES_MAX
    assert _is_taken(longest)
    assert not _is_taken(longest + "x")


@pytest.mark.parametrize(
    "password", ["aaaaaaaa", "abababab", "abcabcabc", "AaBbCcAaBb", "        "]
)
def test_a_few_characters_repeated_are_refused(password: str) -> None:
    assert "repeats" in _refusal(password).public


@pytest.mark.parametrize(
    "password",
    [
        "ada.lovelace@example.com",
        "Ada.Lovelace@Example.COM",
        "ada.lovelace",
        "ADA.LOVELACE",
        "ada.lovelace1815",
        "!!ada.lovelace!!",
        "1815-ada.lovelace",
    ],
)
def test_the_own_address_is_no_password(password: str) -> None:
    assert "your e-mail address" in _refusal(password).public


def test_an_address_is_compared_in_any_case() -> None:
    assert "your e-mail address" in _refusal("ada.lovelace", "ADA.Lovelace@EXAMPLE.com").public


@pytest.mark.parametrize("email", ["", "@", "1@example.com", "+@example.com", "no address"])
def test_an_address_without_a_name_refuses_nobody(email: str) -> None:
    assert _is_taken("vuk malti", email)
    assert _is_taken("1971-06-28", email)


@pytest.mark.parametrize("password", ["latchgate", "LatchGate", "latchgate2026", "!Latchgate!"])
def test_the_name_of_the_product_is_no_password(password: str) -> None:
    assert "product's name" in _refusal(password).public


@pytest.mark.parametrize(
    "password",
    [
        "12345678",
        "123456789",
        "0123456789",
        "9876543210",
        "90123456",
        "abcdefgh",
        "stuvwxyz",
        "zyxwvuts",
        "qwertyui",
        "QWERTYUIOP",
        "poiuytrewq",
        "asdfghjkl",
    ],
)
def test_a_row_of_neighbours_is_refused_in_both_directions(password: str) -> None:
    assert "neighbouring" in _refusal(password).public


@pytest.mark.parametrize(
    "password",
    [
        "password",
        "Password",
        "PASSWORD1!",
        "123password123",
        "P4ssw0rd",
        "p@$$w0rd",
        "p4ssw0rd99",
        "passwordpassword",
        "dragondragon",
        "iloveyou",
        "1qaz2wsx",
        "Superman2026",
    ],
)
def test_what_is_tried_first_is_refused_in_its_usual_disguises(password: str) -> None:
    refusal = _refusal(password)
    assert refusal.code == "weak_password"
    assert "tried first" in refusal.public


def test_every_listed_word_is_known_in_every_disguise() -> None:
    missed = [
        written
        for word in WORDS
        for written in (word, f"{word}{word}", f"!{word}?", f"{word}2026")
        if not is_common(written)
    ]
    assert missed == []


def test_every_listed_password_is_refused() -> None:
    assert [word for word in COMMON if _is_taken(word) or _is_taken(word.upper())] == []


@given(st.sampled_from(WORDS), st.text("0123456789!?.-#", min_size=2, max_size=6))
def test_digits_and_signs_around_do_not_save_a_listed_word(word: str, around: str) -> None:
    assert not _is_taken(around + word + around)
    assert not _is_taken(word.title() + around)


def test_the_list_is_lower_case_plain_and_without_repetition() -> None:
    assert len(COMMON) > 500
    assert len(set(COMMON)) == len(COMMON)
    assert all(word == word.casefold() and word.isascii() for word in COMMON)


@given(st.text(), st.text())
def test_any_text_is_taken_or_refused_without_another_exception(password: str, email: str) -> None:
    taken = _is_taken(password, email)
    assert not (taken and len(password) < PASSWORD_CHARS_MIN)


@pytest.mark.parametrize(
    "password", ["\ud800" * 9, "\x00\x01\x02\x03\x04\x05\x06\x07\udfff", "\udfff" * 400]
)
def test_broken_text_is_judged_like_any_other(password: str) -> None:
    assert _is_taken(password) is (len(set(password)) >= 4)


@pytest.mark.parametrize("password", ["hunter2", "password1!", "ada.lovelace1815", "aabbccaabb"])
def test_a_refusal_never_repeats_the_password(password: str) -> None:
    refusal = _refusal(password)
    assert password not in str(refusal.envelope())
    assert password not in refusal.internal
