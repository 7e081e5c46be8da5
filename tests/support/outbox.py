"""The mails that a server has sent, in its data directory's outbox."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_LOOKS_MAX, _PAUSE_S = 1200, 0.05


def texts_to(data: Path, to: str, subject: str | None = None) -> list[str]:
    """The texts of the mails to somebody, the newest first; only those about ``subject``."""
    found = []
    for path in sorted((data / "outbox").glob("*.eml"), reverse=True):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        if message["To"] == to and subject in (None, message["Subject"]):
            found.append(message.get_content())
    return found


def until(look: Callable[[], T]) -> T:
    """What ``look`` finds, once it finds something: mails leave after their cause is done."""
    for _ in range(_LOOKS_MAX):
        if found := look():
            return found
        time.sleep(_PAUSE_S)
    raise AssertionError("no mail came")
