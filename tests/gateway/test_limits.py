"""Limits per day, week and month bind together with the credit, and are never exceeded."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from latchgate.clock import DAY_US, HOUR_US, SystemClock
from latchgate.gateway.rates import RateTerms
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.model_server import answers, usage_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]

#: An output token costs 0.10 USD, and nothing else costs anything.
TERMS = ModelTerms(0, 0, 100_000_000_000)
TOKEN = USD // 10


class SetClock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self._at_us = SystemClock().now_us() // DAY_US * DAY_US + HOUR_US

    def now_us(self) -> int:
        """The moment that was set, a microsecond later each time."""
        self._at_us += 1
        return self._at_us

    def move_us(self, by_us: int) -> None:
        """Let time pass."""
        self._at_us += by_us


async def _set(gateway: Gateway, kind: str, period: str, amount_nanos: int | None) -> None:
    await gateway.limits.set_limit(ACCOUNT, kind, period, amount_nanos, CALLER)


async def _spend(gateway: Gateway, tokens: int = 1) -> int:
    gateway.model_server.behaviour = answers(usage=usage_of(10, tokens))
    reply = await gateway.chat(max_tokens=tokens, headers={"x-latchgate-strict": "1"})
    return reply.status


@pytest.mark.parametrize(
    ("kind", "period", "code"),
    [
        ("account_limit", "day", "organization_spend_limit_exceeded"),
        ("account_limit", "week", "organization_spend_limit_exceeded"),
        ("account_limit", "month", "organization_spend_limit_exceeded"),
        ("key_limit", "none", "project_spend_limit_exceeded"),
        ("key_limit", "day", "project_spend_limit_exceeded"),
    ],
)
async def test_a_refusal_names_the_limit_that_binds(
    tmp_path: Path, kind: str, period: str, code: str
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _set(gateway, kind, period, 3 * TOKEN)
        assert [await _spend(gateway) for _ in range(4)] == [200, 200, 200, 429]
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        reply = await gateway.chat(max_tokens=1)
        assert reply.error["code"] == code
        assert "$0.10" in reply.error["message"]
        assert "$0.00" in reply.error["message"]
        assert "Limits page" in reply.error["message"]
        standing = await gateway.limits.standing(ACCOUNT)
        assert (standing.binding.kind, standing.available_nanos) == (kind, 0)
        assert (await gateway.audit()).findings == ()


async def test_a_race_on_several_limits_stops_at_the_tightest(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, running_per_key_max=1000) as gateway:
        await _set(gateway, "account_limit", "month", 40 * TOKEN)
        await _set(gateway, "account_limit", "day", 23 * TOKEN)
        await _set(gateway, "key_limit", "none", 30 * TOKEN)
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        replies = await asyncio.gather(*(gateway.chat(max_tokens=1) for _ in range(200)))
        assert Counter(reply.status for reply in replies) == {200: 23, 429: 177}
        standing = await gateway.limits.standing(ACCOUNT)
        spent = {(view.kind, view.period): view.spent_nanos for view in standing.limits}
        assert set(spent.values()) == {23 * TOKEN}
        assert len(spent) == 4
        assert (await gateway.audit()).findings == ()


async def test_a_limit_counts_what_was_spent_before_it_was_set(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        assert await _spend(gateway, tokens=5) == 200
        await _set(gateway, "account_limit", "day", 6 * TOKEN)
        assert [await _spend(gateway), await _spend(gateway)] == [200, 429]
        assert (await gateway.audit()).findings == ()


async def test_a_lowered_limit_binds_the_next_call_and_a_raised_one_frees_it(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _set(gateway, "account_limit", "day", 20 * TOKEN)
        assert await _spend(gateway, tokens=4) == 200
        await _set(gateway, "account_limit", "day", 2 * TOKEN)
        assert await _spend(gateway) == 429
        standing = await gateway.limits.standing(ACCOUNT)
        assert standing.available_nanos == 0
        await _set(gateway, "account_limit", "day", 5 * TOKEN)
        assert [await _spend(gateway), await _spend(gateway)] == [200, 429]
        await _set(gateway, "account_limit", "day", None)
        assert await _spend(gateway, tokens=9) == 200
        assert (await gateway.audit()).findings == ()


async def test_a_limit_switched_off_and_on_again_counts_what_went_by(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _set(gateway, "account_limit", "month", 10 * TOKEN)
        await _spend(gateway, tokens=2)
        await _set(gateway, "account_limit", "month", None)
        await _spend(gateway, tokens=3)
        await _set(gateway, "account_limit", "month", 6 * TOKEN)
        assert [await _spend(gateway), await _spend(gateway)] == [200, 429]
        assert (await gateway.audit()).findings == ()


async def test_a_new_key_resets_no_limit(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await _set(gateway, "key_limit", "none", 2 * TOKEN)
        assert [await _spend(gateway), await _spend(gateway)] == [200, 200]
        fresh = await gateway.api_keys.create(ACCOUNT, "fresh", caller=CALLER, replace=True)
        gateway.secret = fresh.secret
        assert await _spend(gateway) == 429


async def test_a_window_turns_over_at_the_accounts_midnight(tmp_path: Path) -> None:
    clock = SetClock()  # one o'clock in UTC
    async with running_gateway(tmp_path, terms=TERMS, clock=clock) as gateway:
        await gateway.limits.set_time_zone(ACCOUNT, "Etc/GMT+3", CALLER)  # 22 o'clock there
        await _set(gateway, "account_limit", "day", TOKEN)
        assert [await _spend(gateway), await _spend(gateway)] == [200, 429]
        clock.move_us(HOUR_US)
        assert await _spend(gateway) == 429
        clock.move_us(HOUR_US)
        assert [await _spend(gateway), await _spend(gateway)] == [200, 429]
        standing = await gateway.limits.standing(ACCOUNT)
        view = standing.find("account_limit", "day")
        assert view is not None
        assert view.spent_nanos == TOKEN
        assert (await gateway.audit()).findings == ()


async def test_a_charge_belongs_to_the_window_in_which_the_call_was_let_in(
    tmp_path: Path,
) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, terms=TERMS, clock=clock) as gateway:
        await _set(gateway, "account_limit", "day", 5 * TOKEN)
        slow = asyncio.Event()
        usual = answers(usage=usage_of(10, 4))

        async def behaviour(*args: object) -> None:
            await slow.wait()
            await usual(*args)  # type: ignore[arg-type]

        gateway.model_server.behaviour = behaviour
        call = asyncio.create_task(gateway.chat(max_tokens=4))
        while not gateway.directory.running_calls:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
        clock.move_us(DAY_US)
        slow.set()
        assert (await call).status == 200
        standing = await gateway.limits.standing(ACCOUNT)
        today = standing.find("account_limit", "day")
        assert today is not None
        assert today.spent_nanos == 0
        assert standing.limits[1].spent_nanos == 4 * TOKEN  # the credit
        assert (await gateway.audit()).findings == ()


async def test_a_credit_line_lets_an_account_pay_afterwards(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=TOKEN) as gateway:
        assert [await _spend(gateway), await _spend(gateway)] == [200, 429]
        await gateway.limits.set_credit_line(ACCOUNT, 2 * TOKEN, CALLER)
        assert [await _spend(gateway) for _ in range(3)] == [200, 200, 429]
        balances = await gateway.balances()
        assert (balances.credit_nanos, balances.spent_nanos) == (TOKEN, 3 * TOKEN)
        assert balances.available_nanos == 0
        assert (await gateway.audit()).findings == ()


async def test_a_call_waits_for_running_ones_rather_than_being_refused(tmp_path: Path) -> None:
    # The first call holds all that there is, and spends a tenth of it.
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=10 * TOKEN) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        replies = await asyncio.gather(*(gateway.chat(max_tokens=10) for _ in range(5)))
        assert [reply.status for reply in replies] == [200] * 5
        assert (await gateway.balances()).spent_nanos == 5 * TOKEN


async def test_a_rate_limit_refuses_with_what_to_wait_and_says_what_is_left(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, rates=RateTerms(3, 1000)) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5))
        replies = [await gateway.chat() for _ in range(4)]
        assert [reply.status for reply in replies] == [200, 200, 200, 429]
        assert replies[0].headers["x-ratelimit-limit-requests"] == "3"
        assert replies[0].headers["x-ratelimit-remaining-requests"] == "2"
        assert replies[0].headers["x-ratelimit-limit-tokens"] == "1000"
        refused = replies[3]
        assert (refused.error["type"], refused.error["code"]) == ("requests", "rate_limit_exceeded")
        assert int(refused.headers["retry-after-ms"]) <= 20_000
        assert "x-should-retry" not in refused.headers
        await gateway.limits.set_rates(
            ACCOUNT,
            requests_per_minute=0,
            tokens_per_minute=None,
            calls_at_once=None,
            caller=CALLER,
        )
        reply = await gateway.chat()
        assert reply.status == 200
        assert "x-ratelimit-limit-requests" not in reply.headers


async def test_a_new_key_fills_no_bucket(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, rates=RateTerms(2, 0)) as gateway:
        assert [(await gateway.chat()).status for _ in range(3)] == [200, 200, 429]
        fresh = await gateway.api_keys.create(ACCOUNT, "fresh", caller=CALLER, replace=True)
        assert (await gateway.chat(key=fresh.secret)).status == 429


async def test_an_operator_sets_how_many_calls_run_at_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await gateway.limits.set_rates(
            ACCOUNT,
            requests_per_minute=None,
            tokens_per_minute=None,
            calls_at_once=1,
            caller=CALLER,
        )
        usual, may_end = answers(usage=usage_of(10, 1)), asyncio.Event()

        async def hang(*args: object) -> None:
            await may_end.wait()
            await usual(*args)  # type: ignore[arg-type]

        gateway.model_server.behaviour = hang
        calls = asyncio.as_completed([gateway.chat(max_tokens=1) for _ in range(3)])
        replies = [await next(calls), await next(calls)]  # the one that runs is not among them
        may_end.set()
        replies.append(await next(calls))
        assert Counter(reply.status for reply in replies) == {200: 1, 429: 2}
        codes = {reply.error["code"] for reply in replies if reply.status == 429}
        assert codes == {"concurrency_limit_exceeded"}
