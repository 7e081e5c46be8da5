"""API keys as rows, with what each has cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Select, case, cast, func, insert, select, text, update

from latchgate.storage.plans import bound_terms, with_plan
from latchgate.storage.statements import AnyRow, insert_once
from latchgate.storage.tables import Int64, accounts, api_keys, usage_days

LIVE, PENDING, REPLACED, REVOKED = "live", "pending", "replaced", "revoked"
USABLE = (LIVE, PENDING)
#: A key that somebody holds, and the row that stands for the console's own calls.
SECRET, PLAYGROUND = "secret", "playground"

_keys = api_keys.c


def insert_key(conn: Connection, **values: object) -> None:
    """Write a new key's row."""
    conn.execute(insert(api_keys).values(**values))


def find_usable(conn: Connection, account_id: str, state: str) -> AnyRow | None:
    """The account's live or pending key."""
    query = select(api_keys).where(_keys.account_id == account_id, _keys.state == state)
    return conn.execute(query).first()


def find_key(conn: Connection, key_id: str) -> AnyRow | None:
    """A key's row by its id."""
    return conn.execute(select(api_keys).where(_keys.id == key_id)).first()


def find_by_nonce(conn: Connection, nonce: str) -> str | None:
    """The key that a form with this nonce has made."""
    return conn.execute(select(_keys.id).where(_keys.form_nonce == nonce)).scalar_one_or_none()


def find_by_public_id(conn: Connection, public_id: str) -> AnyRow | None:
    """A key with its account's state, as the gateway's directory needs it."""
    return conn.execute(_with_account().where(_keys.public_id == public_id)).first()


def find_playground(conn: Connection, account_id: str) -> AnyRow | None:
    """What an account's calls from the console are noted under, as the directory needs it."""
    query = _with_account().where(_keys.account_id == account_id, _keys.kind == PLAYGROUND)
    return conn.execute(query).first()


def insert_playground(conn: Connection, key_id: str, account_id: str, *, now_us: int) -> None:
    """Write the row for an account's calls from the console; doing it again changes nothing.

    No text has its public id or its hash, so no text is its secret.
    """
    insert_once(
        conn,
        api_keys,
        id=key_id,
        account_id=account_id,
        name="Playground",
        public_id=key_id,
        last_four="",
        secret_hash=b"",
        state=REVOKED,
        created_us=now_us,
        ended_us=now_us,
        kind=PLAYGROUND,
    )


def playground_ids(conn: Connection, account_ids: Collection[str]) -> set[str]:
    """Those of these accounts' keys that stand for the console's own calls."""
    query = select(_keys.id).where(_keys.account_id.in_(account_ids), _keys.kind == PLAYGROUND)
    return set(conn.execute(query).scalars())


def _with_account() -> Select[Any]:
    keys = select(
        _keys.id,
        _keys.account_id,
        _keys.secret_hash,
        _keys.state,
        _keys.name,
        _keys.public_id,
        _keys.last_four,
        _keys.expires_us,
        _keys.models,
        _keys.scope,
        _keys.addresses,
        accounts.c.state.label("account_state"),
        accounts.c.is_key_premium_on,
        accounts.c.time_zone,
        *bound_terms(),
    )
    return with_plan(keys.join(accounts, accounts.c.id == _keys.account_id))


def set_state(conn: Connection, key_id: str, state: str, *, ended_us: int | None) -> None:
    """Move a key to another state."""
    conn.execute(update(api_keys).where(_keys.id == key_id).values(state=state, ended_us=ended_us))


def end_keys(conn: Connection, account_id: str, *, now_us: int) -> None:
    """End every usable key of an account."""
    conn.execute(
        update(api_keys)
        .where(_keys.account_id == account_id, _keys.state.in_(USABLE))
        .values(state=REVOKED, ended_us=now_us)
    )


def _with_usage(keys: Select[Any]) -> Select[Any]:
    """A few keys, with what each has cost: the sums of its days, and the app that used it last."""
    chosen = keys.subquery("chosen")
    used, newest = usage_days.c, usage_days.alias("newest").c
    last_app = (
        select(newest.app)
        .where(newest.api_key_id == chosen.c.id)
        .order_by(newest.last_used_us.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(
            chosen,
            cast(func.coalesce(func.sum(used.calls), 0), Int64).label("calls"),
            cast(func.coalesce(func.sum(used.charge_nanos), 0), Int64).label("spent_nanos"),
            func.max(used.last_used_us).label("last_used_us"),
            func.coalesce(last_app, "").label("last_app"),
        )
        .outerjoin(usage_days, used.api_key_id == chosen.c.id)
        .group_by(*chosen.c)
    )


def list_keys(conn: Connection, account_id: str, *, limit: int) -> Sequence[AnyRow]:
    """An account's keys with what each has cost: usable ones first, then the newest."""
    rank = case((_keys.state.in_(USABLE), 0), else_=1)
    keys = select(api_keys, rank.label("rank")).where(
        _keys.account_id == account_id, _keys.kind == SECRET
    )
    chosen = keys.order_by(rank, _keys.created_us.desc()).limit(limit)
    return conn.execute(_with_usage(chosen).order_by(text("rank"), text("created_us DESC"))).all()


def get_key(conn: Connection, key_id: str) -> AnyRow:
    """One key with what it has cost."""
    return conn.execute(_with_usage(select(api_keys).where(_keys.id == key_id))).one()
