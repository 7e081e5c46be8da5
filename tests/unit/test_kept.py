"""Kept responses stay within their bounds, and their accounts among themselves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latchgate.domain.errors import NotFound
from latchgate.gateway.kept import ACCOUNT_SHARE, KeptResponses, Retention

ROOM = 800


def _store() -> KeptResponses:
    return KeptResponses(lambda: 0, Retention(minutes=1, kept_bytes_max=ROOM))


def test_an_account_crowds_out_itself_first() -> None:
    kept = _store()
    kept.of("other").keep("resp_other", "m", b"x" * 50, b"")
    for number in range(10):
        kept.of("loud").keep(f"resp_{number}", "m", b"x" * 40, b"x" * 10)
    assert kept.of("other").get("resp_other").size_bytes == 50
    assert [n for n in range(10) if kept.find("loud", f"resp_{n}")] == [8, 9]


def test_what_is_larger_than_a_share_is_not_kept() -> None:
    kept = _store()
    kept.of("a").keep("resp_1", "m", b"x" * (ROOM // ACCOUNT_SHARE + 1), b"")
    with pytest.raises(NotFound):
        kept.of("a").get("resp_1")


def test_the_oldest_of_all_goes_when_there_is_no_room() -> None:
    kept = _store()
    for number in range(9):
        kept.of(f"acct_{number}").keep("resp", "m", b"x" * 100, b"")
    assert [n for n in range(9) if kept.find(f"acct_{n}", "resp")] == list(range(1, 9))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 120), st.booleans()),
        max_size=60,
    )
)
def test_it_never_holds_more_than_it_may(steps: list[tuple[int, int, int, bool]]) -> None:
    kept = _store()
    model: dict[tuple[str, str], int] = {}
    for turn, (account, earlier, size, is_forgotten) in enumerate(steps):
        account_id = f"acct_{account}"
        if is_forgotten:
            response_id = f"resp_{turn - earlier}"
            was_there = kept.find(account_id, response_id) is not None
            assert kept.forget(account_id, response_id) is was_there
            assert kept.find(account_id, response_id) is None
        else:
            kept.keep(account_id, f"resp_{turn}", "m", b"x" * size, b"")
            model[(account_id, f"resp_{turn}")] = size
        left = {name: size for name, size in model.items() if kept.find(*name)}
        assert sum(left.values()) <= ROOM
        for index in range(4):
            held = sum(size for name, size in left.items() if name[0] == f"acct_{index}")
            assert held <= ROOM // ACCOUNT_SHARE
        model = left
