"""Guards what is used up: codes, tickets and passkeys' counts, on either engine and in a race."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from latchgate.clock import MINUTE_US
from latchgate.services import tickets
from latchgate.storage import accounts, audit_events, passkeys, second_factors, sessions
from latchgate.storage.schema import migrate
from latchgate.storage.store import Store
from latchgate.storage.tickets import find_ticket

pytestmark = pytest.mark.anyio
NOW_US = 1_800_000_000_000_000
ADA, BOB = "usr_ada", "usr_bob"


def _make(conn: Connection) -> None:
    migrate(conn)
    for user_id in (ADA, BOB):
        accounts.insert_user(
            conn,
            id=user_id,
            email=f"{user_id}@example.com",
            email_key=f"{user_id}@example.com",
            password_hash="x",
            is_operator=0,
            created_us=1,
            password_changed_us=1,
        )


@pytest.fixture
async def store(tmp_path: Path, database_url: str) -> AsyncIterator[Store]:
    """Two users on either engine."""
    opened = Store(tmp_path / "people.db", database_url)
    await opened.write(_make)
    yield opened
    opened.close()


def _with_session(conn: Connection) -> None:
    sessions.insert_session(
        conn,
        id="ses_1",
        token_hash=b"old",
        user_id=ADA,
        created_us=1,
        seen_us=1,
        expires_us=NOW_US * 2,
        ended_us=None,
        ip="",
        user_agent="",
        confirmed_us=1,
    )


def _with_totp(conn: Connection) -> None:
    _with_session(conn)
    second_factors.replace_totp(
        conn,
        ADA,
        secret_sealed=b"x",
        created_us=1,
        confirmed_us=None,
        session_id="ses_1",
        used_step=0,
    )


async def test_a_step_is_used_up_once_with_all_before_it(store: Store) -> None:
    await store.write(_with_totp)
    used = await asyncio.gather(*(store.write(second_factors.use_step, ADA, 100) for _ in range(5)))
    assert sorted(used) == [False] * 4 + [True]
    assert not await store.write(second_factors.use_step, ADA, 99)
    assert await store.write(second_factors.use_step, ADA, 101)
    assert not await store.write(second_factors.use_step, BOB, 102)


async def test_a_recovery_code_is_used_up_once_by_its_own_user(store: Store) -> None:
    await store.write(second_factors.insert_codes, ADA, [b"one", b"two"], now_us=NOW_US)
    assert not await store.write(second_factors.use_code, BOB, b"one", now_us=NOW_US)
    used = await asyncio.gather(
        *(store.write(second_factors.use_code, ADA, b"one", now_us=NOW_US) for _ in range(5))
    )
    assert sorted(used) == [False] * 4 + [True]
    assert await store.read(second_factors.count_codes, ADA) == 1
    await store.write(second_factors.insert_codes, ADA, [b"three"], now_us=NOW_US)
    assert not await store.write(second_factors.use_code, ADA, b"two", now_us=NOW_US)


async def test_a_ticket_is_taken_once_for_its_purpose_and_swept_up_when_it_is_old(
    store: Store,
) -> None:
    def issue(conn: Connection) -> str:
        return tickets.issue(conn, "step", user_id=ADA, details={"a": 1}, now_us=NOW_US)

    token = await store.write(issue)
    assert await store.write(tickets.take, token, "other step", now_us=NOW_US) is None
    taken = await asyncio.gather(
        *(store.write(tickets.take, token, "step", now_us=NOW_US) for _ in range(5))
    )
    assert [ticket for ticket in taken if ticket] == [tickets.Ticket(ADA, {"a": 1})]
    old = await store.write(issue)
    late_us = NOW_US + tickets.TICKET_MINUTES * MINUTE_US
    assert await store.read(tickets.find, old, "step", now_us=late_us) is None
    await store.write(tickets.issue, "step", user_id=None, now_us=late_us)
    hashed = tickets.token_hash(old)
    assert await store.read(find_ticket, hashed, "step", now_us=NOW_US) is None


async def test_a_passkeys_count_only_rises(store: Store) -> None:
    def insert(conn: Connection, passkey_id: str) -> None:
        passkeys.insert_passkey(
            conn,
            id=passkey_id,
            user_id=ADA,
            credential_id=passkey_id.encode(),
            public_key=b"x",
            sign_count=0,
            name="n",
            transports="[]",
            is_backed_up=0,
            created_us=1,
            used_us=None,
        )

    for passkey_id in ("counts", "never counts"):
        await store.write(insert, passkey_id)

    async def use(passkey_id: str, count: int) -> bool:
        return await store.write(passkeys.use_passkey, passkey_id, sign_count=count, now_us=NOW_US)

    assert [await use("counts", count) for count in (5, 5, 4, 0, 6)] == [
        *(True, False, False, False, True)
    ]
    assert [await use("never counts", 0) for _ in range(2)] == [True, True]


async def test_a_renewed_session_has_one_token_and_is_ended_by_its_user_alone(
    store: Store,
) -> None:
    await store.write(_with_session)
    await store.write(sessions.renew_session, "ses_1", b"new", now_us=NOW_US)
    listed = await store.read(
        sessions.list_open, ADA, now_us=NOW_US, seen_after_us=NOW_US - 1, limit=9
    )
    assert [(row.token_hash, row.confirmed_us) for row in listed] == [(b"new", NOW_US)]
    end = sessions.end_session_of
    assert not await store.write(end, BOB, "ses_1", now_us=NOW_US)
    assert await store.write(end, ADA, "ses_1", now_us=NOW_US)
    assert not await store.write(end, ADA, "ses_1", now_us=NOW_US)


async def test_a_page_of_events_begins_behind_the_one_that_it_names(store: Store) -> None:
    def insert(conn: Connection) -> None:
        for account_id in ("acct_a", "acct_b"):
            accounts.insert_account(
                conn,
                id=account_id,
                name="",
                state="active",
                is_premium_on=0,
                time_zone="UTC",
                credit_line_nanos=0,
                created_us=1,
            )
        for number, at_us in enumerate((1, 2, 2, 2, 3)):
            for account_id in ("acct_a", "acct_b"):
                audit_events.insert_event(
                    conn,
                    id=f"{account_id}-{number}",
                    at_us=at_us,
                    account_id=account_id,
                    actor="",
                    action="",
                    target="",
                    ip="",
                    user_agent="",
                    details="{}",
                )

    await store.write(insert)
    seen: list[str] = []
    before = None
    while page := await store.read(audit_events.list_events, "acct_a", before=before, limit=2):
        seen += [row.id for row in page]
        before = page[-1].id
    assert seen == [f"acct_a-{number}" for number in (4, 3, 2, 1, 0)]
    assert not await store.read(audit_events.list_events, "acct_a", before="acct_b-4", limit=2)
