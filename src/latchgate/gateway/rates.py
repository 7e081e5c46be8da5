"""Rate limits: requests and tokens per minute for each account, as token buckets in memory.

A bucket holds a minute's worth and fills evenly. A request takes one; a call takes its estimated
input when it comes, and the rest of its tokens when it has ended, which may leave a debt that the
next call waits for. A restart fills every bucket; money has limits of its own that it does not
forget.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from latchgate.domain.errors import RateLimited
from latchgate.gateway import replies

SECONDS = 60.0
ACCOUNTS_MAX = 100_000
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class RateTerms:
    """How much an account may do in a minute; 0 is without limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0


class Bucket:
    """Holds at most a minute's worth, and fills evenly. Times in seconds of the loop's clock."""

    __slots__ = ("_at_s", "_level", "per_minute")

    def __init__(self, per_minute: int, now_s: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at_s = now_s

    def level(self, now_s: float) -> float:
        """What can be taken now; below zero it is a debt."""
        passed_s = max(0.0, now_s - self._at_s)
        filled = self._level + passed_s * self.per_minute / SECONDS
        self._level = min(float(self.per_minute), filled)
        self._at_s = now_s
        return self._level

    def take(self, amount: int, now_s: float) -> None:
        """Take so much, into debt if need be."""
        self._level = self.level(now_s) - amount

    def wait_s(self, amount: int, now_s: float) -> float:
        """Seconds until so much is there; where it holds less than that, until it is full."""
        missing = min(amount, self.per_minute) - self.level(now_s)
        return max(0.0, missing * SECONDS / self.per_minute)

    def reset_s(self, now_s: float) -> float:
        """Seconds until it is full."""
        return self.wait_s(self.per_minute, now_s)


class Rates:
    """One account's two buckets; None where there is no limit."""

    __slots__ = ("requests", "terms", "tokens")

    def __init__(self, terms: RateTerms, now_s: float) -> None:
        self.terms = terms
        limits = (terms.requests_per_minute, terms.tokens_per_minute)
        self.requests, self.tokens = (Bucket(limit, now_s) if limit else None for limit in limits)

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to count."""
        return self.requests is not None or self.tokens is not None

    def admit(self, tokens: int, now_s: float) -> None:
        """Count a request of so many input tokens. Raises RateLimited, and counts nothing then."""
        for kind, bucket, amount in self._buckets(tokens):
            wait_s = bucket.wait_s(amount, now_s)
            if wait_s > 0:
                raise _refusal(kind, bucket.per_minute, wait_s)
        for _, bucket, amount in self._buckets(tokens):
            bucket.take(amount, now_s)

    def settle(self, tokens: int, now_s: float) -> None:
        """Count tokens beyond those that were counted at admission."""
        if self.tokens is not None:
            self.tokens.take(tokens, now_s)

    def lines(self, now_s: float) -> tuple[bytes, ...]:
        """The header lines that say what is left, with durations as OpenAI writes them."""
        if not self.is_limited:
            return ()
        lines = []
        for kind, bucket, _ in self._buckets(0):
            left = max(0, math.floor(bucket.level(now_s)))
            lines += [
                replies.header(f"x-ratelimit-limit-{kind}", bucket.per_minute),
                replies.header(f"x-ratelimit-remaining-{kind}", left),
                replies.header(f"x-ratelimit-reset-{kind}", duration(bucket.reset_s(now_s))),
            ]
        return tuple(lines)

    def _buckets(self, tokens: int) -> list[tuple[str, Bucket, int]]:
        pairs = (("requests", self.requests, 1), ("tokens", self.tokens, tokens))
        return [(kind, bucket, amount) for kind, bucket, amount in pairs if bucket is not None]


class RateBook:
    """Every account's rates, bounded: the one that was asked for longest ago is forgotten."""

    def __init__(self, usual: RateTerms) -> None:
        self.usual = usual
        self._rates: OrderedDict[str, Rates] = OrderedDict()

    def get(self, account_id: str, terms: RateTerms, now_s: float) -> Rates:
        """An account's rates; new terms begin with full buckets."""
        rates = self._rates.get(account_id)
        if rates is None or rates.terms != terms:
            rates = self._rates[account_id] = Rates(terms, now_s)
            if len(self._rates) > ACCOUNTS_MAX:
                self._rates.popitem(last=False)
        self._rates.move_to_end(account_id)
        return rates


def duration(seconds: float) -> str:
    """A duration as OpenAI writes it: ``12ms``, ``1.5s``, ``6m0s``."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:  # noqa: PLR2004 - a second
        return f"{ms}ms"
    if ms < _MINUTE_MS:
        return f"{ms / 1000:g}s"
    minutes, rest_ms = divmod(ms, _MINUTE_MS)
    return f"{minutes}m{rest_ms // 1000}s"


def _refusal(kind: str, per_minute: int, wait_s: float) -> RateLimited:
    error = RateLimited(
        f"Rate limit reached: {per_minute} {kind} per minute for this account. "
        f"Try again in {duration(wait_s)}.",
        retry_after_s=math.ceil(wait_s),
    )
    error.type = kind
    error.headers["retry-after-ms"] = str(math.ceil(wait_s * 1000))
    return error
