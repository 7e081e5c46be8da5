"""Guards the books as rows: each posting once, with its balances, and what its account sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import NoResultFound

from latchgate.domain import ledger
from latchgate.domain.ledger import Posting, credit_posting, usage_posting
from latchgate.domain.windows import FOREVER_US
from latchgate.storage.budgets import open_window
from latchgate.storage.ledger import (
    CreditWindow,
    get_credit_window,
    get_posting,
    list_postings,
    open_account_books,
    open_platform_books,
    post,
    post_credit,
)
from tests.storage.bank import ACCOUNT, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
MINE = ledger.customer(ACCOUNT)
OTHER = "acct_other"
GIFT: dict[str, Any] = {
    "account_id": ACCOUNT,
    "amount_nanos": 70,
    "kind": "top_up",
    "note": "thanks",
    "actor": "ada",
    "now_us": 9,
    "posting_id": "pst_gift",
}


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        yield opened


async def _balances(bank: Bank) -> dict[str, int]:
    rows = await bank.rows("SELECT id, balance_nanos FROM ledger_accounts WHERE balance_nanos <> 0")
    return {row.id: row.balance_nanos for row in rows}


# ── opening ─────────────────────────────────────────────────────────────────────────────────────
async def test_the_platforms_books_are_opened_empty_and_once(bank: Bank) -> None:
    query = "SELECT * FROM ledger_accounts WHERE account_id IS NULL ORDER BY id"
    for table in ("ledger_entries", "ledger_accounts"):
        await bank.change(f"DELETE FROM {table}")
    await bank.store.write(open_platform_books)
    found = [tuple(row) for row in await bank.rows(query)]
    assert found == [(kind, kind, None, 0) for kind in ("funding", "loss", "overrun", "revenue")]
    await bank.change("UPDATE ledger_accounts SET balance_nanos = 7")
    await bank.store.write(open_platform_books)
    assert [row.balance_nanos for row in await bank.rows(query)] == [7] * 4


async def test_a_new_account_has_an_empty_credit_that_is_on_and_never_ends(bank: Bank) -> None:
    await bank.add_account(OTHER, 0)
    (account,) = await bank.rows("SELECT * FROM ledger_accounts WHERE account_id = :id", id=OTHER)
    assert tuple(account) == (f"customer:{OTHER}", "customer", OTHER, 0)
    (budget,) = await bank.rows("SELECT * FROM budgets WHERE account_id = :id", id=OTHER)
    assert budget.id.startswith("bgt_")
    assert (budget.kind, budget.period, budget.target) == ("credit", "none", "")
    assert (budget.limit_nanos, budget.active_since_us) == (0, 1)
    (window,) = await bank.rows("SELECT * FROM budget_windows WHERE budget_id = :id", id=budget.id)
    assert (window.starts_us, window.ends_us, window.leased_nanos) == (0, FOREVER_US, 0)
    assert (window.limit_nanos, window.ceiling_nanos, window.spent_nanos) == (0, 0, 0)


async def test_an_accounts_books_are_not_opened_twice(bank: Bank) -> None:
    with pytest.raises(Exception, match=r"ledger_accounts"):
        await bank.store.write(open_account_books, account_id=ACCOUNT, now_us=5)
    assert len(await bank.rows("SELECT * FROM budgets")) == 1


async def test_a_budgets_id_says_when_it_was_opened(bank: Bank) -> None:
    ids = []
    for account_id, now_us in (("acct_old", 1_000_000_000_000_000), ("acct_new", 2 * 10**15)):
        await bank.change(
            "INSERT INTO accounts (id, name, state, is_premium_on, time_zone, credit_line_nanos,"
            " created_us) VALUES (:id, 'x', 'active', 0, 'UTC', 0, 1)",
            id=account_id,
        )
        await bank.store.write(open_account_books, account_id=account_id, now_us=now_us)
        rows = await bank.rows("SELECT * FROM budgets WHERE account_id = :id", id=account_id)
        assert rows[0].active_since_us == now_us
        ids.append(rows[0].id)
    assert ids == sorted(ids)


# ── postings ────────────────────────────────────────────────────────────────────────────────────
async def test_a_posting_is_written_whole_and_moves_its_balances(bank: Bank) -> None:
    posting = usage_posting("pst_use", ACCOUNT, 300, 2)
    assert await bank.store.write(post, posting, now_us=77) is True
    (row,) = await bank.rows("SELECT * FROM postings WHERE id = 'pst_use'")
    assert (row.kind, row.account_id, row.amount_nanos) == ("usage", ACCOUNT, -300)
    assert (row.created_us, row.actor, row.note) == (77, "gateway", "2 calls")
    entries = await bank.rows("SELECT * FROM ledger_entries WHERE posting_id = 'pst_use'")
    found = {row.ledger_account_id: row.amount_nanos for row in entries}
    assert found == {MINE: -300, "revenue": 300}
    assert await _balances(bank) == {"funding": -1000, MINE: 700, "revenue": 300}


async def test_the_same_posting_again_changes_nothing(bank: Bank) -> None:
    posting = usage_posting("pst_use", ACCOUNT, 300, 2)
    await bank.store.write(post, posting, now_us=77)
    before = await _balances(bank)
    assert await bank.store.write(post, posting, now_us=78) is False
    assert await bank.store.write(post, usage_posting("pst_use", ACCOUNT, 1, 1), now_us=79) is False
    assert await _balances(bank) == before
    assert len(await bank.rows("SELECT * FROM ledger_entries WHERE posting_id = 'pst_use'")) == 2


async def test_a_posting_is_found_by_its_id(bank: Bank) -> None:
    posting = await bank.store.read(get_posting, f"pst_{ACCOUNT}")
    assert (posting.id, posting.account_id, posting.kind) == (f"pst_{ACCOUNT}", ACCOUNT, "gift")
    with pytest.raises(NoResultFound):
        await bank.store.read(get_posting, "pst_nobodys")


async def test_a_posting_to_a_ledger_account_that_is_not_there_is_refused_whole(bank: Bank) -> None:
    posting = Posting("pst_x", "usage", ACCOUNT, -1, "", "", ((MINE, -1), ("customer:gone", 1)))
    with pytest.raises(Exception, match=r"customer:gone|ledger_accounts|FOREIGN KEY"):
        await bank.store.write(post, posting, now_us=1)
    assert await bank.rows("SELECT * FROM postings WHERE id = 'pst_x'") == []
    assert await _balances(bank) == {"funding": -1000, MINE: 1000}


# ── credit ──────────────────────────────────────────────────────────────────────────────────────
async def test_credit_is_a_posting_and_as_much_more_to_lease(bank: Bank) -> None:
    assert await bank.store.write(post_credit, **GIFT) is True
    assert await bank.figures() == Figures(1070, 0, 0, 1070)
    (row,) = await bank.rows("SELECT * FROM postings WHERE id = 'pst_gift'")
    assert (row.kind, row.account_id, row.amount_nanos) == ("top_up", ACCOUNT, 70)
    assert (row.created_us, row.actor, row.note) == (9, "ada", "thanks")
    assert await _balances(bank) == {"funding": -1070, MINE: 1070}


async def test_the_same_credit_again_gives_nothing(bank: Bank) -> None:
    await bank.store.write(post_credit, **GIFT)
    assert await bank.store.write(post_credit, **GIFT) is False
    assert await bank.figures() == Figures(1070, 0, 0, 1070)
    assert await _balances(bank) == {"funding": -1070, MINE: 1070}


async def test_an_accounts_credit_is_its_own_window(bank: Bank) -> None:
    theirs = await bank.add_account(OTHER, 55)
    await bank.store.write(open_window, await bank.add_budget("bgt_day", 400))
    await bank.change("UPDATE accounts SET credit_line_nanos = 12 WHERE id = :id", id=ACCOUNT)
    await bank.change(
        "UPDATE budget_windows SET spent_nanos = 30, leased_nanos = 4 WHERE budget_id = :id",
        id=bank.credit.budget_id,
    )
    mine = await bank.store.read(get_credit_window, ACCOUNT)
    assert mine == CreditWindow(bank.credit.budget_id, 1000, 30, 4, 12)
    other = await bank.store.read(get_credit_window, OTHER)
    assert other == CreditWindow(theirs.budget_id, 55, 0, 0, 0)


# ── what an account is shown ────────────────────────────────────────────────────────────────────
async def test_postings_come_newest_first_page_by_page_and_only_ones_own(bank: Bank) -> None:
    await bank.add_account(OTHER, 55)
    times = {"pst_b": 50, "pst_d": 60, "pst_a": 60, "pst_c": 70}
    for posting_id, now_us in times.items():
        posting = credit_posting(posting_id, ACCOUNT, 5, kind="gift", note="n", actor="ada")
        await bank.store.write(post, posting, now_us=now_us)
    order = ["pst_c", "pst_d", "pst_a", "pst_b", f"pst_{ACCOUNT}"]
    found = await bank.store.read(list_postings, ACCOUNT, before=None, limit=10)
    assert [row.id for row in found] == order
    assert tuple(found[0]) == ("pst_c", "gift", 5, 70, "n", "ada")
    theirs = credit_posting("pst_theirs", OTHER, 5, kind="gift", note="n", actor="ada")
    await bank.store.write(post, theirs, now_us=65)
    assert await bank.store.read(list_postings, ACCOUNT, before="pst_theirs", limit=10) == []
    seen: list[str] = []
    for ids in (order[:2], order[2:4], order[4:], []):
        before = seen[-1] if seen else None
        page = await bank.store.read(list_postings, ACCOUNT, before=before, limit=2)
        assert [row.id for row in page] == ids
        seen += ids
