"""The books as rows: postings, their entries, and the balances that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from latchgate.domain import ledger
from latchgate.domain.ids import new_id
from latchgate.domain.windows import Window
from latchgate.storage.alerts import note_credit_added
from latchgate.storage.budgets import CREDIT, get_credit_budget, open_window, raise_limit
from latchgate.storage.statements import AnyRow, insert_once
from latchgate.storage.tables import (
    accounts,
    budget_windows,
    budgets,
    ledger_accounts,
    ledger_entries,
    postings,
)

_MOVE_BALANCE = (
    update(ledger_accounts)
    .where(ledger_accounts.c.id == bindparam("of_id"))
    .values(balance_nanos=ledger_accounts.c.balance_nanos + bindparam("moved"))
)
#: What a list has of a posting.
_LISTED = tuple(
    postings.c[name] for name in ("id", "kind", "amount_nanos", "created_us", "note", "actor")
)


@dataclass(frozen=True, slots=True)
class CreditWindow:
    """The window of an account's credit: given with its credit line, spent, out on lease."""

    budget_id: str
    limit_nanos: int
    spent_nanos: int
    leased_nanos: int
    credit_line_nanos: int


def open_platform_books(conn: Connection) -> None:
    """Make the platform's own ledger accounts; doing it again changes nothing."""
    for kind in ledger.PLATFORM_KINDS:
        insert_once(conn, ledger_accounts, id=kind, kind=kind, account_id=None, balance_nanos=0)


def open_account_books(conn: Connection, *, account_id: str, now_us: int) -> None:
    """Make a new account's ledger account and its credit budget, both empty."""
    row = {"kind": ledger.CUSTOMER, "account_id": account_id, "balance_nanos": 0}
    conn.execute(insert(ledger_accounts).values(id=ledger.customer(account_id), **row))
    budget_id = new_id("bgt", now_us)
    values = {"account_id": account_id, "kind": CREDIT, "period": "none", "target": ""}
    conn.execute(
        insert(budgets).values(id=budget_id, limit_nanos=0, active_since_us=now_us, **values)
    )
    open_window(conn, Window(budget_id))


def post(conn: Connection, posting: ledger.Posting, *, now_us: int) -> bool:
    """Write a posting and move its balances. False: it is there already, and nothing changed."""
    is_new = insert_once(conn, postings, **_row(posting, now_us))
    if not is_new:
        return False
    _enter(conn, [posting])
    return True


def post_new(conn: Connection, new: Sequence[ledger.Posting], *, now_us: int) -> None:
    """Write postings whose ids nobody has had before, a statement for all of a kind of row."""
    if new:
        conn.execute(insert(postings), [_row(posting, now_us) for posting in new])
        _enter(conn, new)


def _row(posting: ledger.Posting, now_us: int) -> dict[str, object]:
    return {
        "id": posting.id,
        "kind": posting.kind,
        "account_id": posting.account_id,
        "amount_nanos": posting.amount_nanos,
        "created_us": now_us,
        "actor": posting.actor,
        "note": posting.note,
    }


def _enter(conn: Connection, new: Sequence[ledger.Posting]) -> None:
    """Write the entries of postings, and move each balance once."""
    moved: dict[str, int] = {}
    entries: list[dict[str, object]] = []
    for posting in new:
        for ledger_account_id, amount_nanos in posting.entries:
            moved[ledger_account_id] = moved.get(ledger_account_id, 0) + amount_nanos
            entries.append(
                {
                    "posting_id": posting.id,
                    "ledger_account_id": ledger_account_id,
                    "amount_nanos": amount_nanos,
                }
            )
    # In one order, so that two processes that post at once never wait for each other in a ring.
    balances = [{"of_id": id_, "moved": moved[id_]} for id_ in sorted(moved)]
    found = conn.execute(_MOVE_BALANCE, balances).rowcount
    if found != len(balances):
        raise LookupError(f"{found} of the ledger accounts {sorted(moved)[:5]}…")
    conn.execute(insert(ledger_entries), entries)


def post_credit(
    conn: Connection,
    *,
    account_id: str,
    amount_nanos: int,
    kind: str,
    note: str,
    actor: str,
    now_us: int,
    posting_id: str,
) -> bool:
    """Give an account credit: a posting, and as much more for its credit budget to lease.

    A correction below zero takes it away, whatever is spent or leased already.
    """
    posting = ledger.credit_posting(
        posting_id, account_id, amount_nanos, kind=kind, note=note, actor=actor
    )
    if not post(conn, posting, now_us=now_us):
        return False
    raise_limit(conn, account_id=account_id, amount_nanos=amount_nanos)
    if kind in ledger.ADDING_KINDS:
        budget_id = get_credit_budget(conn, account_id)
        note_credit_added(conn, account_id, budget_id, amount_nanos, now_us=now_us)
    return True


def get_credit_window(conn: Connection, account_id: str) -> CreditWindow:
    """The account's credit, exactly as posted; what calls have in flight is among the leased."""
    row = conn.execute(
        select(
            budget_windows.c.budget_id,
            budget_windows.c.limit_nanos,
            budget_windows.c.spent_nanos,
            budget_windows.c.leased_nanos,
            accounts.c.credit_line_nanos,
        )
        .join(budgets, budgets.c.id == budget_windows.c.budget_id)
        .join(accounts, accounts.c.id == budgets.c.account_id)
        .where(budgets.c.account_id == account_id, budgets.c.kind == CREDIT)
    ).one()
    return CreditWindow(*row)


def get_posting(conn: Connection, posting_id: str) -> AnyRow:
    """A posting, its account first and then what a list has of it."""
    return conn.execute(
        select(postings.c.account_id, *_LISTED).where(postings.c.id == posting_id)
    ).one()


def list_postings(
    conn: Connection, account_id: str, *, before: str | None, limit: int
) -> Sequence[AnyRow]:
    """An account's postings, newest first, older than the posting ``before``."""
    columns = postings.c
    query = select(*_LISTED).where(columns.account_id == account_id)
    if before is not None:
        at_us = (
            select(columns.created_us)
            .where(columns.id == before, columns.account_id == account_id)
            .scalar_subquery()
        )
        query = query.where(
            or_(
                columns.created_us < at_us,
                and_(columns.created_us == at_us, columns.id < before),
            )
        )
    return conn.execute(
        query.order_by(columns.created_us.desc(), columns.id.desc()).limit(limit)
    ).all()
