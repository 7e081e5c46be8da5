"""What an amount means, in calls, and the most that a leaked key can cost."""

from __future__ import annotations

import pytest

from latchgate.domain.alerts import AlertTerms, Level, parse_percents, passed
from latchgate.domain.auto_top_ups import TopUpTerms
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.prices import Price
from latchgate.domain.worth import Worth, most_to_lose, worth_of_letter
from latchgate.services.auto_top_ups import TopUpView
from latchgate.services.limits import LimitView, Standing
from latchgate.services.worth import most_to_lose_today

USD = 1_000_000_000


@pytest.mark.parametrize(
    ("amount", "calls"),
    [(0, 0), (-5, 0), (6, 0), (7, 1), (70, 10), (8_700, 1_200), (8_699, 1_200), (9_099, 1_200)],
)
def test_an_amount_is_said_in_calls_rounded_down_to_two_digits(amount: int, calls: int) -> None:
    assert Worth(7, 1).calls_for(amount) == calls


def test_a_newcomers_letter_is_the_cheapest_that_costs_something() -> None:
    prices = [
        ("free", Price("a", 0, 0, 0)),
        ("dear", Price("b", 3_000_000, 0, 15_000_000)),
        ("small", Price("c", 100_000, 20_000, 400_000)),
    ]
    # 300 tokens in at 0.10 and 400 out at 0.40 dollars a million.
    assert worth_of_letter(prices) == Worth(190_000, 1, "small")
    assert worth_of_letter(prices[:1]) is None


def test_the_most_to_lose_is_what_the_tightest_limit_leaves() -> None:
    assert most_to_lose(5, [], 0) == 5
    assert most_to_lose(5, [4, 3, 9], 0) == 3
    assert most_to_lose(5, [], 20) == 25
    assert most_to_lose(5, [7], 20) == 7
    assert most_to_lose(-5, [7], 3) == 0


def _standing(*limits: LimitView) -> Standing:
    return Standing(limits, "UTC", {"account": False, "key": True})


def _view(kind: str, limit: int, spent: int = 0, held: int = 0) -> LimitView:
    return LimitView(kind, "none" if kind == "credit" else "day", limit, spent, held, None)


def test_a_top_up_that_may_still_come_is_among_what_can_be_lost_today() -> None:
    standing = _standing(_view("credit", 10 * USD, 6 * USD, USD))
    terms = TopUpTerms(5 * USD, 20 * USD, 70 * USD)
    assert most_to_lose_today(standing, None) == 3 * USD
    assert most_to_lose_today(standing, TopUpView("off", terms, 0)) == 3 * USD
    assert most_to_lose_today(standing, TopUpView("on", terms, 0)) == 63 * USD
    assert most_to_lose_today(standing, TopUpView("on", terms, 20 * USD)) == 43 * USD
    assert most_to_lose_today(standing, TopUpView("on", terms, 80 * USD)) == 3 * USD
    bound = _standing(*standing.limits, _view("key_limit", 4 * USD, 2 * USD, USD))
    assert most_to_lose_today(bound, TopUpView("on", terms, 0)) == USD


@pytest.mark.parametrize(
    ("text", "percents"),
    [("", ()), ("50", (50,)), ("80 %, 50", (50, 80)), ("50 80,100%", (50, 80, 100))],
)
def test_thresholds_are_read_as_people_write_them(text: str, percents: tuple[int, ...]) -> None:
    assert parse_percents(text) == percents


@pytest.mark.parametrize("text", ["half", "50;80", "5e1", "-50", "50,", "1000", "٥٠", "50.5"])
def test_what_is_no_list_of_percentages_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_percents(text)
    assert refused.value.param == "percents"


def test_a_threshold_is_passed_at_exactly_its_share_and_never_twice() -> None:
    def at(spent: int, told: int = 0) -> int:
        level = Level(
            is_credit=False, limit_nanos=1000, base_nanos=1000, spent_nanos=spent, told=told
        )
        return passed(AlertTerms(), level)

    assert [at(spent) for spent in (499, 500, 799, 800, 999, 1000)] == [0, 50, 50, 80, 80, 100]
    assert [at(900, told) for told in (0, 50, 80, 100)] == [80, 80, 0, 0]
