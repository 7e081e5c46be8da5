"""Guards what an API key's text is, that a mistyped one is known, and what is kept of it."""

from __future__ import annotations

import hashlib
import hmac
import re
import string
import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from latchgate.domain.secrets import (
    ADMIN_PREFIX,
    KEY_CHARS,
    KEY_PREFIX,
    MintedKey,
    digest,
    is_admin_key,
    masked,
    mint_key,
    mint_token,
    public_id_of,
)

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def _check_of(body: str) -> str:
    """The last six characters of a key, from the definition: CRC-32 as a number in base 62."""
    number, digits = zlib.crc32(body.encode("ascii")), ""
    while number:
        digits = BASE62[number % 62] + digits
        number //= 62
    return digits.rjust(6, "0")


BODY = "sk-lg-" + "4tQ9aB7cD1eF" + "9fKzX0" * 5 + "2w"
KEY = BODY + _check_of(BODY)


@given(st.text(BASE62, min_size=44, max_size=44))
def test_a_key_is_prefix_id_secret_and_checksum(chars: str) -> None:
    body = "sk-lg-" + chars
    assert public_id_of(body + _check_of(body)) == chars[:12]


def test_a_minted_key_has_the_documented_shape() -> None:
    key = mint_key()
    assert (KEY_PREFIX, KEY_CHARS) == ("sk-lg-", 6 + 12 + 32 + 6)
    assert re.fullmatch(r"sk-lg-[0-9A-Za-z]{50}", key.text)
    assert key.text[6:18] == key.public_id
    assert key.text[-6:] == _check_of(key.text[:-6])
    assert public_id_of(key.text) == key.public_id
    assert key.last_four == key.text[-4:]


def test_no_two_keys_share_an_id_or_a_secret() -> None:
    keys = [mint_key() for _ in range(2000)]
    assert len({key.public_id for key in keys}) == 2000
    assert len({key.text[18:50] for key in keys}) == 2000


def test_every_character_of_the_alphabet_is_used_in_secrets() -> None:
    assert set("".join(mint_key().text[18:50] for _ in range(500))) == set(BASE62)


def test_a_key_does_not_print_its_secret() -> None:
    key = mint_key()
    for shown in (repr(key), str(key), f"{key}", repr([key])):
        assert key.public_id in shown
        assert key.text not in shown
        assert key.text[18:50] not in shown


@given(st.integers(0, KEY_CHARS - 1), st.sampled_from(BASE62 + "-_ é٣\n\x00"))
def test_any_one_changed_character_is_refused(place: int, char: str) -> None:
    key = mint_key().text
    assume(key[place] != char)
    assert public_id_of(key[:place] + char + key[place + 1 :]) is None


def test_every_one_changed_character_of_one_key_is_refused() -> None:
    accepted = [
        (place, char)
        for place in range(KEY_CHARS)
        for char in BASE62
        if char != KEY[place] and public_id_of(KEY[:place] + char + KEY[place + 1 :]) is not None
    ]
    assert accepted == []


@given(st.integers(0, KEY_CHARS - 2))
def test_two_neighbours_in_the_wrong_order_are_refused(place: int) -> None:
    key = mint_key().text
    assume(key[place] != key[place + 1])
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert public_id_of(swapped) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEY_PREFIX,
        KEY[:-1],
        KEY[1:],
        KEY + "0",
        KEY + "\n",
        "\n" + KEY[1:],
        KEY[:-1] + "\n",
        " " + KEY,
        KEY + " ",
        KEY + KEY,
        KEY.upper(),
        KEY.replace("sk-lg-", "SK-LG-"),
        KEY.replace("sk-lg-", "sk-la-"),
        KEY.replace("sk-lg-", "sk—lg-"),
        KEY.replace("sk-lg-", ""),
        "Bearer " + KEY,
        "０" * KEY_CHARS,
        KEY[:6] + "é" * 50,
        KEY[:6] + "٣" * 50,
        KEY[:6] + "\ud800" * 50,
        KEY[:-1] + "\udfff",
        KEY[:-1] + "\U0001f511",
        "\x00" * KEY_CHARS,
        KEY_PREFIX + "0" * 50,
        "sk-" + "a" * 48,
        pytest.param("x" * 1_000_000, id="endless"),
    ],
)
def test_what_is_no_key_is_refused_without_an_exception(text: str) -> None:
    assert public_id_of(text) is None


@given(
    st.one_of(
        st.text(),
        st.text(min_size=KEY_CHARS, max_size=KEY_CHARS),
        st.text(BASE62, min_size=50, max_size=50).map(lambda rest: KEY_PREFIX + rest),
        st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    )
)
def test_junk_is_only_a_key_when_its_checksum_is_right(text: str) -> None:
    body = text[:-6]
    is_key = re.fullmatch(r"sk-lg-[0-9A-Za-z]{50}", text, re.ASCII) is not None
    expected = text[6:18] if is_key and _check_of(body) == text[-6:] else None
    assert public_id_of(text) == expected


@given(st.text(st.characters(codec="utf-8")), st.binary(min_size=1, max_size=200))
def test_what_is_kept_is_hmac_sha256_under_the_pepper(text: str, pepper: bytes) -> None:
    assert digest(text, pepper) == hmac.new(pepper, text.encode(), hashlib.sha256).digest()


def test_another_pepper_or_another_key_keeps_something_else() -> None:
    pepper = b"p" * 32
    assert digest(KEY, pepper) != digest(KEY, b"q" * 32)
    assert digest(KEY, pepper) != digest(mint_key().text, pepper)
    assert digest(KEY, pepper) != hashlib.sha256(KEY.encode()).digest()


def test_a_masked_key_shows_its_first_eight_and_last_four() -> None:
    assert masked(KEY) == f"{KEY[:8]}…{KEY[-4:]}"


@given(st.text())
def test_a_masked_text_never_shows_more_than_half_of_itself(text: str) -> None:
    shown = masked(text)
    assert len(shown) <= 13
    if len(text) < KEY_CHARS // 2:
        assert shown == "****"


def test_a_token_is_256_bits_that_need_no_escaping() -> None:
    tokens = [mint_token() for _ in range(500)]
    assert len(set(tokens)) == 500
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)


def test_a_key_in_hand_cannot_be_changed() -> None:
    key = MintedKey(text=KEY, public_id=KEY[6:18])
    with pytest.raises(AttributeError):
        key.text = "other"  # type: ignore[misc]
    assert key.text == KEY


def test_an_admin_key_cannot_be_taken_for_an_accounts_key_nor_the_other_way_round() -> None:
    admin, key = mint_key(ADMIN_PREFIX).text, mint_key().text
    assert is_admin_key(admin)
    assert public_id_of(admin) is None
    assert not is_admin_key(key)
    # Not with the other's prefix either: the checksum is over the prefix, too.
    assert public_id_of(KEY_PREFIX + admin.removeprefix(ADMIN_PREFIX)) is None
    assert not is_admin_key(ADMIN_PREFIX + key.removeprefix(KEY_PREFIX))
    assert not is_admin_key(admin[:-1])
    assert not is_admin_key(admin + "\n")
