"""Rates: a bucket never gives more than a minute's worth and what has filled since."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.domain.errors import RateLimited
from latchgate.gateway.rates import Bucket, RateBook, Rates, RateTerms, duration


@given(
    st.integers(1, 600),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), max_size=200),
)
def test_no_stretch_of_time_gives_more_than_its_share(
    per_minute: int, asks: list[tuple[float, int]]
) -> None:
    bucket, now_s, given_out = Bucket("requests", per_minute, 0.0), 0.0, 0
    for passed_s, amount in asks:
        now_s += passed_s
        if bucket.wait_s(amount, now_s) == 0 and amount <= per_minute:
            bucket.take(amount, now_s)
            given_out += amount
    assert given_out <= per_minute + now_s * per_minute / 60 + 1e-6


def test_what_a_refusal_says_to_wait_is_enough() -> None:
    rates = Rates(RateTerms(requests_per_minute=60), 0.0)
    for _ in range(60):
        rates.admit(0, 0.0)
    with pytest.raises(RateLimited) as refused:
        rates.admit(0, 0.0)
    error = refused.value
    assert (error.type, error.code, error.status) == ("requests", "rate_limit_exceeded", 429)
    assert error.headers == {"retry-after": "1", "retry-after-ms": "1000"}
    rates.admit(0, 1.0)


def test_tokens_beyond_the_estimate_are_a_debt_that_the_next_call_waits_for() -> None:
    rates = Rates(RateTerms(tokens_per_minute=600), 0.0)
    rates.admit(100, 0.0)
    rates.settle(1000, 0.0)
    with pytest.raises(RateLimited) as refused:
        rates.admit(1, 0.0)
    assert refused.value.type == "tokens"
    rates.admit(1, 51.0)


def test_a_call_larger_than_a_minute_gets_in_when_the_bucket_is_full() -> None:
    rates = Rates(RateTerms(tokens_per_minute=100), 0.0)
    rates.admit(500, 0.0)
    with pytest.raises(RateLimited):
        rates.admit(1, 60.0)


def test_a_refused_request_counts_nothing() -> None:
    rates = Rates(RateTerms(requests_per_minute=10, tokens_per_minute=5), 0.0)
    rates.admit(5, 0.0)
    with pytest.raises(RateLimited):
        rates.admit(5, 0.0)
    assert b"x-ratelimit-remaining-requests: 8\r\n" in rates.admit(0, 0.0)


def test_a_clock_that_stands_still_fills_nothing() -> None:
    bucket = Bucket("requests", 60, 10.0)
    bucket.take(60, 10.0)
    assert bucket.fill(5.0) == 0


def test_no_limit_is_no_bucket_and_no_header() -> None:
    rates = Rates(RateTerms(), 0.0)
    for _ in range(1000):
        assert rates.admit(10**9, 0.0) == b""


def test_new_terms_replace_the_old_and_others_keep_theirs() -> None:
    book = RateBook(RateTerms(10, 0))
    first = book.get("a", book.usual, 0.0)
    assert book.get("a", book.usual, 0.0) is first
    assert book.get("a", RateTerms(5, 0), 0.0) is not first
    assert book.get("b", book.usual, 0.0) is not first


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.012, "12ms"), (1.5, "1.5s"), (6, "6s"), (360, "6m0s"), (61.2, "1m1s")],
)
def test_durations_are_written_as_sdks_read_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
