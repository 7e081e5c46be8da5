"""Throttles: how often something may be tried from one place.

A stranger must not be able to lock the owner out, so tries of a password count for the e-mail *and*
the address they come from, and a device that has logged in before has a count of its own. Counts
are in memory and bounded: a restart forgives, and a flood of made-up places pushes out the oldest.
"""

from __future__ import annotations

import hmac
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import HOUR_US, MINUTE_US, SECOND_US
from latchgate.domain.errors import RateLimited
from latchgate.domain.secrets import digest

if TYPE_CHECKING:
    from latchgate.clock import Clock

PLACES_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``tries`` within ``window_us`` microseconds."""

    tries: int
    window_us: int


LOGIN_BY_EMAIL_AND_PLACE = Limit(10, 5 * MINUTE_US)
LOGIN_BY_PLACE = Limit(100, 5 * MINUTE_US)
RESET_BY_EMAIL = Limit(5, HOUR_US)
RESET_BY_PLACE = Limit(20, HOUR_US)
#: Three of a million codes are right at a time: who has the password and guesses for a year is let
#: in once in four times, and the owner hears of him after the first five.
CODE_BY_USER = Limit(5, 30 * MINUTE_US)
PASSKEY_BY_PLACE = Limit(100, 5 * MINUTE_US)
EMAIL_CHANGE_BY_USER = Limit(5, HOUR_US)
DOWNLOAD_BY_USER = Limit(10, HOUR_US)


class Throttles:
    """Counts tries in fixed windows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[Limit, str], tuple[int, int]] = OrderedDict()

    def count(self, limit: Limit, place: str) -> None:
        """Count a try. Raises RateLimited ``too_many_attempts`` when it is one too many."""
        now_us = self._clock.now_us()
        key = (limit, place)
        started_us, tries = self._counts.pop(key, (now_us, 0))
        if now_us - started_us >= limit.window_us:
            started_us, tries = now_us, 0
        self._counts[key] = (started_us, tries + 1)
        if len(self._counts) > PLACES_MAX:
            self._counts.popitem(last=False)
        if tries >= limit.tries:
            wait_us = started_us + limit.window_us - now_us
            raise RateLimited(
                f"Too many tries. Wait {max(1, math.ceil(wait_us / MINUTE_US))} minutes and try "
                "again.",
                retry_after_s=math.ceil(wait_us / SECOND_US),
                code="too_many_attempts",
            )

    def is_used_up(self, limit: Limit, place: str) -> bool:
        """Whether the next try would be one too many."""
        started_us, tries = self._counts.get((limit, place), (0, 0))
        return tries >= limit.tries and self._clock.now_us() - started_us < limit.window_us

    def forgive(self, limit: Limit, place: str) -> None:
        """Forget a place's tries: it has shown who it is."""
        self._counts.pop((limit, place), None)


def sign_device(user_id: str, pepper: bytes) -> str:
    """What a browser keeps to show that this user has logged in on it before. It opens nothing."""
    return f"{user_id}.{digest('known device ' + user_id, pepper).hex()}"


def is_known_device(text: str, user_id: str, pepper: bytes) -> bool:
    """Whether a browser's value says truly that this user has logged in on it before."""
    return hmac.compare_digest(text.encode(), sign_device(user_id, pepper).encode())
