"""Measure what posting a call costs: processor time for each usage event that the drain writes.

    .venv/bin/python scripts/measure_drain.py [rounds]

Batches of charges, as the drain takes them from the journal, go into an SQLite file that has calls
already: of one busy account, and of a thousand accounts with a call each. It prints the least and
the median of the rounds, so that two states of the code can be laid side by side.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, text

from latchgate.domain.windows import Window
from latchgate.storage.accounts import insert_account
from latchgate.storage.budgets import get_credit_budget
from latchgate.storage.charges import post_calls
from latchgate.storage.journal_file import CloseRecord
from latchgate.storage.leases import open_epoch, take_lease
from latchgate.storage.ledger import open_account_books, open_platform_books, post_credit
from latchgate.storage.schema import migrate
from latchgate.storage.sqlite import SQLite

EPOCH, BATCH_CALLS, BATCHES = "epo_measured", 1000, 20
START_US = 1_800_000_000_000_000
CREDIT_NANOS = 10**12
_CATALOG = (
    """INSERT INTO upstreams (id, name, base_url, extra_fields, created_us)
       VALUES ('ups_1', 'lab', 'http://localhost', '[]', 1)""",
    """INSERT INTO models (id, name, upstream_id, upstream_model, tier, context_tokens,
         output_tokens_max, message_tokens, is_thinking, created_us)
       VALUES ('mdl_1', 'm', 'ups_1', 'm', 'standard', 100, 100, 1, 0, 1)""",
    """INSERT INTO prices (id, model_id, version, input_picos, cached_picos, output_picos,
         effective_from_us) VALUES ('prc_1', 'mdl_1', 1, 1, 1, 1, 1)""",
)


def _open(conn: Connection, accounts: int) -> list[tuple[str, Window]]:
    """Accounts with credit, all of it on lease."""
    migrate(conn)
    open_platform_books(conn)
    open_epoch(conn, epoch_id=EPOCH, now_us=START_US)
    for sql in _CATALOG:
        conn.execute(text(sql))
    opened = []
    for number in range(accounts):
        account_id = f"acct_{number:026d}"
        insert_account(
            conn,
            id=account_id,
            name=account_id,
            state="active",
            is_premium_on=0,
            time_zone="UTC",
            credit_line_nanos=0,
            created_us=1,
        )
        open_account_books(conn, account_id=account_id, now_us=1)
        post_credit(
            conn,
            account_id=account_id,
            amount_nanos=CREDIT_NANOS,
            kind="gift",
            note="",
            actor="cli",
            now_us=1,
            posting_id=f"pst_{number:026d}",
        )
        conn.execute(
            text(
                "INSERT INTO api_keys (id, account_id, name, public_id, last_four, secret_hash,"
                " state, created_us) VALUES (:key, :account, 'k', :key, 'xxxx', x'00', 'live', 1)"
            ),
            {"key": f"key_{number:026d}", "account": account_id},
        )
        window = Window(get_credit_budget(conn, account_id))
        wanted = {"wanted_nanos": CREDIT_NANOS // 2, "needed_nanos": 1}
        take_lease(conn, epoch_id=EPOCH, window=window, **wanted)
        opened.append((account_id, window))
    return opened


def _batch(accounts: Sequence[tuple[str, Window]], number: int) -> list[CloseRecord]:
    """A thousand calls that came within a minute."""
    records = []
    for call in range(BATCH_CALLS):
        account_id, window = accounts[call % len(accounts)]
        started_us = START_US + number * 60_000_000 + call * 50_000
        records.append(
            CloseRecord(
                request_id=f"req_{started_us:026d}",
                account_id=account_id,
                api_key_id=account_id.replace("acct", "key"),
                price_id="prc_1",
                model="m",
                app=f"app {call % 3}",
                hold_nanos=10_000,
                is_stream=False,
                started_us=started_us,
                ip="127.0.0.1",
                windows=((window.budget_id, window.starts_us),),
                input_tokens=700,
                cached_tokens=300,
                output_tokens=50,
                charge_nanos=1234,
                overrun_nanos=0,
                outcome="answered",
                counted_by="upstream",
                http_status=200,
                first_byte_us=started_us + 1000,
                ended_us=started_us + 2000,
            )
        )
    return records


def _measure(accounts: int) -> float:
    """Microseconds of processor time for a call, over some batches."""
    with tempfile.TemporaryDirectory() as folder:
        database = SQLite(Path(folder) / "latchgate.db")
        opened = database.write(lambda conn: _open(conn, accounts))
        batches = [_batch(opened, number) for number in range(2 * BATCHES)]
        began = 0.0
        for number, batch in enumerate(batches):
            if number == BATCHES:  # the first half warms up
                began = time.process_time()
            span = {"from_offset": number, "to_offset": number + 1}
            database.write(
                lambda conn, batch=batch, span=span: post_calls(  # type: ignore[misc]
                    conn, batch, epoch_id=EPOCH, now_us=START_US, **span
                )
            )
        took = time.process_time() - began
        database.close()
    return took / (BATCHES * BATCH_CALLS) * 1e6


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for accounts in (1, 20, 1000):
        figures = [_measure(accounts) for _ in range(rounds)]
        sys.stdout.write(
            f"{accounts:5} account{'' if accounts == 1 else 's'}: a posted call takes"
            f" {min(figures):.1f} µs at least, {statistics.median(figures):.1f} µs in the middle\n"
        )


if __name__ == "__main__":
    main()
