"""The answer to a key that may not be used."""

from __future__ import annotations

from latchgate.domain.errors import InvalidKey
from latchgate.domain.secrets import masked

REFUSAL = (
    "Incorrect API key provided: {shown}. You can find or replace your API key on the API keys "
    "page of this platform's console."
)


def refusal(text: str) -> InvalidKey:
    """The answer to a key that may not be used: the same for unknown, revoked and expired."""
    return InvalidKey(REFUSAL.format(shown=masked(text)))
