"""Ids that sort by time and say what they name: ``acct_01hv…``.

The text after the prefix is 48 bits of milliseconds and 80 random bits in Crockford's base 32
(the layout of a ULID, https://github.com/ulid/spec), so that indexes stay dense and an id says
nothing but its age.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_CHARS, _RANDOM_CHARS = 10, 16
_MS_MAX = (1 << 48) - 1
#: Every byte becomes the digit of its lowest five bits.
_DIGIT_OF = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_SHAPE = re.compile(r"[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}", re.ASCII)
#: How many ids' randomness is fetched at once.
_POOLED_IDS = 256
#: How long a caller's own name may be for what he wants done once.
ONCE_CHARS_MAX = 255


def new_id(prefix: str, now_us: int) -> str:
    """Make an id for the noun that ``prefix`` stands for; ``now_us`` is our clock's time."""
    random = os.urandom(_RANDOM_CHARS).translate(_DIGIT_OF).decode("ascii")
    return _head(prefix, now_us // 1000) + random


def id_of(prefix: str, name: str) -> str:
    """The id that belongs to a name: the same name has the same id, whenever and wherever.

    So what is done under it a second time is found to be there. It says nothing of its age.
    """
    digits = hashlib.sha256(f"{prefix} {name}".encode()).digest()[: _TIME_CHARS + _RANDOM_CHARS]
    return f"{prefix}_{digits.translate(_DIGIT_OF).decode('ascii')}"


class IdMint:
    """``new_id`` for one noun, for the path of every call: randomness is fetched in bulk.

    For one thread only.
    """

    __slots__ = ("_next", "_prefix", "_random")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._random = ""
        self._next = 0

    def __call__(self, now_us: int) -> str:
        """Make an id."""
        start = self._next
        if start == len(self._random):
            pooled = os.urandom(_POOLED_IDS * _RANDOM_CHARS)
            self._random, start = pooled.translate(_DIGIT_OF).decode("ascii"), 0
        self._next = end = start + _RANDOM_CHARS
        return _head(self._prefix, now_us // 1000) + self._random[start:end]


@lru_cache(maxsize=64)
def _head(prefix: str, ms: int) -> str:
    """The prefix and the digits of a time."""
    ms &= _MS_MAX
    digits = [_ALPHABET[(ms >> shift) & 31] for shift in range(5 * (_TIME_CHARS - 1), -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def is_id(text: str) -> bool:
    """Whether the text has the shape of an id of ours."""
    return _SHAPE.fullmatch(text) is not None
