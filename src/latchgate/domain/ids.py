"""Ids that sort by time and say what they name: ``acct_01hv…``.

The text after the prefix is 48 bits of milliseconds and 80 random bits in Crockford's base 32
(the layout of a ULID, https://github.com/ulid/spec), so that indexes stay dense and an id says
nothing but its age.
"""

from __future__ import annotations

import os
import re

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: Two digits at a time: ids are made on the path of every call.
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_SHIFTS = range(120, -1, -10)
_SHAPE = re.compile(r"[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}", re.ASCII)


def new_id(prefix: str, now_us: int) -> str:
    """Make an id for the noun that ``prefix`` stands for; ``now_us`` is our clock's time."""
    number = ((now_us // 1000) & ((1 << 48) - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])
    return f"{prefix}_{digits}"


def is_id(text: str) -> bool:
    """Whether the text has the shape of an id of ours."""
    return _SHAPE.fullmatch(text) is not None
