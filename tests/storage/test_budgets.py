"""Guards budgets as rows: which bind an account, what limits allow, and what windows count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import NoResultFound

from latchgate.domain.windows import FOREVER_US, Window
from latchgate.storage.budgets import (
    ACCOUNT_LIMIT,
    CREDIT,
    KEY_LIMIT,
    find_budget,
    find_window,
    get_credit_budget,
    insert_budget,
    list_budgets,
    open_window,
    raise_limit,
    set_limit,
    switch_off,
)
from latchgate.storage.usage_events import insert_events
from tests.storage.bank import ACCOUNT, NOW_US, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
OTHER = "acct_other"
DAY = Window("bgt_day", NOW_US - 1000, NOW_US + 1000)


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit, and another one with 500."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        await opened.add_account(OTHER, 500)
        yield opened


async def _charge(
    bank: Bank, charge_nanos: int, started_us: int, account_id: str = ACCOUNT
) -> None:
    """A call that was charged, as a usage event alone."""
    record = bank.closed(charge_nanos, account_id=account_id)
    row = (
        *(record.request_id, account_id, f"key_{account_id}", "prc_1", "m", "test"),
        *(1, 0, 1, 10_000, charge_nanos, 0, "answered", "upstream", 0, 200),
        *(started_us, None, started_us, "127.0.0.1", None),
    )
    await bank.store.write(insert_events, [row])


async def _add_day(bank: Bank, account_id: str = ACCOUNT) -> None:
    """A limit for the day that is still off."""
    await bank.store.write(insert_budget, DAY.budget_id, account_id, ACCOUNT_LIMIT, "day")


async def _set(bank: Bank, limit_nanos: int, window: Window = DAY, now_us: int = NOW_US) -> None:
    await bank.store.write(
        set_limit,
        budget_id=window.budget_id,
        window=window,
        limit_nanos=limit_nanos,
        now_us=now_us,
    )


# ── which budgets there are ─────────────────────────────────────────────────────────────────────
async def test_an_account_is_bound_by_its_own_budgets_that_are_on(bank: Bank) -> None:
    for budget_id, kind, period in (
        ("bgt_w", ACCOUNT_LIMIT, "week"),
        ("bgt_d", ACCOUNT_LIMIT, "day"),
        ("bgt_k", KEY_LIMIT, "day"),
        ("bgt_off", ACCOUNT_LIMIT, "month"),
    ):
        await bank.store.write(insert_budget, budget_id, ACCOUNT, kind, period)
    await bank.store.write(insert_budget, "bgt_theirs", OTHER, ACCOUNT_LIMIT, "day")
    assert [row.kind for row in await bank.store.read(list_budgets, ACCOUNT)] == [CREDIT]
    await bank.change("UPDATE budgets SET active_since_us = 1 WHERE id <> 'bgt_off'")
    listed = await bank.store.read(list_budgets, ACCOUNT)
    assert [(row.kind, row.period) for row in listed] == [
        (ACCOUNT_LIMIT, "day"),
        (ACCOUNT_LIMIT, "week"),
        (CREDIT, "none"),
        (KEY_LIMIT, "day"),
    ]
    assert {row.account_id for row in listed} == {ACCOUNT}


async def test_a_new_budget_is_off_and_allows_nothing(bank: Bank) -> None:
    await _add_day(bank)
    row = await bank.store.read(find_budget, ACCOUNT, ACCOUNT_LIMIT, "day")
    assert row is not None
    assert tuple(row) == (DAY.budget_id, ACCOUNT, ACCOUNT_LIMIT, "day", "", 0, None)


async def test_a_budget_is_found_by_all_that_names_it(bank: Bank) -> None:
    await _add_day(bank)
    await bank.change(
        "INSERT INTO budgets (id, account_id, kind, period, target, limit_nanos) VALUES"
        " ('bgt_app', :account, 'account_limit', 'week', 'some app', 5)",
        account=ACCOUNT,
    )
    for names in (
        (OTHER, ACCOUNT_LIMIT, "day"),
        (ACCOUNT, KEY_LIMIT, "day"),
        (ACCOUNT, ACCOUNT_LIMIT, "week"),  # only for an app
    ):
        assert await bank.store.read(find_budget, *names) is None


async def test_each_account_has_one_credit_budget(bank: Bank) -> None:
    await _add_day(bank)
    ours, theirs = [
        await bank.store.read(get_credit_budget, account_id) for account_id in (ACCOUNT, OTHER)
    ]
    assert ours == bank.credit.budget_id
    assert ours != theirs
    row = await bank.store.read(find_window, Window(ours))
    assert row is not None
    assert (row.starts_us, row.ends_us) == (0, FOREVER_US)


# ── windows ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_window_is_found_by_its_budget_and_start(bank: Bank) -> None:
    await bank.add_budget("bgt_day", 400)
    await bank.store.write(open_window, DAY)
    assert await bank.figures(Window("bgt_day", DAY.starts_us)) == Figures(400, 0, 0, 400)
    assert await bank.figures(Window("bgt_day", DAY.starts_us + 1)) is None
    assert await bank.figures(Window(bank.credit.budget_id, DAY.starts_us)) is None
    row = await bank.store.read(find_window, DAY)
    assert row is not None
    assert row.ends_us == DAY.ends_us


async def test_a_window_counts_the_calls_that_were_let_in_while_it_ran(bank: Bank) -> None:
    await bank.add_budget("bgt_day", 4000)
    await _charge(bank, 1, DAY.starts_us - 1)
    await _charge(bank, 10, DAY.starts_us)
    await _charge(bank, 100, DAY.ends_us - 1)
    await _charge(bank, 1000, DAY.ends_us)
    await _charge(bank, 5000, NOW_US, OTHER)
    await bank.store.write(open_window, DAY)
    assert await bank.figures(DAY) == Figures(4000, 110, 0, 4000)


async def test_a_window_that_was_overspent_before_it_opened_says_so(bank: Bank) -> None:
    await bank.add_budget("bgt_day", 400)
    await _charge(bank, 700, NOW_US)
    await bank.store.write(open_window, DAY)
    assert await bank.figures(DAY) == Figures(400, 700, 0, 700)


async def test_a_window_is_opened_once(bank: Bank) -> None:
    await bank.add_budget("bgt_day", 400)
    await bank.store.write(open_window, DAY)
    await bank.change("UPDATE budget_windows SET spent_nanos = 5 WHERE budget_id = 'bgt_day'")
    await bank.change("UPDATE budgets SET limit_nanos = 900 WHERE id = 'bgt_day'")
    await bank.store.write(open_window, DAY)
    assert await bank.figures(DAY) == Figures(400, 5, 0, 400)


async def test_a_budget_that_is_off_or_unknown_opens_no_window(bank: Bank) -> None:
    await _add_day(bank)
    await bank.store.write(open_window, DAY)
    await bank.store.write(open_window, Window("bgt_unknown"))
    assert await bank.figures(DAY) is None
    assert len(await bank.rows("SELECT * FROM budget_windows")) == 2  # the credits'


# ── limits ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_first_limit_switches_a_budget_on_and_counts_what_went_before(bank: Bank) -> None:
    await _add_day(bank)
    await _charge(bank, 30, NOW_US - 10)
    await _set(bank, 400)
    assert await bank.figures(DAY) == Figures(400, 30, 0, 400)
    row = await bank.store.read(find_budget, ACCOUNT, ACCOUNT_LIMIT, "day")
    assert row is not None
    assert (row.limit_nanos, row.active_since_us) == (400, NOW_US)


@pytest.mark.parametrize(("kind", "spent"), [(KEY_LIMIT, 30), (ACCOUNT_LIMIT, 42)])
async def test_what_the_playground_spent_before_counts_in_an_accounts_limit_and_not_in_a_keys(
    bank: Bank, kind: str, spent: int
) -> None:
    await bank.store.write(insert_budget, DAY.budget_id, ACCOUNT, kind, "day")
    playground = await bank.add_playground()
    await _charge(bank, 30, NOW_US - 10)
    await _charge(bank, 12, NOW_US - 10)
    await bank.change(
        "UPDATE usage_events SET api_key_id = :key WHERE charge_nanos = 12", key=playground
    )
    await _set(bank, 400)
    assert await bank.figures(DAY) == Figures(400, spent, 0, 400)
    # A day that begins later finds the same.
    await bank.change("DELETE FROM budget_windows WHERE budget_id = 'bgt_day'")
    await bank.store.write(open_window, DAY)
    assert await bank.figures(DAY) == Figures(400, spent, 0, 400)


async def test_a_changed_limit_binds_at_once_and_keeps_since_when_it_is_on(bank: Bank) -> None:
    await _add_day(bank)
    await _set(bank, 400)
    await bank.change(
        "UPDATE budget_windows SET spent_nanos = 200, leased_nanos = 50 WHERE budget_id = 'bgt_day'"
    )
    await _set(bank, 100, now_us=NOW_US + 5)
    assert await bank.figures(DAY) == Figures(100, 200, 50, 400)  # the ceiling stays
    await _set(bank, 900, now_us=NOW_US + 6)
    assert await bank.figures(DAY) == Figures(900, 200, 50, 900)
    row = await bank.store.read(find_budget, ACCOUNT, ACCOUNT_LIMIT, "day")
    assert row is not None
    assert (row.limit_nanos, row.active_since_us) == (900, NOW_US)


async def test_a_limit_changes_its_own_running_window_only(bank: Bank) -> None:
    yesterday = Window("bgt_day", DAY.starts_us - 2000, DAY.starts_us)
    await _add_day(bank)
    await _set(bank, 400, yesterday)
    await _set(bank, 300, DAY)
    assert await bank.figures(yesterday) == Figures(400, 0, 0, 400)
    assert await bank.figures(DAY) == Figures(300, 0, 0, 300)
    assert await bank.figures() == Figures(1000, 0, 0, 1000)
    rows = await bank.rows("SELECT DISTINCT limit_nanos FROM budgets ORDER BY limit_nanos")
    assert [row[0] for row in rows] == [300, 500, 1000]


async def test_a_budget_switched_on_again_counts_what_went_by_while_it_was_off(bank: Bank) -> None:
    await _add_day(bank)
    await _set(bank, 400)
    await bank.store.write(switch_off, DAY.budget_id)
    assert [row.kind for row in await bank.store.read(list_budgets, ACCOUNT)] == [CREDIT]
    assert [row.kind for row in await bank.store.read(list_budgets, OTHER)] == [CREDIT]
    await _charge(bank, 30, NOW_US - 10)
    await _charge(bank, 8, NOW_US - 10, OTHER)
    await _set(bank, 500, now_us=NOW_US + 7)
    assert await bank.figures(DAY) == Figures(500, 30, 0, 500)
    row = await bank.store.read(find_budget, ACCOUNT, ACCOUNT_LIMIT, "day")
    assert row is not None
    assert row.active_since_us == NOW_US + 7


async def test_a_budget_switched_on_again_below_what_went_by_has_room_for_its_leases(
    bank: Bank,
) -> None:
    await _add_day(bank)
    await _set(bank, 400)
    await bank.change("UPDATE budget_windows SET leased_nanos = 60 WHERE budget_id = 'bgt_day'")
    await bank.store.write(switch_off, DAY.budget_id)
    await _charge(bank, 700, NOW_US)
    await _set(bank, 500)
    assert await bank.figures(DAY) == Figures(500, 700, 60, 760)


async def test_a_limit_binds_every_window_that_runs(bank: Bank) -> None:
    # A change of time zone leaves two windows of a day that overlap.
    shifted = Window("bgt_day", DAY.starts_us + 500, DAY.ends_us + 500)
    over = Window("bgt_day", DAY.starts_us - 2000, NOW_US)
    await _add_day(bank)
    for window in (over, DAY, shifted):
        await _set(bank, 400, window, now_us=NOW_US - 600)
    await bank.store.write(switch_off, "bgt_day")
    await _charge(bank, 30, DAY.starts_us + 100)
    await _charge(bank, 2, NOW_US)
    await _set(bank, 300, DAY)
    assert await bank.figures(over) == Figures(400, 0, 0, 400)
    assert await bank.figures(DAY) == Figures(300, 32, 0, 400)
    assert await bank.figures(shifted) == Figures(300, 2, 0, 400)


async def test_a_limit_leaves_windows_of_other_budgets_alone_that_run_at_the_same_time(
    bank: Bank,
) -> None:
    await _add_day(bank)
    await _charge(bank, 30, NOW_US)
    await _set(bank, 400)
    twin = await bank.add_budget("bgt_twin", 50, period="week")
    await bank.store.write(open_window, twin)
    await bank.change(
        "UPDATE budget_windows SET spent_nanos = 7, leased_nanos = 20 WHERE budget_id = 'bgt_twin'"
    )
    for limit_nanos in (400, 300):
        await _set(bank, limit_nanos)
        assert await bank.figures(DAY) == Figures(limit_nanos, 30, 0, 400)
        assert await bank.figures(twin) == Figures(50, 7, 20, 50)
    assert (twin.starts_us, twin.ends_us) == (DAY.starts_us, DAY.ends_us)


async def test_a_limit_on_what_is_no_budget_is_refused(bank: Bank) -> None:
    with pytest.raises(NoResultFound):
        await _set(bank, 1, Window("bgt_unknown", NOW_US, NOW_US + 1))
    rows = await bank.rows("SELECT DISTINCT limit_nanos FROM budgets ORDER BY limit_nanos")
    assert [row[0] for row in rows] == [500, 1000]


# ── credit ──────────────────────────────────────────────────────────────────────────────────────
async def test_more_credit_raises_budget_and_window_and_less_keeps_the_ceiling(bank: Bank) -> None:
    await bank.add_budget("bgt_day", 400)
    await bank.store.write(open_window, DAY)
    for amount_nanos, figures in (
        (500, Figures(1500, 0, 0, 1500)),
        (-700, Figures(800, 0, 0, 1500)),
        (200, Figures(1000, 0, 0, 1500)),
        (501, Figures(1501, 0, 0, 1501)),
    ):
        await bank.store.write(raise_limit, account_id=ACCOUNT, amount_nanos=amount_nanos)
        assert await bank.figures() == figures
    rows = await bank.rows("SELECT limit_nanos FROM budgets ORDER BY limit_nanos")
    assert [row[0] for row in rows] == [400, 500, 1501]
    assert await bank.figures(DAY) == Figures(400, 0, 0, 400)
