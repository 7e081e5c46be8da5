"""Plans in the console: made, changed, given to an account, and seen by its owner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.test_management_codes import operator_of
from tests.support.management import EMAIL, PASSWORD, Management, running_console

pytestmark = pytest.mark.anyio
PAGE = "/operator/plans"
PLAN = {"name": "team", "gift": "7.50", "requests_per_minute": "90", "credit_line": "$2"}


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """A console with its pages."""
    async with running_console(tmp_path) as running:
        yield running


async def test_a_plan_is_made_changed_and_given_and_its_owner_sees_it(
    management: Management,
) -> None:
    operator, ada = await operator_of(management), await management.signed_up()
    assert (await operator.post(PAGE, data=PLAN)).status_code == 303
    listed = (await operator.get(PAGE)).text
    assert "team" in listed
    assert "$7.50" in listed
    account_id = (await management.world.services.accounts.get(EMAIL)).account_id
    page = f"/operator/accounts/{account_id}"
    assert "Give it this plan" in (await operator.get(page)).text
    moved = await operator.post(f"{page}/plan", data={"plan": "team"})
    assert "has another plan" in (await operator.get(moved.headers["location"])).text
    limits = (await ada.get("/limits")).text
    assert "Your plan is <b>team</b>" in limits
    assert "has no premium models" in limits
    refused = await ada.post("/limits/premium", data={"what": "account", "is_on": "1"})
    assert (refused.status_code, "has no premium models" in refused.text) == (403, True)
    balances = await management.world.services.billing.balances(account_id)
    assert balances.credit_line_nanos == 2_000_000_000
    changed = {"name": "team", "credit_line": "0", "has_premium": "1"}
    assert (await operator.post(f"{PAGE}/change", data=changed)).status_code == 303
    balances = await management.world.services.billing.balances(account_id)
    assert balances.credit_line_nanos == 0
    allowed = await ada.post("/limits/premium", data={"what": "account", "is_on": "1"})
    assert allowed.status_code == 303
    events = await management.world.services.audit_log.list_recent(account_id)
    assert "account.plan" in [event.action for event in events]
    assert "Plan changed: team" in (await ada.get("/security/activity")).text
    assert (await management.world.audit()).findings == ()


async def test_an_account_that_is_made_with_a_plan_gets_its_gift_and_its_line(
    management: Management,
) -> None:
    operator, services = await operator_of(management), management.world.services
    await operator.post(PAGE, data=PLAN)
    made = await services.accounts.create(
        "eve@example.com", PASSWORD, is_operator=False, credit_nanos=None, actor="t", plan="team"
    )
    balances = await services.billing.balances(made.account_id)
    assert (balances.credit_nanos, balances.credit_line_nanos) == (7_500_000_000, 2_000_000_000)
    assert (await services.plans.get_of(made.account_id)).name == "team"
    assert (await services.plans.get("team")).accounts == 1
    assert (await management.world.audit()).findings == ()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "no spaces"}, "name"),
        ({"gift": "much"}, "gift"),
        ({"credit_line": "-1"}, "credit_line"),
        ({"requests_per_minute": "x"}, "requests_per_minute"),
        ({"calls_at_once": "0"}, "calls_at_once"),
    ],
)
async def test_a_mistake_is_said_beside_its_field_and_makes_nothing(
    management: Management, changed: dict[str, str], field: str
) -> None:
    operator = await operator_of(management)
    answer = await operator.post(PAGE, data={**PLAN, **changed})
    assert (answer.status_code, f'id="{field}-about"' in answer.text) == (400, True)
    assert answer.text.count('aria-invalid="true"') == 1
    assert len(await management.world.services.plans.list_plans()) == 1


async def test_it_is_for_operators_alone(management: Management) -> None:
    ada = await management.signed_up()
    account_id = (await management.world.services.accounts.get(EMAIL)).account_id
    answers = [
        await ada.get(PAGE),
        await ada.post(PAGE, data=PLAN),
        await ada.get(f"{PAGE}/change", params={"name": "default"}),
        await ada.post(f"{PAGE}/change", data={"name": "default"}),
        await ada.post(f"/operator/accounts/{account_id}/plan", data={"plan": "default"}),
    ]
    assert {answer.status_code for answer in answers} == {404}
