"""Guards the audit: a row that is gone, or is hidden from the sums, is missed and named."""

from __future__ import annotations

import pytest

from tests.storage.books import CHARGE, Books

OF_BUDGET = "WHERE budget_id = :budget"
OF_REVENUE = "WHERE posting_id = :posting AND ledger_account_id = 'revenue'"
MOVE = "UPDATE ledger_accounts SET balance_nanos ="
#: name: what is changed, and words of which a finding must have one. Nothing else is changed, so
#: that every sum over the rows that are left still agrees with itself.
CORRUPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a posting whose entries stay": (
        ("DELETE FROM postings WHERE id = :overrun",),
        ("{overrun}",),
    ),
    "a price that was charged": (
        ("DELETE FROM prices WHERE id = :price",),
        ("{price}", "{call}"),
    ),
    "a key that has called": (
        ("DELETE FROM api_keys WHERE id = :old_key",),
        ("{old_key}", "{call}"),
    ),
    "an account": (
        ("DELETE FROM accounts WHERE id = 'acct_test'",),
        ("acct_test",),
    ),
    "a credit budget": (
        ("DELETE FROM budgets WHERE id = :budget",),
        ("{budget}", "acct_test"),
    ),
    "a credit budget's window": (
        (f"DELETE FROM budget_windows {OF_BUDGET}", f"DELETE FROM leases {OF_BUDGET}"),
        ("{budget}", "acct_test"),
    ),
    "a charge that was booked as a loss": (
        (
            f"UPDATE ledger_entries SET ledger_account_id = 'loss' {OF_REVENUE}",
            f"UPDATE ledger_accounts SET balance_nanos = {CHARGE} WHERE id = 'loss'",
            f"{MOVE} balance_nanos - {CHARGE} WHERE id = 'revenue'",
        ),
        ("{posting}", "revenue"),
    ),
    "the end of what an epoch has posted": (
        ("UPDATE epochs SET journal_offset = 8 WHERE id = :ended",),
        ("{ended}",),
    ),
}


@pytest.mark.parametrize(("statements", "words"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_what_no_sum_shows_is_missed(
    books: Books, statements: tuple[str, ...], words: tuple[str, ...]
) -> None:
    books.change(*statements)
    findings = books.audit().findings
    names = [word.format(**books.names) for word in words]
    assert [finding for finding in findings for name in names if name in finding], findings
