"""A wrong price put right: what calls of a span should have cost, and a posting for each account.

First a preview says who gets what. Then each account is put right in a transaction of its own: the
posting, and by how much each call's charge changed. What calls have cost so far is their charge and
all such differences, so whatever is done again, or went on after a crash, does only what is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US
from latchgate.domain.errors import Conflict, InvalidRequest
from latchgate.domain.ids import new_id
from latchgate.domain.prices import PRIORITY_PERCENT_MIN, PRIORITY_PERCENT_USUAL, Price
from latchgate.domain.usage import Usage
from latchgate.services.audit_log import record
from latchgate.services.billing import InFlight, check_reason
from latchgate.services.catalog import ModelTerms, get_model, model_view
from latchgate.services.catalog_rules import check_name, check_priority_percent
from latchgate.services.price_correction_views import (
    BELOW_ZERO,
    CLOSED,
    REFUNDS_ONLY,
    AccountCorrection,
    Correction,
    CorrectionAsked,
)
from latchgate.storage import price_corrections as rows
from latchgate.storage.accounts import find_owner
from latchgate.storage.budgets import get_credit_budget
from latchgate.storage.ledger import get_credit_window, post_credit

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

ACCOUNTS_MAX = 10_000
#: Of one account in one correction: they are put right in one transaction.
CALLS_MAX = 100_000
SPAN_DAYS_MAX = 400
LISTED_MAX = 50


class PriceCorrections:
    """Use cases over wrong prices. ``on_credit`` and ``on_debit`` are as ``Billing`` has them."""

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

    async def ask(
        self,
        model: str,
        *,
        since_us: int,
        until_us: int,
        terms: ModelTerms,
        priority_percent: int | None = None,
        has_charges: bool = False,
        may_go_below_zero: bool = False,
    ) -> CorrectionAsked:
        """What is asked for; a priority call costs in proportion what it does now, if not said.

        Raises InvalidRequest, or NotFound where a model that is not on offer needs it to be said.
        """
        if priority_percent is None:
            offer = await self._store.read(get_model, model, self._clock.now_us())
            now = model_view(offer).priority_percent
            priority_percent = now if now >= PRIORITY_PERCENT_MIN else PRIORITY_PERCENT_USUAL
        asked = CorrectionAsked(
            model, since_us, until_us, terms, priority_percent, has_charges, may_go_below_zero
        )
        check_asked(asked, self._clock.now_us())
        return asked

    async def preview(self, asked: CorrectionAsked) -> Correction:
        """Who would get what. Changes nothing. Raises InvalidRequest."""
        check_asked(asked, self._clock.now_us())
        await self._in_flight.settle()

        def transaction(conn: Connection) -> Correction:
            found = rows.list_accounts(
                conn,
                asked.model,
                since_us=asked.since_us,
                until_us=asked.until_us,
                limit=ACCOUNTS_MAX + 1,
            )
            if len(found) > ACCOUNTS_MAX:
                raise _too_much(f"{ACCOUNTS_MAX:,} accounts")
            seen = (_look_at(conn, account_id, asked)[0] for account_id in found)
            return Correction(tuple(line for line in seen if line.amount_nanos))

        return await self._store.read(transaction)

    async def correct(
        self, asked: CorrectionAsked, *, reason: str, caller: Caller, expected: str | None = None
    ) -> Correction:
        """Post what the preview says; what was posted, and what was left out.

        Doing it again posts nothing. ``expected`` is the digest of the preview that was shown.
        Raises InvalidRequest, or Conflict when by now it would be something else.
        """
        check_reason(reason)
        preview = await self.preview(asked)
        if expected is not None and preview.digest != expected:
            raise Conflict("What would be posted has changed since you looked. Look again.")
        if not preview.posted:
            return preview
        correction_id = new_id("pcr", self._clock.now_us())
        await self._store.write(self._begin, correction_id, asked, reason, caller)
        lines = []
        for line in preview.lines:
            done, budget_id = await self._store.write(
                self._correct_account, line.account_id, correction_id, asked, reason, caller
            )
            if not done.left_out and done.amount_nanos < 0:
                await self._on_debit(done.account_id, budget_id)
            if done.amount_nanos:
                lines.append(done)
        self._on_credit()
        return Correction(tuple(lines))

    def _begin(
        self,
        conn: Connection,
        correction_id: str,
        asked: CorrectionAsked,
        reason: str,
        caller: Caller,
    ) -> None:
        now_us = self._clock.now_us()
        right: dict[str, object] = {
            "since_us": asked.since_us,
            "until_us": asked.until_us,
            **asked.terms.details(asked.priority_percent),
        }
        rows.insert_correction(
            conn,
            id=correction_id,
            model=asked.model,
            reason=reason,
            created_us=now_us,
            actor=caller.actor,
            **right,
        )
        record(
            conn,
            at_us=now_us,
            account_id=None,
            caller=caller,
            action="model.price_correct",
            target=asked.model,
            details={"correction": correction_id, **right},
        )

    def _correct_account(
        self,
        conn: Connection,
        account_id: str,
        correction_id: str,
        asked: CorrectionAsked,
        reason: str,
        caller: Caller,
    ) -> tuple[AccountCorrection, str]:
        line, differences = _look_at(conn, account_id, asked)
        budget_id = get_credit_budget(conn, account_id)
        if line.left_out or not line.amount_nanos:
            return line, budget_id
        now_us = self._clock.now_us()
        posting_id = new_id("pst", now_us)
        post_credit(
            conn,
            account_id=account_id,
            amount_nanos=line.amount_nanos,
            kind="correction",
            note=reason,
            actor=caller.actor,
            now_us=now_us,
            posting_id=posting_id,
        )
        rows.insert_line(
            conn,
            differences,
            correction_id=correction_id,
            account_id=account_id,
            posting_id=posting_id,
            calls=line.calls,
            charged_nanos=line.charged_nanos,
            right_nanos=line.right_nanos,
        )
        record(
            conn,
            at_us=now_us,
            account_id=account_id,
            caller=caller,
            action="credit.correct",
            target=posting_id,
            details={"amount_nanos": line.amount_nanos, "correction": correction_id},
        )
        return line, budget_id

    async def list_corrections(self) -> list[AnyRow]:
        """What was put right, newest first."""
        return list(await self._store.read(rows.list_corrections, limit=LISTED_MAX))


def check_asked(asked: CorrectionAsked, now_us: int) -> None:
    """Raise InvalidRequest unless a correction is about a span that has begun and is not absurd."""
    check_name(asked.model)
    check_priority_percent(asked.priority_percent)
    if not asked.since_us < asked.until_us <= asked.since_us + SPAN_DAYS_MAX * DAY_US:
        raise InvalidRequest(
            f"A correction is about a span of time, of at most {SPAN_DAYS_MAX} days: its end is "
            "behind its beginning.",
            param="until",
        )
    if asked.until_us > now_us + DAY_US:
        raise InvalidRequest(
            "A correction is about calls that were made: it ends by tomorrow. For what comes, set "
            "another price.",
            param="until",
        )


def _look_at(
    conn: Connection, account_id: str, asked: CorrectionAsked
) -> tuple[AccountCorrection, list[tuple[str, int]]]:
    """What the correction is for an account now, and by how much each call's charge changes."""
    calls = rows.list_calls(
        conn,
        account_id,
        asked.model,
        since_us=asked.since_us,
        until_us=asked.until_us,
        limit=CALLS_MAX + 1,
    )
    if len(calls) > CALLS_MAX:
        raise _too_much(f"{CALLS_MAX:,} calls of one account")
    by_tier: dict[str, Price] = {}
    charged_nanos, differences = 0, []
    for call in calls:
        if (price := by_tier.get(call.service_tier)) is None:
            price = by_tier[call.service_tier] = asked.price_of(call.service_tier)
        so_far_nanos = call.charge_nanos + int(call.corrected_nanos)
        charged_nanos += so_far_nanos
        right_nanos = price.charge_nanos(
            Usage(call.input_tokens, call.cached_tokens, call.output_tokens)
        )
        if call.overrun_nanos:  # beyond its hold a call is the operator's, whatever it cost
            right_nanos = min(right_nanos, call.charge_nanos)
        if right_nanos != so_far_nanos:
            differences.append((call.request_id, right_nanos - so_far_nanos))
    owner = find_owner(conn, account_id)
    line = AccountCorrection(
        account_id=account_id,
        email=owner.email if owner else "",
        calls=len(calls),
        charged_nanos=charged_nanos,
        right_nanos=charged_nanos + sum(nanos for _, nanos in differences),
    )
    is_closed = owner is not None and owner.closed_us is not None
    return replace(line, left_out=_why_not(conn, line, asked, is_closed=is_closed)), differences


def _why_not(
    conn: Connection, line: AccountCorrection, asked: CorrectionAsked, *, is_closed: bool
) -> str:
    if is_closed:
        return CLOSED
    if line.amount_nanos >= 0:
        return ""
    if not asked.has_charges:
        return REFUNDS_ONLY
    window = get_credit_window(conn, line.account_id)
    left_nanos = window.limit_nanos - window.credit_line_nanos - window.spent_nanos
    if left_nanos - window.leased_nanos < -line.amount_nanos and not asked.may_go_below_zero:
        return BELOW_ZERO
    return ""


def _too_much(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"That are more than {what}. Correct a shorter span, and then the next one.", param="until"
    )
