"""Who did what, when and from where."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.ids import new_id
from latchgate.storage import audit_events as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.domain.people import Caller
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

USER_AGENT_CHARS_MAX = 300
EVENTS_LISTED_MAX = 200


@dataclass(frozen=True, slots=True)
class AuditEventView:
    """One event, as the account's owner sees it."""

    id: str
    at_us: int
    actor: str
    action: str
    target: str
    ip: str
    user_agent: str
    details: dict[str, object]


def record(
    conn: Connection,
    *,
    at_us: int,
    account_id: str | None,
    caller: Caller,
    action: str,
    target: str = "",
    details: dict[str, object] | None = None,
) -> None:
    """Write an event inside the transaction of what it tells of; ``details`` never has a secret."""
    rows.insert_event(
        conn,
        id=new_id("aud", at_us),
        at_us=at_us,
        account_id=account_id,
        actor=caller.actor,
        action=action,
        target=target,
        ip=caller.ip,
        user_agent=caller.user_agent[:USER_AGENT_CHARS_MAX],
        details=json.dumps(details or {}, ensure_ascii=False),
    )


class AuditLog:
    """Reads an account's events."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_recent(self, account_id: str, limit: int = 50) -> list[AuditEventView]:
        """The newest events, at most 200."""
        events, _ = await self.list_page(account_id, limit=limit)
        return events

    async def list_page(
        self,
        account_id: str | None,
        *,
        before: str | None = None,
        limit: int = 50,
        is_for_operator: bool = False,
    ) -> tuple[list[AuditEventView], str | None]:
        """A page of events, newest first, and where the next begins: its ``before``.

        ``account_id`` None: what was done with the installation, and with no account of it. At most
        200 rows. A ``before`` that is no event of this account gives an empty page.
        """
        limit = min(limit, EVENTS_LISTED_MAX)
        found = await self._store.read(
            rows.list_events,
            account_id,
            before=before,
            limit=limit + 1,
            is_for_operator=is_for_operator,
        )
        following = found[limit - 1].id if len(found) > limit else None
        return [_view(row) for row in found[:limit]], following


def _view(row: AnyRow) -> AuditEventView:
    return AuditEventView(
        id=row.id,
        at_us=row.at_us,
        actor=row.actor,
        action=row.action,
        target=row.target,
        ip=row.ip,
        user_agent=row.user_agent,
        details=json.loads(row.details),
    )
