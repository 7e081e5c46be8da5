"""Redemption codes as rows: batches of them, and who has used which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from latchgate.storage.billing_tables import code_batches, redemption_codes
from latchgate.storage.statements import AnyRow

_batches, _codes = code_batches.c, redemption_codes.c


def insert_batch(conn: Connection, code_hashes: Iterable[bytes], **values: object) -> None:
    """Write a batch and its codes, numbered from 1."""
    conn.execute(insert(code_batches).values(**values))
    rows = [
        {"batch_id": values["id"], "number": number, "code_hash": code_hash}
        for number, code_hash in enumerate(code_hashes, 1)
    ]
    conn.execute(insert(redemption_codes), rows)


def find_code(conn: Connection, code_hash: bytes) -> AnyRow | None:
    """A code with the terms of its batch."""
    query = (
        select(redemption_codes, code_batches)
        .join(code_batches, _batches.id == _codes.batch_id)
        .where(_codes.code_hash == code_hash)
    )
    return conn.execute(query).one_or_none()


def claim_code(
    conn: Connection, code_hash: bytes, *, account_id: str, posting_id: str, now_us: int
) -> bool:
    """Use a code up. False: somebody else was faster, and nothing changed."""
    claimed = conn.execute(
        update(redemption_codes)
        .where(_codes.code_hash == code_hash, _codes.redeemed_us.is_(None))
        .values(redeemed_us=now_us, account_id=account_id, posting_id=posting_id)
    )
    return claimed.rowcount == 1


def list_redeemed(conn: Connection, account_id: str) -> Sequence[AnyRow]:
    """The codes that an account has used, oldest first."""
    query = select(redemption_codes).where(_codes.account_id == account_id)
    return conn.execute(query.order_by(_codes.redeemed_us, _codes.batch_id, _codes.number)).all()


def _with_redeemed() -> Select[Any]:
    return (
        select(code_batches, func.count(_codes.redeemed_us).label("redeemed"))
        .join(redemption_codes, _codes.batch_id == _batches.id)
        .group_by(_batches.id)
    )


def find_batch(conn: Connection, batch_id: str) -> AnyRow | None:
    """A batch, and how many of its codes are used."""
    return conn.execute(_with_redeemed().where(_batches.id == batch_id)).one_or_none()


def list_batches(conn: Connection, *, before: str | None, limit: int) -> Sequence[AnyRow]:
    """Batches, newest first, older than the batch ``before``; an id sorts by its age."""
    query = _with_redeemed()
    if before is not None:
        query = query.where(_batches.id < before)
    return conn.execute(query.order_by(_batches.id.desc()).limit(limit)).all()


def withdraw_batch(conn: Connection, batch_id: str, *, now_us: int) -> None:
    """Let none of a batch's codes be used any more; doing it again changes nothing."""
    conn.execute(
        update(code_batches)
        .where(_batches.id == batch_id, _batches.withdrawn_us.is_(None))
        .values(withdrawn_us=now_us)
    )
