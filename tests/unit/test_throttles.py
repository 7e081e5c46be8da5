"""Guards how often something may be tried: neither too often, nor a lock-out of somebody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latchgate.clock import HOUR_US, MINUTE_US, SECOND_US
from latchgate.domain.errors import RateLimited
from latchgate.services import throttles
from latchgate.services.throttles import Limit, Throttles, is_known_device, sign_device

START_US = 1_790_000_000_000_000
LIMIT = Limit(3, 5 * MINUTE_US)
PEPPER = b"p" * 32


class SetClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        return self.at_us


def _is_let_in(limits: Throttles, place: str, limit: Limit = LIMIT) -> bool:
    try:
        limits.count(limit, place)
    except RateLimited:
        return False
    return True


def _refusal(limits: Throttles, place: str, limit: Limit = LIMIT) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        limits.count(limit, place)
    return caught.value


def test_as_many_tries_as_the_limit_says_and_no_more() -> None:
    limits = Throttles(SetClock())
    assert [_is_let_in(limits, "ada") for _ in range(6)] == [True] * 3 + [False] * 3


def test_a_refusal_says_how_long_to_wait_and_that_is_long_enough() -> None:
    clock = SetClock()
    limits = Throttles(clock)
    for _ in range(3):
        limits.count(LIMIT, "ada")
    clock.at_us += 90 * SECOND_US + 1
    refusal = _refusal(limits, "ada")
    assert (refusal.status, refusal.code) == (429, "too_many_attempts")
    assert refusal.retry_after_s == 210
    assert refusal.headers == {"retry-after": "210"}
    assert "Wait 4 minutes" in refusal.public
    clock.at_us += refusal.retry_after_s * SECOND_US
    assert _is_let_in(limits, "ada")


def test_a_window_ends_to_the_microsecond() -> None:
    clock = SetClock()
    limits = Throttles(clock)
    for _ in range(3):
        limits.count(LIMIT, "ada")
    clock.at_us += LIMIT.window_us - 1
    assert _refusal(limits, "ada").retry_after_s == 1
    clock.at_us += 1
    assert [_is_let_in(limits, "ada") for _ in range(4)] == [True, True, True, False]


def test_refused_tries_do_not_put_off_the_end_of_the_window() -> None:
    clock = SetClock()
    limits = Throttles(clock)
    for _ in range(3):
        limits.count(LIMIT, "ada")
    for _ in range(50):
        clock.at_us += LIMIT.window_us // 51
        assert not _is_let_in(limits, "ada")
    clock.at_us = START_US + LIMIT.window_us
    assert _is_let_in(limits, "ada")


def test_places_and_limits_are_counted_apart() -> None:
    limits = Throttles(SetClock())
    other = Limit(1, HOUR_US)
    for _ in range(4):
        _is_let_in(limits, "ada")
    assert _is_let_in(limits, "eve")
    assert _is_let_in(limits, "ada", other)
    assert not _is_let_in(limits, "ada", other)
    assert not _is_let_in(limits, "ada")


def test_whoever_has_shown_who_he_is_starts_anew() -> None:
    limits = Throttles(SetClock())
    for place in ("ada", "eve"):
        for _ in range(4):
            _is_let_in(limits, place)
    limits.forgive(LIMIT, "ada")
    limits.forgive(LIMIT, "never seen")
    assert [_is_let_in(limits, "ada") for _ in range(4)] == [True, True, True, False]
    assert not _is_let_in(limits, "eve")


def test_a_flood_of_places_is_kept_within_bounds_and_pushes_out_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throttles, "PLACES_MAX", 100)
    limits = Throttles(SetClock())
    for _ in range(3):
        limits.count(LIMIT, "eve")
    for number in range(99):
        limits.count(LIMIT, f"place {number}")
        assert not _is_let_in(limits, "eve"), "whoever keeps trying is never the oldest"
    for number in range(1000):
        limits.count(LIMIT, f"another place {number}")
    assert len(limits._counts) == 100
    assert _is_let_in(limits, "eve")


def test_a_restart_forgives() -> None:
    clock = SetClock()
    before = Throttles(clock)
    for _ in range(3):
        before.count(LIMIT, "ada")
    assert not _is_let_in(before, "ada")
    assert _is_let_in(Throttles(clock), "ada")


@given(
    st.lists(st.tuples(st.integers(0, 2 * LIMIT.window_us), st.sampled_from("abc")), max_size=60),
    st.integers(1, 5),
)
def test_no_window_ever_lets_in_more_than_its_tries(
    steps: list[tuple[int, str]], tries: int
) -> None:
    clock = SetClock()
    limits, limit = Throttles(clock), Limit(tries, LIMIT.window_us)
    let_in: dict[str, list[int]] = {}
    windows: dict[str, int] = {}
    for step, place in steps:
        clock.at_us += step
        started_us = windows.get(place, -limit.window_us)
        if clock.at_us - started_us >= limit.window_us:
            windows[place], let_in[place] = clock.at_us, []
        if _is_let_in(limits, place, limit):
            let_in[place].append(clock.at_us)
        else:
            assert len(let_in[place]) == tries, "nobody is refused before his tries are used"
        assert len(let_in[place]) <= tries


@pytest.mark.parametrize(
    ("limit", "tries_a_day_max"),
    [
        (throttles.LOGIN_BY_EMAIL_AND_PLACE, 10_000),
        (throttles.LOGIN_BY_PLACE, 100_000),
        (throttles.RESET_BY_EMAIL, 200),
        (throttles.RESET_BY_PLACE, 1000),
    ],
)
def test_a_day_of_trying_stays_small(limit: Limit, tries_a_day_max: int) -> None:
    assert 0 < limit.tries * 24 * HOUR_US // limit.window_us <= tries_a_day_max


def test_a_known_device_is_known_for_its_own_user_only() -> None:
    mark = sign_device("usr_1", PEPPER)
    assert is_known_device(mark, "usr_1", PEPPER)
    assert not is_known_device(mark, "usr_2", PEPPER)
    assert not is_known_device(mark, "usr_1", b"q" * 32)
    assert not is_known_device(mark.replace("usr_1", "usr_2"), "usr_2", PEPPER)


@pytest.mark.parametrize(
    "text", ["", ".", "usr_1", "usr_1.", "usr_1." + "0" * 64, "é" * 70, "\x00"]
)
def test_a_device_cannot_be_made_up(text: str) -> None:
    assert not is_known_device(text, "usr_1", PEPPER)


@given(st.integers(0, 69), st.characters(codec="utf-8"))
def test_a_mark_with_one_other_character_is_not_known(place: int, char: str) -> None:
    mark = sign_device("usr_1", PEPPER)
    assert len(mark) == 70
    other = mark[:place] + char + mark[place + 1 :]
    assert is_known_device(other, "usr_1", PEPPER) is (other == mark)


def test_a_mark_opens_nothing_and_tells_no_secret() -> None:
    mark = sign_device("usr_1", PEPPER)
    assert PEPPER.decode() not in mark
    assert mark.startswith("usr_1.")
    assert mark == sign_device("usr_1", PEPPER)
