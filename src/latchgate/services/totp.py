"""Codes of six digits that an app on a phone makes from the time and a shared secret (RFC 6238)."""

from __future__ import annotations

import base64
import hmac
import os
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

STEP_S = 30
DIGITS = 6
#: RFC 4226, section 4, asks for 128 bits and recommends 160.
SECRET_BYTES = 20
#: A phone's clock may be so many steps ahead or behind (RFC 6238, section 5.2).
STEPS_OFF_MAX = 1
ISSUER = "Latchgate"


def mint_secret() -> bytes:
    """A secret of 160 random bits."""
    return os.urandom(SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """A secret as it is typed into an app."""
    return base64.b32encode(secret).decode()


def read_secret(text: str) -> bytes:
    """A secret from its text, however its groups are parted."""
    return base64.b32decode("".join(text.split()).upper())


def setup_uri(secret: bytes, email: str) -> str:
    """What the QR code says, in the form that every such app reads."""
    fields = {"secret": secret_text(secret), "issuer": ISSUER}
    return f"otpauth://totp/{quote(f'{ISSUER}:{email}')}?{urlencode(fields)}"


def code_at(secret: bytes, step: int) -> str:
    """The code of a step of thirty seconds since 1970."""
    # SHA-1 as in the RFC: apps know no other, and an HMAC does not lean on what is broken in it.
    return HOTP(secret, DIGITS, SHA1()).generate(step).decode()  # noqa: S303


def find_step(secret: bytes, code: str, now_s: int) -> int | None:
    """The step that a code is of, now or one beside it; None for a wrong one.

    Every step is compared, in constant time, whether or not one before it was the right one.
    """
    step, found = now_s // STEP_S, None
    for near in range(step - STEPS_OFF_MAX, step + STEPS_OFF_MAX + 1):
        if hmac.compare_digest(code_at(secret, near).encode(), code.encode()):
            found = near
    return found
