"""Guards which counters of a model server are believed."""

from __future__ import annotations

import pytest

from latchgate.domain.usage import NOTHING, TOKENS_MAX, Usage


@pytest.mark.parametrize(
    "counters",
    [
        (0, 0, 0),
        (1, 0, 0),
        (1, 1, 0),
        (0, 0, 1),
        (TOKENS_MAX, TOKENS_MAX, TOKENS_MAX),
    ],
)
def test_counters_that_can_be_are_believed(counters: tuple[int, int, int]) -> None:
    assert Usage(*counters).is_sane


@pytest.mark.parametrize(
    "counters",
    [
        (-1, 0, 0),
        (0, -1, 0),
        (0, 0, -1),
        (-1, -1, -1),
        (0, 1, 0),
        (5, 6, 5),
        (TOKENS_MAX + 1, 0, 0),
        (TOKENS_MAX + 1, TOKENS_MAX + 1, 0),
        (0, 0, TOKENS_MAX + 1),
        (2**64, 0, 0),
        (0, 0, 2**64),
    ],
)
def test_counters_that_cannot_be_are_not_believed(counters: tuple[int, int, int]) -> None:
    assert not Usage(*counters).is_sane


def test_nothing_is_no_tokens_at_all() -> None:
    assert Usage(input_tokens=0, cached_tokens=0, output_tokens=0) == NOTHING
    assert NOTHING.is_sane
