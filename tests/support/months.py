"""Months that have gone by: calls and credit posted at chosen times, by the functions that post."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from latchgate.domain.ids import new_id
from latchgate.domain.prices import Price
from latchgate.domain.usage import Usage
from latchgate.storage.charges import post_calls
from latchgate.storage.journal_file import CloseRecord
from latchgate.storage.leases import end_epoch, open_epoch
from latchgate.storage.ledger import post_credit
from latchgate.storage.store import Store

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Call:
    """One call that shall have been made."""

    model: str
    usage: Usage
    service_tier: str = "default"
    app: str = "test"
    #: Another key of the account than the one that is charged to by default.
    api_key_id: str | None = None


def back_date(conn: Connection, account_id: str, at_us: int) -> None:
    """Let an account have been made, and given its gift, at a moment of the past."""
    for table, column in (("accounts", "id"), ("postings", "account_id")):
        conn.execute(
            text(f"UPDATE {table} SET created_us = :at WHERE {column} = :id"),
            {"at": at_us, "id": account_id},
        )


def give(conn: Connection, account_id: str, at_us: int, kind: str, nanos: int, note: str) -> None:
    """Credit, at a moment of the past."""
    post_credit(
        conn,
        account_id=account_id,
        amount_nanos=nanos,
        kind=kind,
        note=note,
        actor="test",
        now_us=at_us,
        posting_id=new_id("pst", at_us),
    )


def price_of(conn: Connection, call: Call) -> Price:
    """The newest price of a call's model and tier."""
    found = conn.execute(
        text(
            """SELECT p.id, p.input_picos, p.cached_picos, p.output_picos
               FROM prices p JOIN models m ON m.id = p.model_id
               WHERE m.name = :model AND p.service_tier = :tier ORDER BY p.version DESC LIMIT 1"""
        ),
        {"model": call.model, "tier": call.service_tier},
    ).one()
    return Price(*found)


def _closed(conn: Connection, account_id: str, key_id: str, at_us: int, call: Call) -> CloseRecord:
    price, usage = price_of(conn, call), call.usage
    charge_nanos = price.charge_nanos(usage)
    row: dict[str, Any] = {
        "request_id": new_id("req", at_us + next(_numbers)),
        "account_id": account_id,
        "api_key_id": call.api_key_id or key_id,
        "price_id": price.id,
        "model": call.model,
        "app": call.app,
        "hold_nanos": charge_nanos,
        "is_stream": False,
        "started_us": at_us,
        "ip": "127.0.0.1",
        "windows": (),
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "charge_nanos": charge_nanos,
        "overrun_nanos": 0,
        "outcome": "answered",
        "counted_by": "upstream",
        "http_status": 200,
        "first_byte_us": at_us + 1,
        "ended_us": at_us + 2,
    }
    return CloseRecord(**row)


async def charge(
    store: Store, account_id: str, key_id: str, batches: Sequence[tuple[int, Sequence[Call]]]
) -> None:
    """Calls at moments of the past; each batch is posted together, as the drain would."""

    def transaction(conn: Connection) -> None:
        epoch_id = new_id("epo", next(_numbers))
        open_epoch(conn, epoch_id=epoch_id, now_us=1)
        for at_us, calls in batches:
            records = [_closed(conn, account_id, key_id, at_us, call) for call in calls]
            place = {"epoch_id": epoch_id, "from_offset": 0, "to_offset": 0}
            post_calls(conn, records, **place, now_us=at_us)
        end_epoch(conn, epoch_id=epoch_id, now_us=1)

    await store.write(transaction)
