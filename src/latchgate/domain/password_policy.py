"""Which passwords are refused: too short, too long, or among the first that anybody would try.

Length and a list of common passwords, and no rules about digits and capitals, as NIST SP 800-63B
(section 3.1.1.2) advises. A short list is our own; a long one of passwords that leak is handed in.
Both are looked up offline.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from importlib.resources import files

from latchgate.domain.errors import InvalidRequest

PASSWORD_CHARS_MIN = 8
PASSWORD_BYTES_MAX = 1024
_DISTINCT_CHARS_MIN = 4
_OWN_NAMES = ("latchgate",)
_RUNS = ("abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiopasdfghjklzxcvbnm")
#: What people put in place of letters; undone before the look-up.
_LEET = str.maketrans("013457@$!", "oieastasi")


def check_password(password: str, *, email: str, leaked: Collection[str] = frozenset()) -> None:
    """Raise InvalidRequest ``weak_password`` or ``string_above_max_length`` with what to do.

    ``leaked`` are more passwords that are refused, in lower case.
    """
    if len(password.encode("utf-8", "replace")) > PASSWORD_BYTES_MAX:
        raise InvalidRequest(
            f"A password has at most {PASSWORD_BYTES_MAX} bytes.",
            code="string_above_max_length",
            param="password",
        )
    problem = _problem(password, email, leaked)
    if problem is not None:
        raise InvalidRequest(problem, code="weak_password", param="password")


def _problem(password: str, email: str, leaked: Collection[str]) -> str | None:
    if len(password) < PASSWORD_CHARS_MIN:
        return f"Use at least {PASSWORD_CHARS_MIN} characters. A few random words are a good start."
    lowered = password.casefold()
    if len(set(lowered)) < _DISTINCT_CHARS_MIN:
        return "This repeats a few characters. Use a few random words instead."
    local_part = email.casefold().partition("@")[0]
    if lowered == email.casefold() or _core(lowered) == _core(local_part) != "":
        return "This is your e-mail address. Use something that is not known of you."
    if _core(lowered) in _OWN_NAMES:
        return "This is the product's name. Use something that nobody would try first."
    if any(lowered in run or lowered in run[::-1] for run in _RUNS):
        return "This is a row of neighbouring keys or characters. Use a few random words instead."
    if is_common(lowered) or not _leaked_spellings(lowered).isdisjoint(leaked):
        return "This is one of the passwords that are tried first. Use a few random words instead."
    return None


def is_common(lowered: str) -> bool:
    """Whether a password, its core without digits around it, or its plain spelling is common."""
    words = _common_words()
    candidates = {
        lowered,
        _core(lowered),
        lowered.translate(_LEET),
        _core(lowered).translate(_LEET),
    }
    candidates.add(_core(lowered.translate(_LEET)))
    half = lowered[: len(lowered) // 2]
    candidates.add(half if half * 2 == lowered else lowered)
    return not words.isdisjoint(candidates)


def _leaked_spellings(lowered: str) -> set[str]:
    """The spellings under which a password is looked up among those that leak."""
    return {lowered, _core(lowered)}


def _core(text: str) -> str:
    """Without the digits and signs that people put before and behind a word."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)


@cache
def _common_words() -> frozenset[str]:
    text = files("latchgate.domain").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(text.split())
