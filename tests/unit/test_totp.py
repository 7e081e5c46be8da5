"""Guards codes from an app: RFC 6238's own figures, and how far off a clock may be."""

from __future__ import annotations

import pytest

from latchgate.services import recovery_codes, totp

SECRET = b"12345678901234567890"
NOW_S = 1_700_000_000


@pytest.mark.parametrize(
    ("at_s", "code"),
    [
        (59, "94287082"),
        (1_111_111_109, "07081804"),
        (1_111_111_111, "14050471"),
        (1_234_567_890, "89005924"),
        (2_000_000_000, "69279037"),
        (20_000_000_000, "65353130"),
    ],
)
def test_codes_are_those_of_the_rfc(at_s: int, code: str) -> None:
    """Appendix B, in the last six of its eight digits."""
    assert totp.code_at(SECRET, at_s // totp.STEP_S) == code[-6:]


@pytest.mark.parametrize(
    ("off", "is_taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_a_clock_may_be_one_step_off_and_no_more(off: int, *, is_taken: bool) -> None:
    step = NOW_S // totp.STEP_S + off
    found = totp.find_step(SECRET, totp.code_at(SECRET, step), NOW_S)
    assert found == (step if is_taken else None)


def test_the_address_in_a_uri_cannot_become_another_field() -> None:
    uri = totp.setup_uri(SECRET, "a&issuer=Bank?secret=x@example.com")
    assert uri.startswith(
        "otpauth://totp/Latchgate%3Aa%26issuer%3DBank%3Fsecret%3Dx%40example.com?"
    )
    assert uri.endswith(f"?secret={totp.secret_text(SECRET)}&issuer=Latchgate")


def test_a_secret_is_read_however_it_was_grouped() -> None:
    text = totp.secret_text(SECRET)
    assert totp.read_secret(f" {text[:4]} {text[4:].lower()}\n") == SECRET


def test_a_recovery_code_is_read_however_it_was_typed_and_has_120_bits() -> None:
    (code, *others) = recovery_codes.mint_codes()
    assert len({code, *others}) == recovery_codes.CODES
    bare = recovery_codes.bare(code)
    assert len(bare) == 24
    for typed in (code, code.upper(), f" {code.replace('-', ' ')}\t", bare.replace("0", "O")):
        assert recovery_codes.read_code(typed) == bare
    for typed in ("", bare[:-1], f"{bare}0", "u" * 24, "123456", "é" * 24):
        assert recovery_codes.read_code(typed) is None


def test_the_same_code_of_two_users_is_kept_as_two_hashes() -> None:
    (code, *_) = recovery_codes.mint_codes()
    first = recovery_codes.hash_code("usr_a", code, b"pepper")
    assert first != recovery_codes.hash_code("usr_b", code, b"pepper")
    assert first != recovery_codes.hash_code("usr_a", code, b"other")
