"""Secrets at rest: the server's own two, and the sealing of credentials that are used again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SECRET_BYTES = 32
_NONCE_BYTES = 12

log = structlog.get_logger()


class Vault:
    """Seals text with AES-256-GCM under a key that lives outside the database."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, text: str) -> bytes:
        """Encrypt; the nonce goes before the sealed text."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text.encode(), None)

    def open(self, sealed: bytes) -> str:
        """Decrypt. Raises ValueError when the key is another or a byte has changed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None).decode()
        except InvalidTag:
            raise ValueError("sealed under another key, or damaged") from None


def load_or_create_secret(path: Path) -> bytes:
    """Read a server secret, or make it: 32 random bytes in a file that only its owner may read.

    Raises ValueError when the file has another length: a damaged pepper would quietly refuse
    every key.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != SECRET_BYTES:
            raise ValueError(
                f"{path} is damaged: {len(secret)} bytes, not {SECRET_BYTES}"
            ) from None
        return secret
    secret = os.urandom(SECRET_BYTES)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret


def opener(vault: Vault) -> Callable[[bytes], str]:
    """Opens upstreams' keys; one that was sealed with a lost ``vault.key`` is no key, and no harm.

    Its upstream refuses the calls, and everything else goes on.
    """

    def open_credential(sealed: bytes) -> str:
        try:
            return vault.open(sealed)
        except ValueError as error:
            log.warning("upstream.key_unreadable", why=str(error), see="latchgate doctor")
            return ""

    return open_credential
