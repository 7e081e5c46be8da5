"""Guards the audit: money that is changed behind the books' back is found, and named."""

from __future__ import annotations

import pytest

from tests.storage.books import CHARGE, Books
from tests.support.gateway import USD


def test_what_the_public_functions_wrote_agrees(books: Books) -> None:
    report = books.audit()
    assert report.findings == ()
    assert report.checked == {
        "accounts": 2,
        "api_keys": 3,
        "postings": 8,  # two gifts, five charges, one overrun
        "ledger_entries": 16,
        "usage_events": 6,
        "epochs": 2,
    }


MINE = "ledger_account_id = 'customer:acct_test'"
MY_ENTRY = f"WHERE posting_id = :posting AND {MINE}"
THEIRS = "customer:acct_other"
MOVE = "UPDATE ledger_accounts SET balance_nanos ="
#: name: what is changed, and what the audit must say of it.
CORRUPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    # ── the books ───────────────────────────────────────────────────────────────────────────────
    "an entry's amount": (
        (f"UPDATE ledger_entries SET amount_nanos = -1 WHERE posting_id = :gift AND {MINE}",),
        f"posting {{gift}}: its entries sum to {-5 * USD - 1}, not to zero",
    ),
    "an entry deleted": (
        (f"DELETE FROM ledger_entries {MY_ENTRY}",),
        f"posting {{posting}}: its entries sum to {CHARGE}, not to zero",
    ),
    "a posting without entries": (
        ("DELETE FROM ledger_entries WHERE posting_id = :posting",),
        "posting {posting}: its entries sum to 0, not to zero",
    ),
    "both entries smaller, so that they still cancel": (
        ("UPDATE ledger_entries SET amount_nanos = 0 WHERE posting_id = :posting",),
        f"posting {{posting}}: its account sees {-CHARGE}, its entry there is 0",
    ),
    "an entry moved to another account, with its balances": (
        (
            f"UPDATE ledger_entries SET ledger_account_id = '{THEIRS}' {MY_ENTRY}",
            f"{MOVE} balance_nanos + {CHARGE} WHERE id = 'customer:acct_test'",
            f"{MOVE} balance_nanos - {CHARGE} WHERE id = '{THEIRS}'",
        ),
        f"posting {{posting}}: its account sees {-CHARGE}, its entry there is 0",
    ),
    "a balance": (
        ("UPDATE ledger_accounts SET balance_nanos = 7 WHERE id = 'customer:acct_test'",),
        "ledger account customer:acct_test: its balance is 7, ",
    ),
    "a balance, seen in the sum of all": (
        (f"{MOVE} balance_nanos + 7 WHERE id = 'loss'",),
        "all balances sum to 7, not to zero",
    ),
    "two balances that still cancel": (
        (
            f"{MOVE} balance_nanos + 7 WHERE id = 'loss'",
            f"{MOVE} balance_nanos - 7 WHERE id = 'revenue'",
        ),
        "ledger account loss: its balance is 7, its entries sum to 0",
    ),
    "a posting's amount": (
        ("UPDATE postings SET amount_nanos = -1 WHERE id = :posting",),
        f"posting {{posting}}: its account sees -1, its entry there is {-CHARGE}",
    ),
    "a posting's account": (
        ("UPDATE postings SET account_id = 'acct_other' WHERE id = :posting",),
        "call {call}: it is charged 3200, but by no usage posting of its account",
    ),
    "a charging posting deleted": (
        ("DELETE FROM postings WHERE id = :posting",),
        "call {call}: it is charged 3200, but by no usage posting of its account",
    ),
    "a gift deleted": (
        ("DELETE FROM postings WHERE id = :gift",),
        f"account acct_test: its credit budget allows {5 * USD}, its credit sums to 0",
    ),
    "a gift that is called usage": (
        ("UPDATE postings SET kind = 'usage' WHERE id = :gift",),
        f"posting {{gift}}: it charges {-5 * USD}, its usage events sum to 0",
    ),
    # ── the calls ───────────────────────────────────────────────────────────────────────────────
    "a call's charge": (
        ("UPDATE usage_events SET charge_nanos = 1 WHERE request_id = :call",),
        "posting {posting}: it charges 3200, its usage events sum to 1",
    ),
    "a call's charge, seen in its tokens": (
        ("UPDATE usage_events SET charge_nanos = 1 WHERE request_id = :call",),
        "call {call}: its tokens cost 3200, but 1 is charged and 0 is overrun",
    ),
    "a call's charge, seen in the journal": (
        ("UPDATE usage_events SET charge_nanos = 1 WHERE request_id = :call",),
        "call {call}: the journal charges 3200, its usage event 1",
    ),
    "a call deleted": (
        ("DELETE FROM usage_events WHERE request_id = :call",),
        "posting {posting}: it charges 3200, its usage events sum to 0",
    ),
    "a free call deleted": (
        ("DELETE FROM usage_events WHERE request_id = :free",),
        "call {free}: the journal charges 0, its usage event is missing",
    ),
    "a call's tokens": (
        ("UPDATE usage_events SET output_tokens = 6 WHERE request_id = :stream",),
        "call {stream}: its tokens cost 3600, but 3200 is charged and 0 is overrun",
    ),
    "more cached tokens than tokens": (
        ("UPDATE usage_events SET cached_tokens = 10000 WHERE request_id = :stream",),
        "call {stream}: its tokens cost ",
    ),
    "a call's account": (
        ("UPDATE usage_events SET account_id = 'acct_other' WHERE request_id = :call",),
        "call {call}: its key belongs to another account",
    ),
    "a call's key": (
        ("UPDATE usage_events SET api_key_id = :other_key WHERE request_id = :call",),
        "call {call}: its key belongs to another account",
    ),
    "a day's sum": (
        ("UPDATE usage_days SET charge_nanos = 1 WHERE api_key_id = :other_key",),
        "account acct_other: day ",
    ),
    "a day's sums that still cancel": (
        (
            "UPDATE usage_days SET input_tokens = input_tokens + 1 WHERE api_key_id = :other_key",
            "UPDATE usage_days SET output_tokens = output_tokens - 1 WHERE api_key_id = :other_key",
        ),
        "of unknown differs from its calls: 2",
    ),
    "a day deleted": (
        ("DELETE FROM usage_days WHERE api_key_id = :other_key",),
        "of unknown differs from its calls: ",
    ),
    "when a key was last used": (
        ("UPDATE usage_days SET last_used_us = last_used_us + 1 WHERE api_key_id = :other_key",),
        "of unknown differs from its calls: 1",
    ),
    "a call that no posting charges": (
        ("UPDATE usage_events SET posting_id = NULL WHERE request_id = :call",),
        "call {call}: it is charged 3200, but by no usage posting of its account",
    ),
    "a call charged above its hold": (
        ("UPDATE usage_events SET hold_nanos = 3199 WHERE request_id = :call",),
        "call {call}: charge 3200, hold 3199",
    ),
    "a call charged below zero": (
        ("UPDATE usage_events SET charge_nanos = -1 WHERE request_id = :free",),
        "call {free}: charge -1, hold ",
    ),
    "a call's overrun": (
        ("UPDATE usage_events SET overrun_nanos = 1 WHERE request_id = :over",),
        "call {over}: its tokens cost 1060000, but ",
    ),
    "a call's overrun, seen in the books": (
        ("UPDATE usage_events SET overrun_nanos = 1 WHERE request_id = :over",),
        "the overrun account has ",
    ),
    "an overrun below an ample hold": (
        ("UPDATE usage_events SET hold_nanos = hold_nanos + 1 WHERE request_id = :over",),
        "call {over}: it overran, but its hold is not used up",
    ),
}


@pytest.mark.parametrize(("statements", "says"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_change_of_money_is_found_and_named(
    books: Books, statements: tuple[str, ...], says: str
) -> None:
    books.change(*statements)
    findings = books.audit().findings
    assert [finding for finding in findings if says.format(**books.names) in finding], findings
