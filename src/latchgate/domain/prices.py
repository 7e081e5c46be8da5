"""What tokens cost, exactly.

A price is US dollars per million tokens with at most six decimals. Held as an integer of
micro-USD per million tokens, which is the same number as pico-USD (10⁻¹² USD) per token; so a
charge is an integer sum of products, rounded once, half to even, to nano-USD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from latchgate.domain.errors import InvalidRequest
from latchgate.domain.usage import Usage

#: A call's service tier (OpenAI's field ``service_tier``): what it costs, and where it queues.
DEFAULT_TIER = "default"
PRIORITY_TIER = "priority"
#: What a priority price is of the usual one, where nobody says otherwise.
PRIORITY_PERCENT_USUAL = 200
PRIORITY_PERCENT_MIN = 100
PRIORITY_PERCENT_MAX = 1000
#: 999999.999999 USD per million tokens, as it can be written.
PRICE_PICOS_MAX = 999_999_999_999
_PICOS_PER_NANO = 1000
_DECIMAL = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Price:
    """Pico-USD per token for each class of token. ``id`` names the version that was charged."""

    id: str
    input_picos: int
    cached_picos: int
    output_picos: int
    #: A model that costs nothing is never refused for money.
    is_free: bool = field(init=False)

    def __post_init__(self) -> None:
        """Note what each call asks."""
        is_free = not (self.input_picos or self.cached_picos or self.output_picos)
        object.__setattr__(self, "is_free", is_free)

    def charge_nanos(self, usage: Usage) -> int:
        """What ``usage`` costs, in nano-USD, rounded once, half to even."""
        uncached = usage.input_tokens - usage.cached_tokens
        picos = (
            uncached * self.input_picos
            + usage.cached_tokens * self.cached_picos
            + usage.output_tokens * self.output_picos
        )
        return round_half_even(picos, _PICOS_PER_NANO)

    def bound_nanos(self, input_tokens_max: int, output_tokens_max: int) -> int:
        """The most that a call of at most so many tokens can cost, in nano-USD, rounded up."""
        input_picos = max(self.input_picos, self.cached_picos)
        picos = input_tokens_max * input_picos + output_tokens_max * self.output_picos
        return -(-picos // _PICOS_PER_NANO)

    def output_tokens_affordable(self, input_tokens_max: int, amount_nanos: int) -> int | None:
        """How many output tokens ``amount_nanos`` carries after the input; None: without end."""
        left = amount_nanos * _PICOS_PER_NANO - input_tokens_max * max(
            self.input_picos, self.cached_picos
        )
        if left < 0:
            return 0
        return left // self.output_picos if self.output_picos else None


def share_of(picos: int, percent: int) -> int:
    """So many percent of a price, rounded to a whole pico-USD per token; nothing stays nothing."""
    return round_half_even(picos * percent, 100)


def round_half_even(numerator: int, denominator: int) -> int:
    """Divide non-negative integers, rounding to nearest, ties to even (IEEE 754's default)."""
    quotient, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient & 1):
        return quotient + 1
    return quotient


def parse_price(text: str, *, param: str) -> int:
    """Read US dollars per million tokens such as ``0.15`` as pico-USD per token.

    Raises InvalidRequest with ``param`` for a sign, an exponent, over six decimals or 999999.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InvalidRequest(
            "A price is US dollars per million tokens with at most six decimals, such as 0.15.",
            param=param,
        )
    return int(match.group(1)) * 1_000_000 + int((match.group(2) or "").ljust(6, "0"))


def format_price(picos: int) -> str:
    """Write pico-USD per token as US dollars per million tokens: ``0.15``."""
    whole, rest = divmod(picos, 1_000_000)
    return f"{whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"
