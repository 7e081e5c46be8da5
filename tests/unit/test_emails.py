"""Guards what an e-mail address is, and that one address has one spelling for look-ups."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.domain.errors import InvalidRequest
from latchgate.services.emails import EMAIL_CHARS_MAX, checked_email, email_key, find_key

ADDRESSES = st.one_of(
    st.emails(),
    st.builds("{}@{}.example".format, st.text(min_size=1, max_size=8), st.text(max_size=8)),
    st.builds(
        "{}@{}.{}".format,
        st.text("abcXYZ019.+-_'ßéжΩı", min_size=1),
        st.text("abcXYZ019-äß", min_size=1),
        st.sampled_from(["com", "de", "COM", "рф", "xn--p1ai"]),
    ),
)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  ada@example.com ", "ada@example.com"),
        ("Ada@EXAMPLE.Com", "Ada@example.com"),
        ("ada+keys@example.com", "ada+keys@example.com"),
        ("a.b-c_d'e@mail.example.com", "a.b-c_d'e@mail.example.com"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("ada@bücher.example", "ada@bücher.example"),
        ("ada@ｅxample.com", "ada@example.com"),
        ("ада@пример.рф", "ада@пример.рф"),
        ("ada@пример.рф", "ada@пример.рф"),
        ("e\u0301va@example.com", "\u00e9va@example.com"),
        ("ada@example.test", "ada@example.test"),
    ],
)
def test_an_address_is_kept_in_its_normal_form(typed: str, kept: str) -> None:
    assert checked_email(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "@",
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "ada@test",
        "ada@127.0.0.1",
        "ada@[127.0.0.1]",
        "ada@[IPv6:::1]",
        "ada@example..com",
        "ada@example.com.",
        "ada@.example.com",
        "ada@-example.com",
        "ada@exam_ple.com",
        "ada@example.com@example.org",
        "a..b@example.com",
        ".ada@example.com",
        "ada.@example.com",
        '"a b"@example.com',
        "Ada <ada@example.com>",
        "ada@example.com, eve@example.com",
        "ada example@example.com",
        "mailto:ada@example.com",
        "ada@example.com/",
        "ada@example.com?bcc=eve@example.com",
        "ada＠example.com",
    ],
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(InvalidRequest, match="not an e-mail address") as caught:
        checked_email(typed)
    assert (caught.value.code, caught.value.param) == ("invalid_email", "email")
    assert find_key(typed) is None


@pytest.mark.parametrize(
    "char",
    [
        "\n",
        "\r",
        "\r\nBcc: eve@example.com\r\n",
        "\t",
        "\x00",
        "\x7f",
        "\x85",
        "\u00a0",
        "\u00ad",
        "\u200b",
        "\u202e",
        "\u2028",
        "\ufeff",
        "\ud800",
        "\U000e0041",
    ],
)
def test_what_cannot_be_seen_is_in_no_address(char: str) -> None:
    places = ("{}ada@example.com", "a{}da@example.com", "ada@{}example.com", "ada@example.com{}")
    assert [place for place in places if find_key(place.format(char)) is not None] == []


@pytest.mark.parametrize(
    "typed",
    [
        "аda@example.com",  # the first letter is Cyrillic
        "ada@exаmple.com",  # one letter of the domain is Cyrillic
        "adα@example.com",  # the last letter is Greek
        "ada@δelta.example.com",
        "раypal@example.com",
        "Ꭺda@example.com",  # the first letter is Cherokee
    ],
)
def test_look_alike_alphabets_are_not_mixed(typed: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_email(typed)


@pytest.mark.parametrize("typed", ["ｄаｄа@example.com", "𝐝а@example.com"])
def test_a_mix_is_seen_through_wide_and_bold_forms_of_its_letters(typed: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_email(typed)


def test_an_endless_address_is_refused() -> None:
    labels = ".".join(["b" * 60] * 3)
    longest = f"{'a' * 60}@{labels}.com"
    assert len(longest) <= EMAIL_CHARS_MAX
    assert find_key(longest) == longest
    assert find_key(f"{'a' * 60}@{labels}.{'c' * 20}.com") is None
    assert find_key("a" * 1_000_000 + "@example.com") is None
    assert find_key("ada@" + "a." * 500_000 + "com") is None
    assert find_key("ada@" + "b" * 64 + ".com") is None


@pytest.mark.parametrize(
    "spellings",
    [
        ("ada@example.com", "ADA@EXAMPLE.COM", "Ada@Example.com", " ada@example.com "),
        ("ada@bücher.example", "ADA@BÜCHER.EXAMPLE", "ada@xn--bcher-kva.example"),
        ("\u00e9va@example.com", "e\u0301va@example.com", "\u00c9VA@EXAMPLE.COM"),
        ("ада@пример.рф", "АДА@ПРИМЕР.РФ", "ада@xn--e1afmkfd.xn--p1ai"),
        ("ａda@example.com", "ada@example.com", "ＡDA@example.com"),
        ("νίκος@example.com", "ΝΊΚΟΣ@example.com", "Νίκος@example.com"),
    ],
)
def test_all_cases_and_forms_of_an_address_have_one_key(spellings: tuple[str, ...]) -> None:
    assert len({find_key(spelling) for spelling in spellings} - {None}) == 1


@pytest.mark.parametrize("letter", ["ΐ", "ΰ"])
def test_a_letter_with_two_accents_has_one_key_in_both_cases(letter: str) -> None:
    assert email_key(f"{letter}@example.com") == email_key(f"{letter.upper()}@example.com")


def test_different_addresses_have_different_keys() -> None:
    typed = ["ada@example.com", "a.da@example.com", "ada+x@example.com", "ada@example.org"]
    assert len({find_key(text) for text in typed}) == len(typed)


@given(ADDRESSES)
def test_any_text_is_an_address_or_refused_without_another_exception(typed: str) -> None:
    try:
        kept = checked_email(typed)
    except InvalidRequest:
        assert find_key(typed) is None
    else:
        assert kept.isprintable()
        assert " " not in kept
        assert kept.count("@") == 1
        assert kept == unicodedata.normalize("NFC", kept)
        assert find_key(typed) == email_key(kept)


@given(ADDRESSES)
def test_what_is_kept_is_kept_unchanged_when_it_is_typed_again(typed: str) -> None:
    if find_key(typed) is not None:
        kept = checked_email(typed)
        assert checked_email(kept) == kept
    assert find_key(typed) == find_key(f"  {typed} ")


@given(st.text())
def test_a_key_of_a_key_is_that_key(text: str) -> None:
    key = email_key(text)
    assert email_key(key) == key
