"""What an operator's key to the admin API may do.

    read      look at everything that operators see
    accounts  make, suspend and resume accounts, and say how much each may do
    money     credit, refunds, corrections, credit lines and redemption codes
    catalog   upstreams, models and prices
    all       everything, and what lowers somebody's protection

Each of the three in the middle is for changes alone: a key that shall look has ``read`` as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from latchgate.domain.errors import InvalidRequest

Scope = Literal["read", "accounts", "money", "catalog", "all"]
#: In the order in which they are written.
SCOPES: tuple[Scope, ...] = get_args(Scope)
WORDS: dict[Scope, str] = {
    "read": "look at everything that operators see",
    "accounts": "make, suspend and resume accounts, and change their limits and keys",
    "money": "post credit, refunds and corrections, and make redemption codes",
    "catalog": "change upstreams, models and prices",
    "all": "everything",
}


def parse_scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """Scopes as people write them; ``all`` stands alone. Raises InvalidRequest."""
    wanted = set(texts)
    found = tuple(scope for scope in SCOPES if scope in wanted)
    if not found or len(found) != len(wanted):
        raise InvalidRequest(
            f"Say what the key is for, with one or more of: {', '.join(SCOPES)}.", param="scopes"
        )
    return ("all",) if "all" in found else found


def allows(scopes: Iterable[str], needed: Scope) -> bool:
    """Whether a key with these scopes may do what needs that one."""
    return not {"all", needed}.isdisjoint(scopes)
