"""Counts what each visitor asks, so that nobody can spend the business's credit alone.

Visitors are told apart by their address, because anything that a browser keeps can be thrown away.
This bounds one visitor; what all of them may spend in a day is a limit of the key itself, which
Latchgate holds whatever happens here: set it in the console, under Limits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

MINUTE_S = 60
DAY_S = 24 * 3600
VISITORS_MAX = 10_000
_IPV6_NETWORK = -1 << 64


@dataclass(frozen=True)
class Rule:
    """So many in so many seconds."""

    count_max: int
    window_s: int


class Counter:
    """Sliding windows, one set for each visitor; the visitor longest unseen is forgotten first."""

    def __init__(self, *rules: Rule, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, address: str) -> int:
        """Count one; 0, or the seconds to wait if it is one too many, which is then not counted."""
        now = self._clock()
        visitor = _visitor(address)
        times = self._seen.setdefault(visitor, deque(maxlen=max(r.count_max for r in self._rules)))
        self._seen.move_to_end(visitor)
        if len(self._seen) > VISITORS_MAX:
            self._seen.popitem(last=False)
        for rule in self._rules:
            within = [time for time in times if time > now - rule.window_s]
            if len(within) >= rule.count_max:
                return int(within[-rule.count_max] + rule.window_s - now) + 1
        times.append(now)
        return 0


def _visitor(address: str) -> str:
    """One visitor is one IPv4 address, or one IPv6 network: a home has a whole one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) & _IPV6_NETWORK))
    return address
