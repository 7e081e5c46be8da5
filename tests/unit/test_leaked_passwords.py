"""Guards that none of the passwords is taken that are tried first anywhere (ASVS 6.2.4)."""

from __future__ import annotations

import pytest

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.password_policy import PASSWORD_CHARS_MIN
from latchgate.services.passwords import check_password, leaked_passwords

TOP = 3000


def _is_taken(password: str) -> bool:
    try:
        check_password(password, email="somebody@example.com")
    except InvalidRequest:
        return False
    return True


def test_none_of_the_three_thousand_commonest_of_our_length_is_taken_in_any_case() -> None:
    long_enough = [word for word in leaked_passwords() if len(word) >= PASSWORD_CHARS_MIN]
    assert len(long_enough) >= TOP
    assert [word for word in long_enough if _is_taken(word) or _is_taken(word.upper())] == []


@pytest.mark.parametrize("password", ["1qazxsw2", "Godzilla99!", "!!!nintendo", "midnight2026"])
def test_digits_and_signs_around_do_not_save_one(password: str) -> None:
    assert not _is_taken(password)


@pytest.mark.parametrize(
    "password", ["seven quiet violet llamas", "midnight godzilla nintendo", "x" + "łąkę" * 3]
)
def test_what_is_long_and_rare_is_taken(password: str) -> None:
    assert _is_taken(password)
