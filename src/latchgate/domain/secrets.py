"""The text of a key, and what is kept of it.

    sk-lg-  4tQ9aB7cD1eF  9fK…(32)…2w  0aZ3xQ
    prefix  public id      secret       CRC-32 of all before it, base 62

An operator's admin key is made in the same way, under a prefix of its own.

The checksum refuses typos and junk without a look-up. The public id names the key in logs and
lists. What is stored is HMAC-SHA-256 of the whole text under the server's pepper, which lives in
a 0600 file outside the database: a copy of the database alone opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass

KEY_PREFIX = "sk-lg-"
ADMIN_PREFIX = "lg-admin-"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PUBLIC_CHARS, _SECRET_CHARS, _CHECK_CHARS = 12, 32, 6
_BLOCK_BYTES = 64
_BODY_CHARS = _PUBLIC_CHARS + _SECRET_CHARS + _CHECK_CHARS
KEY_CHARS = len(KEY_PREFIX) + _BODY_CHARS
_SHAPE = re.compile(rf"{KEY_PREFIX}[0-9A-Za-z]{{{_BODY_CHARS}}}", re.ASCII)
_ADMIN_SHAPE = re.compile(rf"{ADMIN_PREFIX}[0-9A-Za-z]{{{_BODY_CHARS}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key: ``text`` is shown once, in one answer, and kept nowhere."""

    text: str
    public_id: str

    @property
    def last_four(self) -> str:
        """The four characters by which its owner recognises it."""
        return self.text[-4:]

    def __repr__(self) -> str:
        return f"MintedKey({self.public_id})"


def mint_key(prefix: str = KEY_PREFIX) -> MintedKey:
    """Make a key from the operating system's randomness (190 secret bits)."""
    public_id = _random_base62(_PUBLIC_CHARS)
    body = prefix + public_id + _random_base62(_SECRET_CHARS)
    return MintedKey(text=body + _checksum(body), public_id=public_id)


def public_id_of(text: str) -> str | None:
    """The public id of a well-formed key text, or None when shape or checksum are wrong."""
    if len(text) != KEY_CHARS or _SHAPE.fullmatch(text) is None:
        return None
    body = text[:-_CHECK_CHARS]
    if not hmac.compare_digest(_checksum(body), text[-_CHECK_CHARS:]):
        return None
    return text[len(KEY_PREFIX) : len(KEY_PREFIX) + _PUBLIC_CHARS]


def is_admin_key(text: str) -> bool:
    """Whether a text has the shape and the checksum of an operator's key."""
    if _ADMIN_SHAPE.fullmatch(text) is None:
        return False
    return hmac.compare_digest(_checksum(text[:-_CHECK_CHARS]), text[-_CHECK_CHARS:])


def digest(text: str, pepper: bytes) -> bytes:
    """What is stored and compared instead of a secret: HMAC-SHA-256 under the server's pepper."""
    return hmac.digest(pepper, text.encode(), "sha256")


class Digester:
    """``digest`` under one pepper, with the work that is the same for every text done once."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, pepper: bytes) -> None:
        if len(pepper) > _BLOCK_BYTES:
            raise ValueError("a pepper is at most a block of SHA-256")
        key = pepper.ljust(_BLOCK_BYTES, b"\0")
        # RFC 2104: H(K xor opad, H(K xor ipad, text)).
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def __call__(self, text: str) -> bytes:
        """What is stored and compared instead of a secret."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text.encode())
        outer.update(inner.digest())
        return outer.digest()


def masked(text: str) -> str:
    """How a refused key may be repeated to its sender: first eight and last four characters."""
    if len(text) < KEY_CHARS // 2:
        return "****"
    return f"{text[:8]}…{text[-4:]}"


def mint_token() -> str:
    """A random token for a session, a password reset or an invitation (256 bits, URL-safe)."""
    return secrets.token_urlsafe(32)


def _random_base62(count: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(count))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
