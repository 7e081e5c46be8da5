"""An account's money: what it was given, what it has spent, what is held, what is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.errors import Conflict, InvalidRequest
from latchgate.domain.ids import is_id, new_id
from latchgate.domain.money import AMOUNT_NANOS_MAX
from latchgate.domain.windows import Window
from latchgate.services.audit_log import record
from latchgate.storage import ledger as rows
from latchgate.storage.budgets import get_credit_budget

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

PAGE_ROWS_MAX = 200
NOTE_CHARS_MAX = 200
#: What the audit log calls a posting of the operator's, by its kind.
_ACTIONS = {"refund": "credit.refund", "correction": "credit.correct"}


@dataclass(frozen=True, slots=True)
class Balances:
    """Nano-USD: credit ever given, charges ever made, and what running calls hold just now."""

    credit_nanos: int
    spent_nanos: int
    held_nanos: int
    #: How far below zero the account may go.
    credit_line_nanos: int = 0

    @property
    def available_nanos(self) -> int:
        """What the credit and its line still carry."""
        return self.credit_nanos + self.credit_line_nanos - self.spent_nanos - self.held_nanos


@dataclass(frozen=True, slots=True)
class PostingView:
    """One line of an account's books; credit is positive, a charge negative."""

    id: str
    kind: str
    amount_nanos: int
    created_us: int
    note: str
    actor: str


@dataclass(frozen=True, slots=True)
class InFlight:
    """The gateway's side of the figures, so that every page is exact.

    ``settle`` posts every durable charge to the database; ``held_nanos`` is what running calls
    hold of a budget's window in memory.
    """

    settle: Callable[[], Awaitable[None]]
    held_nanos: Callable[[Window], int]


class Billing:
    """Use cases over credit and postings, one transaction each.

    ``on_credit`` is told when there is more to spend, ``on_debit`` which account's budget has less,
    so that it binds the next call.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        in_flight: InFlight,
        on_credit: Callable[[], None],
        on_debit: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight
        self._on_credit = on_credit
        self._on_debit = on_debit

    async def balances(self, account_id: str) -> Balances:
        """The account's figures, exact: what is in flight is posted first."""
        await self._in_flight.settle()
        window = await self._store.read(rows.get_credit_window, account_id)
        held_nanos = self._in_flight.held_nanos(Window(window.budget_id))
        line_nanos = window.credit_line_nanos
        return Balances(window.limit_nanos - line_nanos, window.spent_nanos, held_nanos, line_nanos)

    async def add_credit(
        self,
        account_id: str,
        amount_nanos: int,
        *,
        caller: Caller,
        kind: str = "top_up",
        note: str = "",
        posting_id: str | None = None,
    ) -> PostingView:
        """Give an account credit. The same ``posting_id`` twice is one effect.

        Raises InvalidRequest for an amount that is not positive or a note that is too long, and
        Conflict ``idempotency_key_reused`` for a ``posting_id`` that another posting has.
        """
        check_amount(amount_nanos)
        check_note(note)
        return await self._post(account_id, amount_nanos, kind, note, caller, posting_id=posting_id)

    async def refund(
        self,
        account_id: str,
        amount_nanos: int,
        *,
        reason: str,
        caller: Caller,
        posting_id: str | None = None,
    ) -> PostingView:
        """Give back what was charged, with a reason that the owner reads. Raises InvalidRequest."""
        check_amount(amount_nanos)
        check_reason(reason)
        return await self._post(
            account_id, amount_nanos, "refund", reason, caller, posting_id=posting_id
        )

    async def correct(
        self,
        account_id: str,
        amount_nanos: int,
        *,
        reason: str,
        caller: Caller,
        posting_id: str | None = None,
    ) -> PostingView:
        """Put right what was posted wrongly, by a posting of its own; below zero takes away.

        The account may be below zero after it: then its calls are refused until there is credit
        again. Raises InvalidRequest.
        """
        check_amount(abs(amount_nanos))
        check_reason(reason)
        return await self._post(
            account_id, amount_nanos, "correction", reason, caller, posting_id=posting_id
        )

    async def _post(
        self,
        account_id: str,
        amount_nanos: int,
        kind: str,
        note: str,
        caller: Caller,
        *,
        posting_id: str | None = None,
    ) -> PostingView:
        now_us = self._clock.now_us()
        posting = PostingView(
            posting_id or new_id("pst", now_us), kind, amount_nanos, now_us, note, caller.actor
        )

        def transaction(conn: Connection) -> tuple[PostingView, str]:
            is_new = rows.post_credit(
                conn,
                account_id=account_id,
                amount_nanos=amount_nanos,
                kind=kind,
                note=note,
                actor=caller.actor,
                now_us=now_us,
                posting_id=posting.id,
            )
            if not is_new:
                found = rows.get_posting(conn, posting.id)
                return _same(found, account_id, posting), get_credit_budget(conn, account_id)
            record(
                conn,
                at_us=now_us,
                account_id=account_id,
                caller=caller,
                action=_ACTIONS.get(kind, "credit.add"),
                target=posting.id,
                details={"amount_nanos": amount_nanos},
            )
            return posting, get_credit_budget(conn, account_id)

        posted, budget_id = await self._store.write(transaction)
        if amount_nanos < 0:
            await self._on_debit(account_id, budget_id)
        else:
            self._on_credit()
        return posted

    async def list_postings(
        self, account_id: str, *, before: str | None = None, limit: int = 50
    ) -> tuple[list[PostingView], str | None]:
        """A page of postings, newest first, and the cursor of the next page, if there is one."""
        check_page(before, limit)
        await self._in_flight.settle()
        found = await self._store.read(
            rows.list_postings, account_id, before=before, limit=limit + 1
        )
        page = [PostingView(*row) for row in found[:limit]]
        return page, page[-1].id if len(found) > limit else None


