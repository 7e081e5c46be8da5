"""The text of a redemption code: twenty letters and digits that survive being typed from paper.

    7K3M-9QXZ-4T2W-HB8N-P5RC
    eighteen random ones (90 bits) and two that check them, in Crockford's base 32

Case, spaces and hyphens do not matter; O is read as 0, I and L as 1, and U is in no code. All
twenty together spell a multiple of 1021: a prime that divides neither 32 nor a difference of two
letters, so that one wrong letter, and any two neighbours that changed places, always show.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from latchgate.domain.errors import InvalidRequest

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE_OF = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_RANDOM_CHARS, _CHECK_CHARS, _GROUP = 18, 2, 4
_MODULUS = 1021
_SECOND_US = 1_000_000
CODE_CHARS = _RANDOM_CHARS + _CHECK_CHARS
#: The longest text that is looked at: a code with anything that people put between its letters.
TYPED_CHARS_MAX = 64


def mint_code() -> str:
    """Make a code from the operating system's randomness, in groups as it is printed."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    text = body + _check(body)
    return "-".join(text[at : at + _GROUP] for at in range(0, CODE_CHARS, _GROUP))


def read_code(typed: str) -> str | None:
    """A code as it was typed, in its one true spelling; None when it can't be one of ours."""
    if len(typed) > TYPED_CHARS_MAX:
        return None
    letters = [letter for letter in typed.upper() if letter not in " -–—\t"]
    if len(letters) != CODE_CHARS or any(letter not in _VALUE_OF for letter in letters):
        return None
    text = "".join(_ALPHABET[_VALUE_OF[letter]] for letter in letters)
    body, check = text[:_RANDOM_CHARS], text[_RANDOM_CHARS:]
    return text if _check(body) == check else None


def end_of_day_us(day: str) -> int:
    """The moment behind a day of the calendar, UTC, written 2030-12-31. Raises InvalidRequest."""
    try:
        behind = datetime.combine(date.fromisoformat(day), time.min, UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidRequest("A day is written 2030-12-31.", param="expires") from None
    return int(behind.timestamp()) * _SECOND_US


def csv_of_codes(
    codes: Iterable[str], *, amount_usd: str, expires_at: str | None, batch_id: str
) -> str:
    """A batch's codes as CSV, to be printed: the one list that there ever is."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(("code", "amount_usd", "expires_at", "batch", "number"))
    lines.writerows(
        (code, amount_usd, expires_at or "", batch_id, number)
        for number, code in enumerate(codes, 1)
    )
    return written.getvalue()


def _check(body: str) -> str:
    number = 0
    for letter in body:
        number = number * len(_ALPHABET) + _VALUE_OF[letter]
    first, second = divmod(-number * len(_ALPHABET) ** _CHECK_CHARS % _MODULUS, len(_ALPHABET))
    return _ALPHABET[first] + _ALPHABET[second]
