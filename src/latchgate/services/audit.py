"""The audit: derive every figure again from the rows below it, and name what disagrees.

It reads the database and the journals, and writes nothing. What it holds true:

* the entries of each posting sum to zero, and so do all balances;
* each ledger account's balance is the sum of its entries;
* each account's credit budget is the sum of its credit postings and its credit line;
* what any budget's window has spent is the sum of the usage events of calls let in while it ran
  (of a key's limit: those of keys, not of the playground);
* each usage posting is the sum of the events that it paid for;
* what a day, an hour and a quarter hour add up to, for each key, app and price, is the sum of
  their events;
* each charge is its tokens at its price, rounded once, and never above its hold;
* what a window has leased is what the leases of living epochs add up to; no window is beyond its
  ceiling;
* no row speaks of one that is gone; no account has two live keys; each epoch's posted offset is
  within its journal, and an ended one's journal is posted whole;
* what ``audit_billing`` says of codes, statements and payments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from latchgate.clock import DAY_US, HOUR_US, QUARTER_US
from latchgate.domain.prices import Price
from latchgate.domain.usage import Usage
from latchgate.services.audit_billing import BILLING_DISAGREEMENTS
from latchgate.storage.journal_file import CloseRecord, epoch_of, has_journal, scan
from latchgate.storage.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.storage.statements import AnyRow

FINDINGS_MAX = 200


@dataclass(frozen=True, slots=True)
class AuditReport:
    """One sentence for each disagreement, and how many of what were checked."""

    findings: tuple[str, ...]
    checked: dict[str, int]


#: How far sums are from their events; nothing cancels out.
_OFF = (
    " + ".join(
        f"abs(sum({name}))"
        for name in ("calls", "input_tokens", "cached_tokens", "output_tokens", "charge_nanos")
    )
    + " + abs(max(sum_last_us) - max(call_last_us))"
)

#: What events are added up for, and how long each is.
_SUMMED = {"day": DAY_US, "hour": HOUR_US, "quarter": QUARTER_US}


def _derived_again(what: str, width_us: int) -> tuple[str, str]:
    """Sums of a time for each key, app and price, beside the events of that time."""
    return (
        f"account {{account_id}}: {what} {{starts_us}} of {{app}} differs from its calls: {{off}}",
        f"""SELECT account_id, starts_us, app, {_OFF} AS off FROM (
             SELECT account_id, starts_us, api_key_id, app, price_id, calls, input_tokens,
                    cached_tokens, output_tokens, charge_nanos, last_used_us AS sum_last_us,
                    0 AS call_last_us FROM usage_{what}s
             UNION ALL
             SELECT account_id, started_us - started_us % {width_us}, api_key_id, app, price_id, -1,
                    -input_tokens, -cached_tokens, -output_tokens, -charge_nanos, 0, started_us
             FROM usage_events) both_kinds
           GROUP BY account_id, starts_us, api_key_id, app, price_id HAVING {_OFF} <> 0""",  # noqa: S608 - numbers and texts of ours
    )


#: Each query gives the rows that disagree; its sentence is filled from their columns.
_DISAGREEMENTS: tuple[tuple[str, str], ...] = (
    (
        "posting {id}: its entries sum to {total}, not to zero",
        """SELECT p.id, coalesce(sum(e.amount_nanos), 0) AS total, count(e.posting_id) AS entries
           FROM postings p LEFT JOIN ledger_entries e ON e.posting_id = p.id
           GROUP BY p.id HAVING coalesce(sum(e.amount_nanos), 0) <> 0 OR count(e.posting_id) < 2""",
    ),
    (
        "ledger account {id}: its balance is {balance_nanos}, its entries sum to {total}",
        """SELECT a.id, a.balance_nanos, coalesce(sum(e.amount_nanos), 0) AS total
           FROM ledger_accounts a LEFT JOIN ledger_entries e ON e.ledger_account_id = a.id
           GROUP BY a.id, a.balance_nanos
           HAVING a.balance_nanos <> coalesce(sum(e.amount_nanos), 0)""",
    ),
    (
        "all balances sum to {total}, not to zero",
        "SELECT sum(balance_nanos) AS total FROM ledger_accounts HAVING sum(balance_nanos) <> 0",
    ),
    (
        "posting {id}: its account sees {amount_nanos}, its entry there is {entry}",
        """SELECT p.id, p.amount_nanos, coalesce(e.amount_nanos, 0) AS entry
           FROM postings p LEFT JOIN ledger_entries e
             ON e.posting_id = p.id AND e.ledger_account_id = 'customer:' || p.account_id
           WHERE p.account_id IS NOT NULL AND p.amount_nanos <> coalesce(e.amount_nanos, 0)""",
    ),
    (
        "account {account_id}: its credit budget allows {limit_nanos}, its credit sums to {total}",
        """SELECT b.account_id, w.limit_nanos, coalesce(sum(p.amount_nanos), 0) AS total
           FROM budgets b JOIN budget_windows w ON w.budget_id = b.id
           JOIN accounts a ON a.id = b.account_id
           LEFT JOIN postings p ON p.account_id = b.account_id AND p.kind <> 'usage'
           WHERE b.kind = 'credit'
           GROUP BY b.account_id, w.limit_nanos, b.limit_nanos, a.credit_line_nanos
           HAVING w.limit_nanos <> coalesce(sum(p.amount_nanos), 0) + a.credit_line_nanos
               OR b.limit_nanos <> w.limit_nanos""",
    ),
    (
        "account {account_id} has no credit budget that is on",
        """SELECT a.id AS account_id FROM accounts a LEFT JOIN budgets b
             ON b.account_id = a.id AND b.kind = 'credit' AND b.active_since_us IS NOT NULL
           WHERE b.id IS NULL""",
    ),
    (
        "account {account_id}: {kind}/{period}/{starts_us} spent {spent_nanos}, its calls {total}",
        """SELECT b.account_id, b.kind, b.period, w.starts_us, w.spent_nanos,
                  coalesce(sum(u.charge_nanos), 0) AS total
           FROM budgets b JOIN budget_windows w ON w.budget_id = b.id
           LEFT JOIN usage_events u ON u.account_id = b.account_id
             AND u.started_us >= w.starts_us AND u.started_us < w.ends_us
             AND (b.kind <> 'key_limit' OR u.api_key_id NOT IN
                  (SELECT id FROM api_keys WHERE kind = 'playground'))
           WHERE b.active_since_us IS NOT NULL AND w.ends_us > b.active_since_us
           GROUP BY b.account_id, b.kind, b.period, w.budget_id, w.starts_us, w.spent_nanos
           HAVING w.spent_nanos <> coalesce(sum(u.charge_nanos), 0)""",
    ),
    (
        "posting {id}: it charges {charged}, its usage events sum to {total}",
        """SELECT p.id, -p.amount_nanos AS charged, coalesce(sum(u.charge_nanos), 0) AS total
           FROM postings p LEFT JOIN usage_events u
             ON u.posting_id = p.id AND u.account_id = p.account_id
           WHERE p.kind = 'usage' GROUP BY p.id, p.amount_nanos
           HAVING -p.amount_nanos <> coalesce(sum(u.charge_nanos), 0)""",
    ),
    (
        "call {request_id}: it is charged {charge_nanos}, but by no usage posting of its account",
        """SELECT u.request_id, u.charge_nanos FROM usage_events u
           LEFT JOIN postings p ON p.id = u.posting_id AND p.kind = 'usage'
             AND p.account_id = u.account_id
           WHERE u.charge_nanos <> 0 AND p.id IS NULL""",
    ),
    (
        "call {request_id}: its key belongs to another account",
        """SELECT u.request_id FROM usage_events u JOIN api_keys k ON k.id = u.api_key_id
           WHERE k.account_id <> u.account_id""",
    ),
    *(_derived_again(what, width_us) for what, width_us in _SUMMED.items()),
    (
        "the overrun account has {booked}, usage events say {total}",
        """SELECT o.booked, coalesce(sum(u.overrun_nanos), 0) AS total
           FROM (SELECT -balance_nanos AS booked FROM ledger_accounts WHERE id = 'overrun') o
           LEFT JOIN usage_events u ON 1 = 1
           GROUP BY o.booked HAVING o.booked <> coalesce(sum(u.overrun_nanos), 0)""",
    ),
    (
        "budget {budget_id}: {leased_nanos} are leased, living epochs have {total}",
        """SELECT w.budget_id, w.leased_nanos, coalesce(sum(l.leased_nanos), 0) AS total
           FROM budget_windows w
           LEFT JOIN leases l ON l.budget_id = w.budget_id AND l.starts_us = w.starts_us
             AND l.epoch_id IN (SELECT id FROM epochs WHERE ended_us IS NULL)
           GROUP BY w.budget_id, w.starts_us, w.leased_nanos
           HAVING w.leased_nanos <> coalesce(sum(l.leased_nanos), 0)""",
    ),
    (
        "budget {budget_id}: spent {spent_nanos}, leased {leased_nanos}, beyond {ceiling_nanos}",
        """SELECT budget_id, spent_nanos, leased_nanos, ceiling_nanos FROM budget_windows
           WHERE spent_nanos + leased_nanos > ceiling_nanos OR limit_nanos > ceiling_nanos
              OR spent_nanos < 0 OR leased_nanos < 0""",
    ),
    (
        "epoch {epoch_id} has ended and still has {leased_nanos} of budget {budget_id}",
        """SELECT l.epoch_id, l.leased_nanos, l.budget_id FROM leases l
           JOIN epochs e ON e.id = l.epoch_id WHERE e.ended_us IS NOT NULL""",
    ),
    (
        "usage posting {id}: it charges {charged}, and revenue has {booked} of it",
        """SELECT p.id, -p.amount_nanos AS charged, coalesce(e.amount_nanos, 0) AS booked
           FROM postings p LEFT JOIN ledger_entries e
             ON e.posting_id = p.id AND e.ledger_account_id = 'revenue'
           WHERE p.kind = 'usage' AND -p.amount_nanos <> coalesce(e.amount_nanos, 0)""",
    ),
    (
        "credit posting {id}: it gives {amount_nanos}, and funding has {booked} of it",
        """SELECT p.id, p.amount_nanos, coalesce(-e.amount_nanos, 0) AS booked
           FROM postings p LEFT JOIN ledger_entries e
             ON e.posting_id = p.id AND e.ledger_account_id = 'funding'
           WHERE p.kind NOT IN ('usage', 'overrun')
             AND p.amount_nanos <> coalesce(-e.amount_nanos, 0)""",
    ),
    (
        "account {account_id}: the window of its credit budget {id} is missing",
        """SELECT b.account_id, b.id FROM budgets b
           LEFT JOIN budget_windows w ON w.budget_id = b.id
           WHERE b.kind = 'credit' AND w.budget_id IS NULL""",
    ),
    (
        "key {id} is the playground's, and can be called with",
        "SELECT id FROM api_keys WHERE kind = 'playground' AND state IN ('live', 'pending')",
    ),
    (
        "account {account_id} has {count} live keys",
        """SELECT account_id, count(*) AS count FROM api_keys WHERE state = 'live'
           GROUP BY account_id HAVING count(*) > 1""",
    ),
)

_CALLS = text(
    """SELECT u.request_id, u.model, u.input_tokens, u.cached_tokens, u.output_tokens,
              u.hold_nanos, u.charge_nanos, u.overrun_nanos, u.outcome,
              p.id AS price_id, p.input_picos, p.cached_picos, p.output_picos
       FROM usage_events u JOIN prices p ON p.id = u.price_id"""
)


def audit(conn: Connection, *, journal_folder: Path) -> AuditReport:
    """Check everything. Findings beyond 200 are counted, not listed."""
    findings: list[str] = []
    for sentence, query in (*_DISAGREEMENTS, *BILLING_DISAGREEMENTS):
        rows = conn.execute(text(query)).all()
        findings += [sentence.format(**row._mapping) for row in rows]  # noqa: SLF001 - public
    findings += _audit_references(conn)
    findings += _audit_calls(conn)
    findings += _audit_journals(conn, journal_folder)
    rest = len(findings) - FINDINGS_MAX
    if rest > 0:
        findings = [*findings[:FINDINGS_MAX], f"and {rest} more"]
    return AuditReport(tuple(findings), _counts(conn))


def _audit_references(conn: Connection) -> Iterator[str]:
    """Rows that speak of rows which are gone."""
    for table in metadata.sorted_tables:
        for reference in table.foreign_keys:
            parent = reference.column.table.alias("parent")
            query = (
                select(reference.parent)
                .outerjoin(parent, parent.c[reference.column.name] == reference.parent)
                .where(reference.parent.is_not(None), parent.c[reference.column.name].is_(None))
                .distinct()
                .limit(FINDINGS_MAX)
            )
            for (gone,) in conn.execute(query):
                yield f"{table.name}: {reference.column.table.name} {gone} is missing"


def _audit_calls(conn: Connection) -> Iterator[str]:
    for row in conn.execute(_CALLS):
        price = Price(row.price_id, row.input_picos, row.cached_picos, row.output_picos)
        usage = Usage(row.input_tokens, row.cached_tokens, row.output_tokens)
        cost_nanos = price.charge_nanos(usage)
        if cost_nanos != row.charge_nanos + row.overrun_nanos:
            yield (
                f"call {row.request_id}: its tokens cost {cost_nanos}, but "
                f"{row.charge_nanos} is charged and {row.overrun_nanos} is overrun"
            )
        if not 0 <= row.charge_nanos <= row.hold_nanos or row.overrun_nanos < 0:
            yield f"call {row.request_id}: charge {row.charge_nanos}, hold {row.hold_nanos}"
        if row.overrun_nanos and row.charge_nanos != row.hold_nanos:
            yield f"call {row.request_id}: it overran, but its hold is not used up"


def _audit_journals(conn: Connection, folder: Path) -> Iterator[str]:
    epochs = conn.execute(text("SELECT id, ended_us, journal_offset FROM epochs")).all()
    for epoch in epochs:
        if has_journal(folder, epoch.id):
            yield from _audit_journal(conn, epoch, folder)
        elif epoch.journal_offset:
            yield f"epoch {epoch.id}: its journal {epoch.id}.journal is missing"
    known = {epoch.id for epoch in epochs}
    for path in sorted(folder.glob("*.journal")):
        if epoch_of(path) not in known:
            yield f"journal {path.name} belongs to no epoch"


def _audit_journal(conn: Connection, epoch: AnyRow, folder: Path) -> Iterator[str]:
    """Each close record up to the posted offset has its event, with the same charge."""
    posted: dict[str, CloseRecord] = {}
    behind = 0
    forgotten = 0
    for offset, record in scan(folder, epoch.id):
        behind = offset
        if isinstance(record, CloseRecord):
            if offset <= epoch.journal_offset:
                posted[record.request_id] = record
            else:
                forgotten += 1
    if forgotten and epoch.ended_us is not None:
        yield f"epoch {epoch.id} has ended, and {forgotten} calls of its journal are not posted"
    if epoch.journal_offset > behind:
        yield (
            f"epoch {epoch.id}: posted up to byte {epoch.journal_offset}, but its journal is "
            f"whole only up to {behind}"
        )
    for batch in _batches(list(posted)):
        found = _charges_of(conn, batch)
        for request_id in batch:
            charge_nanos = posted[request_id].charge_nanos
            if found.get(request_id) != charge_nanos:
                yield (
                    f"call {request_id}: the journal charges {charge_nanos}, its usage event "
                    f"{found.get(request_id, 'is missing')}"
                )


def _batches(ids: list[str], size: int = 500) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _charges_of(conn: Connection, request_ids: Sequence[str]) -> dict[str, int]:
    marks = ", ".join(f":id{n}" for n in range(len(request_ids)))
    query = text(
        f"SELECT request_id, charge_nanos FROM usage_events WHERE request_id IN ({marks})"  # noqa: S608 - only marks
    )
    rows = conn.execute(query, {f"id{n}": value for n, value in enumerate(request_ids)})
    return {row.request_id: row.charge_nanos for row in rows}


def _counts(conn: Connection) -> dict[str, int]:
    tables = ("accounts", "api_keys", "postings", "ledger_entries", "usage_events", "epochs")
    return {
        table: conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - ours
        for table in tables
    }
