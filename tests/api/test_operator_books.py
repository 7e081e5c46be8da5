"""The platform's books and health, as an operator reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from latchgate.config.settings import StripeSettings
from latchgate.domain.ledger import overrun_posting
from latchgate.domain.people import CLI
from latchgate.domain.usage import Usage
from latchgate.storage.ledger import post
from tests.api.test_management_codes import operator_of
from tests.support.management import EMAIL, Management, running_console
from tests.support.months import Call, charge
from tests.support.stripe_server import SECRET_KEY, WEBHOOK_SECRET

pytestmark = pytest.mark.anyio
BOOKS, HEALTH = "/operator/books", "/operator/health"


@pytest.fixture
async def management(tmp_path: Path, database_url: str) -> AsyncIterator[Management]:
    """A console with its pages, on either engine."""
    async with running_console(tmp_path, database_url=database_url) as running:
        yield running


async def test_the_books_add_up_to_what_accounts_have_and_owe(management: Management) -> None:
    operator = await operator_of(management)
    await management.signed_up()
    services = management.world.services
    account_id = (await services.accounts.get(EMAIL)).account_id
    key = (await services.api_keys.create(account_id, "Laptop", caller=CLI)).view
    calls = [Call("m", Usage(1_000, 0, 500))]
    now_us = management.world.clock.now_us()
    await charge(management.world.store, account_id, key.id, [(now_us, calls)])
    await services.accounts.create(
        "bob@example.com", "seven quiet llamas", is_operator=False, credit_nanos=7, actor="cli"
    )
    bob = (await services.accounts.get("bob@example.com")).account_id
    await services.billing.correct(bob, -10, reason="Given twice", caller=CLI)
    overrun = overrun_posting("pst_" + "0" * 26, 5, 1)
    await management.world.store.write(post, overrun, now_us=now_us)
    books = await services.operations.books()
    assert (books.revenue_nanos, books.given_nanos) == (300_005, 5_000_000_000 - 3)
    assert (books.outstanding_nanos, books.owed_nanos) == (4_999_700_000, 3)
    assert (books.overrun_nanos, books.loss_nanos, books.accounts) == (5, 0, 3)
    assert books.given_nanos - books.charged_nanos + books.owed_nanos == books.outstanding_nanos
    page = (await operator.get(BOOKS)).text
    for shown in ("$0.000300005", "$0.000000005", "$4.9997", "$4.999999997", "$0.000000003"):
        assert shown in page, shown


async def test_the_audit_runs_on_demand_and_names_what_disagrees(management: Management) -> None:
    operator = await operator_of(management)
    await management.signed_up()
    assert "Everything agrees." in (await operator.post(f"{BOOKS}/audit")).text

    def spoil(conn: Connection) -> None:
        conn.execute(text("UPDATE ledger_accounts SET balance_nanos = 1 WHERE id = 'revenue'"))

    await management.world.store.write(spoil)
    found = (await operator.post(f"{BOOKS}/audit")).text
    assert "disagreement" in found
    assert "revenue" in found


async def test_health_says_what_the_doctor_finds(management: Management) -> None:
    operator = await operator_of(management)
    page = (await operator.get(HEALTH)).text
    assert "schema" in page
    assert "upstream lab" in page
    assert "reached" in page
    assert "open to everybody" in page
    assert "signup.mode" in page


async def test_settings_are_shown_without_their_secrets(tmp_path: Path) -> None:
    stripe = StripeSettings(secret_key=SECRET_KEY, webhook_secret=WEBHOOK_SECRET)
    async with running_console(tmp_path, stripe=stripe) as management:
        page = (await (await operator_of(management)).get(HEALTH)).text
        assert "stripe.secret_key" in page
        assert SECRET_KEY not in page
        assert WEBHOOK_SECRET not in page
