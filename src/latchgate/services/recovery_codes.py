"""Recovery codes: ten ways in for somebody whose phone is gone, each of which works once.

    k7m2qd-x4hn3w-p9rt6v-b5jc8y      24 characters out of 32 that nobody mistakes: 120 bits

With so many bits a keyed hash is enough, and ten of them cost a login nothing.
"""

from __future__ import annotations

import re
import secrets

from latchgate.domain.secrets import digest

CODES = 10
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_GROUPS, _GROUP_CHARS = 4, 6
_CHARS = _GROUPS * _GROUP_CHARS
#: What people read where we have written something else.
_MISREAD = str.maketrans("ilo", "110")


def mint_codes() -> tuple[str, ...]:
    """Ten new codes, as they are shown: once."""
    return tuple(_mint() for _ in range(CODES))


def read_code(typed: str) -> str | None:
    """A code without what people type around it; None for what is no code at all."""
    bare = re.sub(r"[\s-]", "", typed).lower().translate(_MISREAD)
    is_code = len(bare) == _CHARS and all(char in _ALPHABET for char in bare)
    return bare if is_code else None


def hash_code(user_id: str, code: str, pepper: bytes) -> bytes:
    """What is kept of a code, in its bare spelling."""
    return digest(f"recovery code {user_id} {code}", pepper)


def bare(code: str) -> str:
    """A code of ours in the spelling that is hashed."""
    return code.replace("-", "")


def _mint() -> str:
    groups = (
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_CHARS)) for _ in range(_GROUPS)
    )
    return "-".join(groups)
