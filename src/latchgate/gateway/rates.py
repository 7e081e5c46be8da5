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
from functools import lru_cache

from latchgate.domain.errors import RateLimited

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

    __slots__ = ("_at_s", "_per_s", "_template", "kind", "level", "per_minute")

    def __init__(self, kind: str, per_minute: int, now_s: float) -> None:
        self.kind = kind
        self.per_minute = per_minute
        #: What could be taken when it was last filled; below zero it is a debt.
        self.level = float(per_minute)
        self._per_s = per_minute / SECONDS
        self._at_s = now_s
        self._template = (
            f"x-ratelimit-limit-{kind}: {per_minute}\r\n"
            f"x-ratelimit-remaining-{kind}: %d\r\nx-ratelimit-reset-{kind}: %b\r\n"
        ).encode()

    def fill(self, now_s: float) -> float:
        """The level, with what has come since the last time; a clock that goes back adds none."""
        passed_s = now_s - self._at_s
        if passed_s > 0:
            filled = self.level + passed_s * self._per_s
            self.level = filled if filled < self.per_minute else float(self.per_minute)
        self._at_s = now_s
        return self.level

    def take(self, amount: int, now_s: float) -> None:
        """Take so much, into debt if need be."""
        self.level = self.fill(now_s) - amount

    def wait_s(self, amount: int, now_s: float) -> float:
        """Seconds until so much is there; where it holds less than that, until it is full."""
        missing = min(amount, self.per_minute) - self.fill(now_s)
        return missing / self._per_s if missing > 0 else 0.0

    def lines(self) -> bytes:
        """The header lines that say what is left, and when it is full again."""
        missing_ms = math.ceil((self.per_minute - self.level) / self._per_s * 1000)
        return self._template % (max(0, int(self.level)), _duration(missing_ms))


class Rates:
    """One account's buckets: those of its two that have a limit."""

    __slots__ = ("_requests", "_tokens", "terms")

    def __init__(self, terms: RateTerms, now_s: float) -> None:
        self.terms = terms
        requests, tokens = terms.requests_per_minute, terms.tokens_per_minute
        self._requests = Bucket("requests", requests, now_s) if requests else None
        self._tokens = Bucket("tokens", tokens, now_s) if tokens else None

    def admit(self, tokens: int, now_s: float) -> bytes:
        """Count a request of so many input tokens; the header lines that say what is left.

        Raises RateLimited, and counts nothing then.
        """
        by_request, by_token = self._requests, self._tokens
        if by_request is not None and by_request.fill(now_s) < 1:
            raise _refusal(by_request, 1, now_s)
        if by_token is not None and by_token.fill(now_s) < min(tokens, by_token.per_minute):
            raise _refusal(by_token, tokens, now_s)
        lines = b""
        if by_request is not None:
            by_request.level -= 1
            lines = by_request.lines()
        if by_token is not None:
            by_token.level -= tokens
            lines += by_token.lines()
        return lines

    def settle(self, tokens: int, now_s: float) -> None:
        """Count tokens beyond those that were counted at admission."""
        if self._tokens is not None:
            self._tokens.take(tokens, now_s)


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
    return _duration(math.ceil(seconds * 1000)).decode()


@lru_cache(maxsize=1024)
def _duration(ms: int) -> bytes:
    if ms < 1000:  # noqa: PLR2004 - a second
        return b"%dms" % ms
    if ms < _MINUTE_MS:
        return f"{ms / 1000:g}s".encode()
    minutes, rest_ms = divmod(ms, _MINUTE_MS)
    return b"%dm%ds" % (minutes, rest_ms // 1000)


def _refusal(bucket: Bucket, amount: int, now_s: float) -> RateLimited:
    wait_s = bucket.wait_s(amount, now_s)
    error = RateLimited(
        f"Rate limit reached: {bucket.per_minute} {bucket.kind} per minute for this account. "
        f"Try again in {duration(wait_s)}.",
        retry_after_s=math.ceil(wait_s),
    )
    error.type = bucket.kind
    error.headers["retry-after-ms"] = str(math.ceil(wait_s * 1000))
    return error