def _same(found: AnyRow, account_id: str, asked: PostingView) -> PostingView:
    """The posting that is there already, if it is the one that is asked for again."""
    posted = PostingView(*found[1:])
    terms = (account_id, asked.kind, asked.amount_nanos, asked.note)
    if (found.account_id, posted.kind, posted.amount_nanos, posted.note) != terms:
        raise Conflict(
            "Another posting was made under this key. Ask for the very same again, or take a new "
            "key for a new posting.",
            code="idempotency_key_reused",
        )
    return posted


def check_page(before: str | None, limit: int) -> None:
    """Raise unless a cursor has the shape of an id and the page's size is within its limit."""
    if before is not None and not is_id(before):
        raise InvalidRequest("That is no page of this list.", param="before")
    if not 0 < limit <= PAGE_ROWS_MAX:
        raise InvalidRequest(f"A page has 1 to {PAGE_ROWS_MAX} rows.", param="limit")


def check_amount(amount_nanos: int) -> None:
    """Raise InvalidRequest unless an amount is more than zero and not absurd."""
    if not 0 < amount_nanos <= AMOUNT_NANOS_MAX:
        raise InvalidRequest("An amount is more than zero, such as 5.00.", param="amount")


def check_note(note: str) -> None:
    """Raise InvalidRequest unless a note is printable and short."""
    if len(note) > NOTE_CHARS_MAX or not note.isprintable():
        raise InvalidRequest(
            f"A note has at most {NOTE_CHARS_MAX} printable characters.", param="note"
        )


def check_reason(reason: str) -> None:
    """Raise InvalidRequest unless a reason is there, printable and short."""
    if not reason.strip() or len(reason) > NOTE_CHARS_MAX or not reason.isprintable():
        raise InvalidRequest(
            f"A reason has 1 to {NOTE_CHARS_MAX} printable characters; the owner reads it.",
            param="reason",
        )
