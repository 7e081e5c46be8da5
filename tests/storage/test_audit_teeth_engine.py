"""Guards the audit: spoiled budgets, prices, keys, epochs and journals are found, and named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from latchgate.services.audit import FINDINGS_MAX
from latchgate.storage.journal_file import segment_head
from tests.storage.books import Books
from tests.support.gateway import USD
from tests.support.server import ROOT, environment

REFUSED = 1

WINDOW = "WHERE budget_id = :budget"
#: name: what is changed, and what the audit must say of it.
CORRUPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    # ── budgets ─────────────────────────────────────────────────────────────────────────────────
    "what a window has spent": (
        (f"UPDATE budget_windows SET spent_nanos = 5 {WINDOW}",),
        "account acct_test: credit/none/0 spent 5, its calls ",
    ),
    "what a window has leased": (
        (f"UPDATE budget_windows SET leased_nanos = 999 {WINDOW}",),
        "budget {budget}: 999 are leased, living epochs have 1000",
    ),
    "a window that has leased less than nothing": (
        (f"UPDATE budget_windows SET leased_nanos = -1 {WINDOW}",),
        "budget {budget}: spent ",
    ),
    "a window beyond its ceiling": (
        (f"UPDATE budget_windows SET ceiling_nanos = spent_nanos {WINDOW}",),
        "budget {budget}: spent ",
    ),
    "what a window allows": (
        (f"UPDATE budget_windows SET limit_nanos = {4 * USD} {WINDOW}",),
        f"account acct_test: its credit budget allows {4 * USD}, its credit sums to {5 * USD}",
    ),
    "what a budget allows": (
        ("UPDATE budgets SET limit_nanos = limit_nanos + 1 WHERE id = :other_budget",),
        f"account acct_other: its credit budget allows {USD}, its credit sums to {USD}",
    ),
    "what an epoch has leased": (
        ("UPDATE leases SET leased_nanos = 1001 WHERE epoch_id = :living",),
        "budget {budget}: 1000 are leased, living epochs have 1001",
    ),
    "a lease deleted": (
        ("DELETE FROM leases WHERE epoch_id = :living",),
        "budget {budget}: 1000 are leased, living epochs have 0",
    ),
    "an epoch that ended with its lease": (
        ("UPDATE epochs SET ended_us = 1 WHERE id = :living",),
        "epoch {living} has ended and still has 1000 of budget {budget}",
    ),
    # ── prices and keys ─────────────────────────────────────────────────────────────────────────
    "a price": (
        ("UPDATE prices SET output_picos = 500000 WHERE id = :price",),
        "call {call}: its tokens cost 3700, but 3200 is charged and 0 is overrun",
    ),
    "a call's price": (
        ("UPDATE usage_events SET price_id = :price WHERE request_id = :dear",),
        "call {dear}: its tokens cost 3200, but 6400 is charged and 0 is overrun",
    ),
    "a playground that can be called with": (
        ("UPDATE api_keys SET kind = 'playground' WHERE id = :key",),
        "key {key} is the playground's, and can be called with",
    ),
    "two live keys": (
        (
            "DROP INDEX uq_api_keys_one_live",
            "UPDATE api_keys SET state = 'live', ended_us = NULL WHERE id = :old_key",
        ),
        "account acct_test has 2 live keys",
    ),
    # ── epochs ──────────────────────────────────────────────────────────────────────────────────
    "a journal posted beyond its end": (
        ("UPDATE epochs SET journal_offset = journal_offset + 1 WHERE id = :ended",),
        "epoch {ended}: posted up to byte ",
    ),
    "a journal that never was": (
        ("UPDATE epochs SET journal_offset = 8 WHERE id = :living",),
        "epoch {living}: its journal epo_living.journal is missing",
    ),
    "an epoch deleted": (
        ("DELETE FROM epochs WHERE id = :ended",),
        "journal {ended}.journal belongs to no epoch",
    ),
}


def _flip(data: bytes, at: int) -> bytes:
    spoiled = bytearray(data)
    spoiled[at] ^= 1
    return bytes(spoiled)


HEAD_BYTES = 8
SEGMENT_BYTES = len(segment_head(0))
#: name: how the journal's file is damaged. Every one of them makes it end too early.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "its magic": lambda data: _flip(data, 0),
    "its first record's length": lambda data: _flip(data, SEGMENT_BYTES),
    "its first record's checksum": lambda data: _flip(data, SEGMENT_BYTES + 4),
    "its first record's payload": lambda data: _flip(data, SEGMENT_BYTES + HEAD_BYTES),
    "its middle": lambda data: _flip(data, len(data) // 2),
    "its last byte": lambda data: _flip(data, -1),
    "its last byte cut off": lambda data: data[:-1],
    "half of it cut off": lambda data: data[: len(data) // 2],
    "all of it cut off": lambda _data: b"",
    "a byte that slipped in": lambda data: data[:100] + b"\0" + data[100:],
}


@pytest.mark.parametrize(("statements", "says"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_change_of_the_engines_rows_is_found_and_named(
    books: Books, statements: tuple[str, ...], says: str
) -> None:
    books.change(*statements)
    findings = books.audit().findings
    assert [finding for finding in findings if says.format(**books.names) in finding], findings


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_journal_is_found_and_named(
    books: Books, damage: Callable[[bytes], bytes]
) -> None:
    data = books.journal.read_bytes()
    books.journal.write_bytes(damage(data))
    (finding,) = books.audit().findings
    ended, size = books.names["ended"], len(data) - SEGMENT_BYTES
    assert finding.startswith(
        f"epoch {ended}: posted up to byte {size}, but its journal is whole only up to "
    )


def test_a_journal_that_is_gone_is_missed(books: Books) -> None:
    books.journal.unlink()
    (finding,) = books.audit().findings
    assert finding == f"epoch {books.names['ended']}: its journal {books.journal.name} is missing"


def test_a_journal_of_nobody_is_named(books: Books) -> None:
    books.journal.with_name("epo_strange.journal").write_bytes(books.journal.read_bytes())
    assert books.audit().findings == ("journal epo_strange.journal belongs to no epoch",)


def test_what_a_crash_leaves_behind_the_last_posted_record_is_no_disagreement(
    books: Books,
) -> None:
    with books.journal.open("ab") as file:
        file.write(b"\x20\0\0\0half a rec")
    assert books.audit().findings == ()


def test_findings_beyond_the_listed_ones_are_counted(books: Books) -> None:
    copied = """
        INSERT INTO usage_events
        WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < 250)
        SELECT 'req_' || n, account_id, api_key_id, price_id, model, app, input_tokens,
               cached_tokens, output_tokens, hold_nanos, charge_nanos, overrun_nanos, outcome,
               counted_by, is_stream, http_status, started_us, first_byte_us, ended_us, ip, NULL
        FROM usage_events JOIN counter WHERE request_id = :call
    """
    books.change(copied)
    findings = books.audit().findings
    assert len(findings) == FINDINGS_MAX + 1
    assert findings[-1] == "and 54 more"  # 250 copies that nobody posted, and four of their sums


def test_the_command_fails_and_names_what_the_audit_finds(books: Books) -> None:
    code, answer = _audit_command(books)
    assert (code, answer["agrees"], answer["findings"]) == (0, True, [])
    books.change("UPDATE usage_events SET charge_nanos = 1 WHERE request_id = :call")
    code, answer = _audit_command(books)
    assert (code, answer["agrees"]) == (REFUSED, False)
    assert any(books.names["call"] in finding for finding in answer["findings"])


def _audit_command(books: Books) -> tuple[int, dict[str, Any]]:
    """``latchgate audit``, as an operator types it: its exit code and its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "latchgate.cli", "audit", "--data", str(books.folder), "--json"],
        capture_output=True,
        env=environment(),
        cwd=ROOT,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)
