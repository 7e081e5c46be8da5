"""Requests share the one thread that computes: in turn, in bounded batches, each on its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from latchgate.runtime.batcher import (
    BATCH_TOKENS_MAX,
    ROUND_TEXTS_MAX,
    WAITING_TOKENS_MAX,
    Batcher,
    Overloaded,
    Tokens,
)
from latchgate.runtime.encoder import Vectors

BAD_TOKEN = 666


class _Slow:
    """Encodes a text as its length and its first token; computes nothing before it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.has_begun = threading.Event()
        self.batches: list[list[Tokens]] = []

    def __call__(self, texts: Sequence[Tokens]) -> Vectors:
        self.batches.append(list(texts))
        self.has_begun.set()
        assert self.go.wait(30)
        if any(BAD_TOKEN in text for text in texts):
            raise ValueError("a text that cannot be computed")
        return np.array([[len(text), text[0]] for text in texts], np.float32)

    def texts_of(self, token: int) -> int:
        """How many texts that begin so were computed."""
        return sum(text[0] == token for batch in self.batches for text in batch)


@pytest.fixture
def slow() -> _Slow:
    return _Slow()


@pytest.fixture
def batcher(slow: _Slow) -> Batcher:
    return Batcher(slow, dimensions=2)


def _blocked(batcher: Batcher, slow: _Slow) -> Future[Vectors]:
    """A first request, at which the thread now works: whatever comes next has to wait."""
    first = batcher.submit([[1]])
    assert slow.has_begun.wait(30)
    return first


def test_every_text_gets_its_own_vector_in_the_order_of_its_request(
    batcher: Batcher, slow: _Slow
) -> None:
    first = _blocked(batcher, slow)
    lengths = [9, 1, 200, 3, 3, 77, 2, 1]
    others = [batcher.submit([[token] * n for n in lengths]) for token in (2, 3, 4)]
    slow.go.set()
    assert first.result(30).tolist() == [[1, 1]]
    for token, other in zip((2, 3, 4), others, strict=True):
        assert other.result(30).tolist() == [[n, token] for n in lengths]
    assert len(slow.batches) < 1 + 3 * len(lengths), "what waits together is computed together"


def test_a_batch_is_bounded_with_its_padding(batcher: Batcher, slow: _Slow) -> None:
    _blocked(batcher, slow)
    waiting = batcher.submit([[2] * (1 + place * 7 % 256) for place in range(500)])
    slow.go.set()
    assert len(waiting.result(30)) == 500
    for batch in slow.batches:
        assert len(batch) * max(map(len, batch)) <= BATCH_TOKENS_MAX
        assert len(batch) <= ROUND_TEXTS_MAX


def test_a_small_request_waits_for_one_round_of_a_large_one(batcher: Batcher, slow: _Slow) -> None:
    _blocked(batcher, slow)
    large = batcher.submit([[2] * 256] * 400)
    small = batcher.submit([[3]])
    slow.go.set()
    assert small.result(30).tolist() == [[1, 3]]
    assert len(large.result(30)) == 400
    position = next(place for place, batch in enumerate(slow.batches) if [3] in batch)
    assert position == 1, "the shortest of the first round"


def test_what_is_cancelled_is_not_computed(batcher: Batcher, slow: _Slow) -> None:
    _blocked(batcher, slow)
    gone, other = batcher.submit([[2]] * 400), batcher.submit([[3]])
    assert gone.cancel()
    slow.go.set()
    assert other.result(30).tolist() == [[1, 3]]
    assert slow.texts_of(2) == 0


def test_a_failure_is_told_to_those_it_meets_and_the_thread_goes_on(
    batcher: Batcher, slow: _Slow
) -> None:
    _blocked(batcher, slow)
    bad = batcher.submit([[BAD_TOKEN]] * 400)
    slow.go.set()
    with pytest.raises(ValueError, match="cannot be computed"):
        bad.result(30)
    assert batcher.submit([[3]]).result(30).tolist() == [[1, 3]]
    assert slow.texts_of(BAD_TOKEN) <= ROUND_TEXTS_MAX


def test_only_so_much_may_wait(batcher: Batcher, slow: _Slow) -> None:
    _blocked(batcher, slow)
    texts = [[2] * 250] * 100
    waiting = [batcher.submit(texts) for _ in range(WAITING_TOKENS_MAX // 25_000)]
    with pytest.raises(Overloaded):
        batcher.submit(texts)
    last = waiting.pop()
    for gone in waiting:
        gone.cancel()
    slow.go.set()
    assert last.result(30).shape == (100, 2)
    assert batcher.submit(texts).result(30).shape == (100, 2), "there is room again"
