"""Guards plans: the default one changes nothing, another binds the next call of who has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from latchgate.domain.errors import Conflict, Forbidden, InvalidRequest, NotFound
from latchgate.domain.money import AMOUNT_NANOS_MAX
from latchgate.services import plans as plan_services
from latchgate.services.plans import Plans, PlanTerms
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway

pytestmark = pytest.mark.anyio
SLOW = PlanTerms(requests_per_minute=1)
OTHER = "acct_other"


def plans_of(gateway: Gateway) -> Plans:
    """The use cases, which tell this gateway."""
    return Plans(
        gateway.store,
        gateway.clock,
        gateway.engine.on_limits_changed,
        lambda: {entry.account_id for entry in gateway.directory.keys},
    )


async def test_the_default_plan_says_nothing_of_its_own(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        (plan,) = await plans_of(gateway).list_plans()
        assert (plan.name, plan.terms, plan.is_default) == ("default", PlanTerms(), True)
        assert plan.accounts == 1
        assert [(await gateway.chat()).status for _ in range(3)] == [200] * 3


async def test_a_plan_and_its_changes_bind_the_next_call_of_who_has_it_and_nobody_else(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        plans, other = plans_of(gateway), await gateway.add_account(OTHER, USD)
        await plans.create("slow", SLOW, CALLER)
        assert (await gateway.chat()).status == 200
        await plans.assign(ACCOUNT, "slow", CALLER)
        statuses = [(await gateway.chat()).status for _ in range(2)]
        assert statuses[-1] == 429
        assert [(await gateway.chat(key=other.secret)).status for _ in range(3)] == [200] * 3
        await plans.change("slow", PlanTerms(requests_per_minute=0), CALLER)
        assert [(await gateway.chat()).status for _ in range(3)] == [200] * 3
        await plans.change("default", SLOW, CALLER)
        assert 429 in [(await gateway.chat(key=other.secret)).status for _ in range(2)]
        assert (await gateway.chat()).status == 200


async def test_what_an_account_was_given_of_its_own_goes_before_its_plan(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        plans = plans_of(gateway)
        await plans.create("slow", SLOW, CALLER)
        own = {"requests_per_minute": 0, "tokens_per_minute": None, "calls_at_once": None}
        await gateway.limits.set_rates(ACCOUNT, **own, caller=CALLER)
        await plans.assign(ACCOUNT, "slow", CALLER)
        assert [(await gateway.chat()).status for _ in range(3)] == [200] * 3
        await gateway.limits.set_rates(
            ACCOUNT, **(own | {"requests_per_minute": None}), caller=CALLER
        )
        assert 429 in [(await gateway.chat()).status for _ in range(2)]


async def test_premium_needs_the_plan_and_the_owner(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        plans, limits = plans_of(gateway), gateway.limits
        await plans.create("plain", PlanTerms(has_premium=False), CALLER)
        await limits.set_premium(ACCOUNT, "account", is_on=True, caller=CALLER)
        priority = {"service_tier": "priority"}
        assert (await gateway.chat(**priority)).status == 200
        await plans.assign(ACCOUNT, "plain", CALLER)
        refused = await gateway.chat(**priority)
        assert (refused.status, refused.error["code"]) == (400, "service_tier_not_enabled")
        standing = await limits.standing(ACCOUNT)
        assert (standing.plan, standing.has_premium, standing.premium["account"]) == (
            "plain",
            False,
            False,
        )
        with pytest.raises(Forbidden) as error:
            await limits.set_premium(ACCOUNT, "account", is_on=True, caller=CALLER)
        assert error.value.code == "premium_not_in_plan"
        await plans.assign(ACCOUNT, "default", CALLER)
        assert (await gateway.chat(**priority)).status == 200, "the owner's switch was kept"


async def test_a_credit_line_follows_its_plan_unless_the_account_was_given_its_own(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, credit_nanos=0) as gateway:
        plans = plans_of(gateway)
        await gateway.add_account(OTHER, 0)
        await gateway.limits.set_credit_line(OTHER, 7 * USD, CALLER)
        await plans.create("later", PlanTerms(credit_line_nanos=2 * USD), CALLER)
        assert (await gateway.chat()).status == 429
        for account_id in (ACCOUNT, OTHER):
            await plans.assign(account_id, "later", CALLER)
        assert (await gateway.chat()).status == 200
        await plans.change("later", PlanTerms(credit_line_nanos=3 * USD), CALLER)
        lines = [(await gateway.balances(who)).credit_line_nanos for who in (ACCOUNT, OTHER)]
        assert lines == [3 * USD, 7 * USD]
        await plans.assign(ACCOUNT, "default", CALLER)
        assert (await gateway.chat()).status == 429
        assert (await gateway.audit()).findings == ()


async def test_too_many_followers_are_refused_and_nothing_is_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.add_account(OTHER, 0)
        monkeypatch.setattr(plan_services, "FOLLOWERS_MAX", 1)
        with pytest.raises(Conflict, match="Make another plan"):
            await plans_of(gateway).change("default", PlanTerms(credit_line_nanos=USD), CALLER)
        assert (await gateway.balances()).credit_line_nanos == 0
        assert (await gateway.audit()).findings == ()


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("", PlanTerms()),
        ("a plan", PlanTerms()),
        ("x", PlanTerms(gift_nanos=-1)),
        ("x", PlanTerms(credit_line_nanos=AMOUNT_NANOS_MAX + 1)),
        ("x", PlanTerms(requests_per_minute=-1)),
        ("x", PlanTerms(tokens_per_minute=10**13)),
        ("x", PlanTerms(calls_at_once=0)),
    ],
)
async def test_what_makes_no_sense_is_refused(tmp_path: Path, name: str, terms: PlanTerms) -> None:
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(InvalidRequest):
            await plans_of(gateway).create(name, terms, CALLER)


async def test_names_are_taken_once_and_the_default_gift_is_the_settings(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        plans = plans_of(gateway)
        await plans.create("x", PlanTerms(), CALLER)
        with pytest.raises(Conflict):
            await plans.create("x", PlanTerms(), CALLER)
        with pytest.raises(NotFound):
            await plans.assign(ACCOUNT, "y", CALLER)
        with pytest.raises(InvalidRequest, match=r"signup\.gift"):
            await plans.change("default", PlanTerms(gift_nanos=1), CALLER)
