"""Money is integers: nano-USD (10⁻⁹ USD) in 64 bits. No float ever touches it."""

from __future__ import annotations

import re

from latchgate.domain.errors import InvalidRequest

NANOS_PER_USD = 1_000_000_000
#: The largest amount that one command may move or one limit may state: 1,000,000,000 USD.
AMOUNT_NANOS_MAX = 1_000_000_000 * NANOS_PER_USD

_DECIMAL = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?", re.ASCII)


def parse_usd(text: str, *, param: str = "amount", allow_zero: bool = False) -> int:
    """Read a decimal amount of USD such as ``5.00`` as nano-USD.

    At most nine decimals; no sign, exponent, separator or currency sign, so that nothing has to
    be guessed. Raises InvalidRequest with ``param`` when the text is anything else or too large.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            "An amount is decimal US dollars with at most nine decimals, such as 5.00.", param=param
        )
    whole, decimals = match.group(1), match.group(2) or ""
    nanos = int(whole) * NANOS_PER_USD + int(decimals.ljust(9, "0"))
    if nanos > AMOUNT_NANOS_MAX:
        raise InvalidRequest("An amount is at most 1000000000 US dollars.", param=param)
    if nanos == 0 and not allow_zero:
        raise InvalidRequest("An amount must be more than zero, such as 5.00.", param=param)
    return nanos


def format_usd(nanos: int, *, decimals_min: int = 2) -> str:
    """Write nano-USD as an exact decimal: ``5.00``, ``-0.00002182``; never rounded."""
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), NANOS_PER_USD)
    decimals = f"{rest:09d}".rstrip("0").ljust(decimals_min, "0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"
