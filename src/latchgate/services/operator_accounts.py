"""Other people's accounts, as an operator finds and reads them; never a secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latchgate.clock import SECOND_US
from latchgate.domain.errors import InvalidRequest, NotFound
from latchgate.services.accounts import AccountView, view_of
from latchgate.services.billing import InFlight, check_page
from latchgate.storage import operator_accounts as rows
from latchgate.storage.accounts import find_owner

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

ASKED_CHARS_MAX = 254


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account of the list; amounts in nano-USD."""

    account_id: str
    email: str
    state: str
    is_operator: bool
    created_us: int
    #: What it was given and has not spent; below zero it owes.
    credit_left_nanos: int
    #: In this month, as UTC has it.
    spent_nanos: int
    last_used_us: int | None


@dataclass(frozen=True, slots=True)
class AccountFile:
    """One account and what it may do at once; None is what the configuration says."""

    view: AccountView
    time_zone: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    calls_at_once: int | None


class OperatorAccounts:
    """Reads accounts of all kinds; what changes them is in their own services."""

    def __init__(self, store: Store, clock: Clock, in_flight: InFlight) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight

    async def list_page(
        self, *, asked: str = "", before: str | None = None, limit: int = 50
    ) -> tuple[list[AccountLine], str | None]:
        """A page of accounts, newest first, and the cursor of the next page, if there is one.

        ``asked`` is a part of an address, or an id. Raises InvalidRequest.
        """
        check_page(before, limit)
        asked = asked.strip()
        if len(asked) > ASKED_CHARS_MAX or not asked.isprintable():
            raise InvalidRequest("Search for a part of an e-mail address, or an id.", param="q")
        await self._in_flight.settle()
        found = await self._store.read(
            rows.list_accounts,
            asked=asked,
            before=before,
            limit=limit + 1,
            since_us=_month_of(self._clock.now_us()),
        )
        page = [_line(row) for row in found[:limit]]
        return page, page[-1].account_id if len(found) > limit else None

    async def get(self, account_id: str) -> AccountFile:
        """One account, a closed one too. Raises NotFound."""
        row = await self._store.read(find_owner, account_id)
        if row is None:
            raise NotFound("There is no such account.")
        return AccountFile(
            view_of(row),
            row.time_zone,
            row.requests_per_minute,
            row.tokens_per_minute,
            row.calls_at_once,
        )


def _month_of(now_us: int) -> int:
    now = datetime.fromtimestamp(now_us // SECOND_US, UTC)
    return int(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp()) * SECOND_US


def _line(row: AnyRow) -> AccountLine:
    return AccountLine(
        account_id=row.account_id,
        email=row.email,
        state=row.state if row.closed_us is None else "closed",
        is_operator=bool(row.is_operator),
        created_us=row.created_us,
        credit_left_nanos=row.credit_left_nanos,
        spent_nanos=row.spent_nanos,
        last_used_us=row.last_used_us,
    )
