"""Keeps a user's key in his own browser, in a cookie that only this server can open.

The two halves never lie in one place: the browser has the sealed key and can't open it, the server
has the seal and keeps no key. So a script in the page, a stolen database, a backup and a log all
have nothing to give away. (Cookies don't know ports: whatever else runs on the same host is sent
the cookie too, which is one more reason to seal it.)
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

KEPT_FOR_S = 30 * 24 * 3600


class Sealer:
    """Seals keys, and opens what it sealed within the last thirty days."""

    def __init__(self, seal: bytes) -> None:
        self._fernet = Fernet(seal)

    def seal(self, key: str) -> str:
        """The key as the cookie's value: encrypted, authenticated, and dated."""
        return self._fernet.encrypt(key.encode()).decode()

    def open(self, sealed: str) -> str | None:
        """The key, or None for anything forged, spoiled, too old or sealed by somebody else."""
        try:
            return self._fernet.decrypt(sealed, ttl=KEPT_FOR_S).decode()
        except InvalidToken:
            return None


def load_sealer(folder: Path) -> Sealer:
    """The sealer of this installation; its seal is made once, readable by its owner alone."""
    path = folder / "letter-desk.seal"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(Fernet.generate_key())
    return Sealer(path.read_bytes())
