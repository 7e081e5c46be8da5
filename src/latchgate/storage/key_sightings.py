"""What has used an account's keys, as rows: each app and each address once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy import insert as plain_insert

from latchgate.storage.key_tables import key_sightings, muted_notices
from latchgate.storage.statements import AnyRow

APP, ADDRESS = "app", "address"

_seen = key_sightings.c
_INSERT = text(
    "INSERT INTO key_sightings (account_id, kind, value, api_key_id, first_us, told_us)"
    " VALUES (:account_id, :kind, :value, :api_key_id, :first_us, :told_us)"
    " ON CONFLICT (account_id, kind, value) DO NOTHING"
)


def insert_sighting(conn: Connection, **values: object) -> bool:
    """Note a use; False when the account's keys were used like that before."""
    return conn.execute(_INSERT, values).rowcount == 1


def keep_newest(conn: Connection, account_id: str, kind: str, *, most: int) -> None:
    """Forget the longest known ones beyond so many."""
    newest = (
        select(_seen.value)
        .where(_seen.account_id == account_id, _seen.kind == kind)
        .order_by(_seen.first_us.desc(), _seen.value)
        .limit(most)
    )
    conn.execute(
        delete(key_sightings).where(
            _seen.account_id == account_id, _seen.kind == kind, _seen.value.not_in(newest)
        )
    )


def list_sightings(conn: Connection, account_id: str) -> Sequence[AnyRow]:
    """All that is known to have used an account's keys, the first use first."""
    query = select(key_sightings).where(_seen.account_id == account_id)
    return conn.execute(query.order_by(_seen.first_us, _seen.kind, _seen.value)).all()


def list_untold(conn: Connection, account_id: str) -> Sequence[AnyRow]:
    """What the account's owner is still to be told, oldest first."""
    query = select(key_sightings).where(_seen.account_id == account_id, _seen.told_us.is_(None))
    return conn.execute(query.order_by(_seen.first_us, _seen.kind, _seen.value)).all()


def set_told(conn: Connection, account_id: str, *, at_us: int) -> None:
    """The owner is told of all that he was not told of."""
    conn.execute(
        update(key_sightings)
        .where(_seen.account_id == account_id, _seen.told_us.is_(None))
        .values(told_us=at_us)
    )


def list_muted_rows(conn: Connection, account_id: str) -> Sequence[AnyRow]:
    """The notices that are switched off, as rows."""
    query = select(muted_notices).where(muted_notices.c.account_id == account_id)
    return conn.execute(query.order_by(muted_notices.c.what)).all()


def list_muted(conn: Connection, account_id: str) -> frozenset[str]:
    """The names of the notices that are switched off."""
    return frozenset(row.what for row in list_muted_rows(conn, account_id))


def set_muted(conn: Connection, account_id: str, muted: Collection[str]) -> None:
    """Switch these notices off, and all others on."""
    conn.execute(delete(muted_notices).where(muted_notices.c.account_id == account_id))
    for what in sorted(muted):
        conn.execute(plain_insert(muted_notices).values(account_id=account_id, what=what))
