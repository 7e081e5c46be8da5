"""Everything that is kept of a user and his account, as one JSON document, a page at a time.

Nothing that opens anything is in it: hashes, sealed secrets and public keys stay here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from latchgate.clock import SECOND_US
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.storage import (
    accounts,
    admin_keys,
    alerts,
    api_keys,
    audit_events,
    auto_top_ups,
    budgets,
    key_sightings,
    ledger,
    monthly_statements,
    payments,
    price_corrections,
    redemption_codes,
    usage_events,
)
from latchgate.storage import email_changes as email_change_rows
from latchgate.storage import passkeys as passkey_rows
from latchgate.storage import second_factors as factor_rows
from latchgate.storage import sessions as session_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.billing import InFlight
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

PAGE_ROWS = 500
#: Columns that open something, or say how it is opened.
SECRET = frozenset(
    {
        *("password_hash", "token_hash", "old_token_hash", "new_token_hash", "secret_hash"),
        *("secret_sealed", "code_hash", "public_key", "credential_id", "form_nonce", "used_step"),
    }
)


class _Paged(Protocol):
    def __call__(
        self, conn: Connection, account_id: str, /, *, before: str | None, limit: int
    ) -> Sequence[AnyRow]: ...


#: What may be long, with the column that names a row.
_LONG: tuple[tuple[str, _Paged, str], ...] = (
    ("postings", ledger.list_postings, "id"),
    ("calls", usage_events.list_events, "request_id"),
    ("payments", payments.list_payments, "id"),
    ("statements", monthly_statements.list_statements, "id"),
    ("audit_events", audit_events.list_events, "id"),
    ("alerts", alerts.list_alerts, "id"),
)


class Exports:
    """The one use case."""

    def __init__(
        self, store: Store, clock: Clock, in_flight: InFlight, throttles: Throttles
    ) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight
        self._throttles = throttles

    async def begin(self, identity: Identity, caller: Caller) -> AsyncIterator[str]:
        """Write down that it was asked for, and give the document in parts. Raises RateLimited."""
        self._throttles.count(limits.DOWNLOAD_BY_USER, identity.user_id)
        await self._in_flight.settle()
        now_us = self._clock.now_us()
        await self._store.write(
            record,
            at_us=now_us,
            account_id=identity.account_id,
            caller=caller,
            action="account.download",
            target=identity.user_id,
        )
        return self._write(identity, now_us)

    async def _write(self, identity: Identity, now_us: int) -> AsyncIterator[str]:
        at = datetime.fromtimestamp(now_us // SECOND_US, UTC).isoformat()
        about = {
            "what": "Everything that this Latchgate keeps of you and your account",
            "units": "…_us: microseconds since 1970, UTC. …_nanos: thousand-millionths of a dollar",
            "made_at": at,
        }
        yield "{" + _member("about", about)
        for name, part in (await self._store.read(_short, identity)).items():
            yield ",\n" + _member(name, part)
        for name, page_of, cursor in _LONG:
            yield f",\n{json.dumps(name)}: ["
            async for text in self._rows(page_of, identity.account_id, cursor):
                yield text
            yield "\n]"
        yield "\n}\n"

    async def _rows(self, page_of: _Paged, account_id: str, cursor: str) -> AsyncIterator[str]:
        """A list's rows, a page of the database at a time: it may be as long as it likes."""
        before, between = None, "\n"
        while True:
            found = await self._store.read(page_of, account_id, before=before, limit=PAGE_ROWS)
            if not found:
                return
            yield between + ",\n".join(_json(_plain(row)) for row in found)
            before, between = getattr(found[-1], cursor), ",\n"


def _short(conn: Connection, identity: Identity) -> dict[str, Any]:
    """What is short, in one picture of the database."""
    lists: dict[str, Callable[[], Sequence[AnyRow]]] = {
        "sessions": lambda: session_rows.list_all(conn, identity.user_id),
        "passkeys": lambda: passkey_rows.list_passkeys(conn, identity.user_id),
        "email_changes": lambda: email_change_rows.list_changes(conn, identity.user_id),
        "api_keys": lambda: api_keys.list_keys(conn, identity.account_id, limit=PAGE_ROWS),
        "admin_keys": lambda: admin_keys.list_keys_of(conn, identity.user_id),
        "redeemed_codes": lambda: redemption_codes.list_redeemed(conn, identity.account_id),
        "key_uses": lambda: key_sightings.list_sightings(conn, identity.account_id),
        "muted_notices": lambda: key_sightings.list_muted_rows(conn, identity.account_id),
        "price_corrections": lambda: price_corrections.list_lines(conn, identity.account_id),
        "limits": lambda: budgets.list_budgets(conn, identity.account_id),
    }
    totp = factor_rows.find_totp(conn, identity.user_id)
    top_up = auto_top_ups.find_top_up(conn, identity.account_id)
    return {
        "user": _plain(accounts.get_user(conn, identity.user_id)),
        "alert_terms": asdict(alerts.get_terms(conn, identity.account_id)),
        "account": _plain(accounts.get_account(conn, identity.account_id)),
        "second_factor": None if totp is None else _plain(totp),
        "auto_top_up": None if top_up is None else _plain(top_up),
        **{name: [_plain(row) for row in find()] for name, find in lists.items()},
    }


def _plain(row: AnyRow) -> dict[str, Any]:
    columns = zip(row._fields, row, strict=True)
    kept = {name: value for name, value in columns if name not in SECRET}
    if isinstance(kept.get("details"), str):
        kept["details"] = json.loads(kept["details"])
    return kept


def _member(name: str, value: object) -> str:
    return f"{json.dumps(name)}: {_json(value)}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
