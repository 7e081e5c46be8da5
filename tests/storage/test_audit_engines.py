"""Guards the audit on either engine: it agrees with true books, and says the same of false ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from latchgate.services.audit import audit
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import USD, running_gateway

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]

#: A call of 12 tokens in and 5 out costs 3200.
TERMS = ModelTerms(100_000, 20_000, 400_000)
#: What is spoiled, and how the sentences begin that must say so.
SPOILED = {
    "UPDATE ledger_accounts SET balance_nanos = balance_nanos + 1 WHERE kind = 'revenue'": (
        "ledger account revenue: its balance is 3201, its entries sum to 3200",
        "all balances sum to 1, not to zero",
    ),
    "UPDATE ledger_entries SET amount_nanos = 3199 WHERE ledger_account_id = 'revenue'": (
        "posting pst_",
        "ledger account revenue: its balance is 3200, its entries sum to 3199",
        "usage posting pst_",
    ),
    "UPDATE budget_windows SET spent_nanos = 3199": (
        "account acct_test: credit/none/0 spent 3199, its calls 3200",
    ),
    "UPDATE budget_windows SET limit_nanos = limit_nanos - 1": (
        "account acct_test: its credit budget allows 4999999999, its credit sums to 5000000000",
    ),
    "UPDATE leases SET leased_nanos = leased_nanos + 1": ("budget bgt_",),
    "UPDATE usage_events SET charge_nanos = 3100": (
        "account acct_test: credit/none/0 spent 3200, its calls 3100",
        "posting pst_",
        "account acct_test: day ",
        "account acct_test: hour ",
        "account acct_test: quarter ",
        "call req_",
        "call req_",
    ),
    "UPDATE usage_days SET output_tokens = 4": ("account acct_test: day ",),
    "UPDATE usage_hours SET calls = 2": ("account acct_test: hour ",),
    "UPDATE usage_quarters SET last_used_us = 1": ("account acct_test: quarter ",),
    "UPDATE usage_events SET overrun_nanos = 1": (
        "the overrun account has 0, usage events say 1",
        "call req_",
        "call req_",
    ),
    "UPDATE usage_events SET posting_id = NULL": ("posting pst_", "call req_"),
    "UPDATE epochs SET journal_offset = journal_offset + 1": ("epoch epo_",),
}


async def test_the_audit_reads_either_engine_alike(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=5 * USD) as gateway:
        assert (await gateway.chat()).status == 200
        true = await gateway.audit()
        assert (true.findings, true.checked["usage_events"]) == ((), 1)
        for statement, beginnings in SPOILED.items():
            found = await gateway.store.write(_spoil_and_audit, statement, tmp_path / "journal")
            assert len(found) == len(beginnings), (statement, found)
            for finding, beginning in zip(found, beginnings, strict=True):
                assert finding.startswith(beginning)
        assert (await gateway.audit()).findings == ()


def _spoil_and_audit(conn: Connection, statement: str, journal_folder: Path) -> tuple[str, ...]:
    """What the audit says of spoiled books, which are then as before."""
    with conn.begin_nested() as spoiling:
        conn.execute(text(statement))
        findings = audit(conn, journal_folder=journal_folder).findings
        spoiling.rollback()
    return findings
