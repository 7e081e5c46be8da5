"""An account's limits: what its owner allows in a day, a week, a month, and what is left of it.

A limit that is set, raised or lowered binds the next call; what runs already keeps the money that
was set aside for it. Limits belong to the account: a fresh key never resets one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from latchgate.domain.errors import Forbidden, InvalidRequest
from latchgate.domain.ids import new_id
from latchgate.domain.money import AMOUNT_NANOS_MAX
from latchgate.domain.windows import FOREVER_US, PERIODS, Period, get_zone, window_at
from latchgate.services.audit_log import record
from latchgate.storage import accounts as account_rows
from latchgate.storage import budgets as rows
from latchgate.storage.alerts import begin_anew

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.services.billing import InFlight
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: What an owner can limit, and over which periods.
SETTABLE: dict[str, tuple[Period, ...]] = {
    rows.ACCOUNT_LIMIT: ("day", "week", "month"),
    rows.KEY_LIMIT: PERIODS,
}

#: Who can be let call premium models, and the switch's column.
PREMIUM = {"account": "is_premium_on", "key": "is_key_premium_on"}


@dataclass(frozen=True, slots=True)
class LimitView:
    """One budget that binds, in its running window; amounts in nano-USD."""

    kind: str
    period: Period
    limit_nanos: int
    spent_nanos: int
    held_nanos: int
    resets_us: int | None

    @property
    def left_nanos(self) -> int:
        """What the next call may use of it."""
        return max(0, self.limit_nanos - self.spent_nanos - self.held_nanos)


@dataclass(frozen=True, slots=True)
class Standing:
    """Every budget that binds an account, its credit among them, and its switches."""

    limits: tuple[LimitView, ...]
    time_zone: str
    #: Whether the account, and its key, may call premium models: a call needs both.
    premium: dict[str, bool]
    plan: str = ""
    #: Whether its plan lets its owner switch them on.
    has_premium: bool = True

    @property
    def binding(self) -> LimitView:
        """The one that the next call would meet first."""
        return min(self.limits, key=lambda view: view.left_nanos)

    @property
    def available_nanos(self) -> int:
        """What can be spent now: the one number that a refusal states."""
        return self.binding.left_nanos

    def would_loosen(self, kind: str, period: str, amount_nanos: int | None) -> bool:
        """Whether a new value lets more be spent than now: what a stolen login must not do."""
        view = self.find(kind, period)
        if view is None:
            return False
        return amount_nanos is None or amount_nanos > view.limit_nanos

    def find(self, kind: str, period: str) -> LimitView | None:
        """A limit, if it is set."""
        return next((v for v in self.limits if (v.kind, v.period) == (kind, period)), None)


Changed = Callable[[str, str], Awaitable[None]]


class Limits:
    """Use cases over budgets, one transaction each.

    ``on_changed`` is told the account and the budget after every change, so that the next call is
    bound by it.
    """

    def __init__(
        self, store: Store, clock: Clock, in_flight: InFlight, on_changed: Changed
    ) -> None:
        self._store = store
        self._clock = clock
        self._in_flight = in_flight
        self._on_changed = on_changed

    async def standing(self, account_id: str) -> Standing:
        """What binds the account now, exact: what is in flight is posted first."""
        await self._in_flight.settle()
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> tuple[AnyRow, list[tuple[AnyRow, AnyRow | None, int]]]:
            account = account_rows.get_account(conn, account_id)
            zone, found = get_zone(account.time_zone), []
            for budget in rows.list_budgets(conn, account_id):
                window = window_at(budget.id, budget.period, zone, now_us)
                found.append((budget, rows.find_window(conn, window), window.ends_us))
            return account, found

        account, found = await self._store.read(transaction)
        zone = get_zone(account.time_zone)
        views = tuple(self._view(zone, now_us, *row) for row in found)
        premium = {what: bool(getattr(account, column)) for what, column in PREMIUM.items()}
        return Standing(views, account.time_zone, premium, account.plan, bool(account.has_premium))

    def _view(
        self, zone: ZoneInfo, now_us: int, budget: AnyRow, figures: AnyRow | None, ends_us: int
    ) -> LimitView:
        window = window_at(budget.id, budget.period, zone, now_us)
        return LimitView(
            kind=budget.kind,
            period=budget.period,
            limit_nanos=budget.limit_nanos,
            spent_nanos=figures.spent_nanos if figures else 0,
            held_nanos=self._in_flight.held_nanos(window),
            resets_us=None if ends_us == FOREVER_US else ends_us,
        )

    async def set_limit(
        self, account_id: str, kind: str, period: str, amount_nanos: int | None, caller: Caller
    ) -> None:
        """Set, raise or lower a limit; None takes it away. Raises InvalidRequest."""
        if kind not in SETTABLE or period not in SETTABLE[kind]:
            raise InvalidRequest(
                "An account's limit is per day, week or month; a key's may also be in all (none).",
                param="period",
            )
        if amount_nanos is not None and not 0 <= amount_nanos <= AMOUNT_NANOS_MAX:
            raise InvalidRequest("A limit is an amount such as 5.00, or 0.", param="amount")
        # What has ended counts from the start; what runs counts when it ends.
        await self._in_flight.settle()
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> str | None:
            found = rows.find_budget(conn, account_id, kind, period)
            if amount_nanos is None:
                if found is None or found.active_since_us is None:
                    return None
                rows.switch_off(conn, found.id)
                budget_id: str = found.id
            else:
                budget_id = found.id if found else new_id("bgt", now_us)
                if found is None:
                    rows.insert_budget(conn, budget_id, account_id, kind, period)
                zone = get_zone(account_rows.get_time_zone(conn, account_id))
                rows.set_limit(
                    conn,
                    budget_id=budget_id,
                    window=window_at(budget_id, _period(period), zone, now_us),
                    limit_nanos=amount_nanos,
                    now_us=now_us,
                )
            begin_anew(conn, account_id, budget_id=budget_id, now_us=now_us)
            self._record(conn, account_id, caller, "limit.set", f"{kind}/{period}", amount_nanos)
            return budget_id

        budget_id = await self._store.write(transaction)
        if budget_id is not None:
            await self._on_changed(account_id, budget_id)

    async def set_premium(self, account_id: str, what: str, *, is_on: bool, caller: Caller) -> None:
        """Let the account, or its key, call premium models, or not. Raises InvalidRequest.

        A call needs both. The key's switch is the account's to keep: a fresh key finds it as it is.
        Raises Forbidden ``premium_not_in_plan``.
        """
        if what not in PREMIUM:
            raise InvalidRequest("Premium models are for the account or the key.", param="what")

        def transaction(conn: Connection) -> bool:
            column, account = PREMIUM[what], account_rows.get_account(conn, account_id)
            if is_on and not account.has_premium:
                raise Forbidden(
                    f"The plan {account.plan} has no premium models. Ask the operator.",
                    code="premium_not_in_plan",
                )
            if bool(getattr(account, column)) == is_on:
                return False
            account_rows.set_account(conn, account_id, **{column: int(is_on)})
            record(
                conn,
                at_us=self._clock.now_us(),
                account_id=account_id,
                caller=caller,
                action=f"{what}.premium_{'on' if is_on else 'off'}",
            )
            return True

        if await self._store.write(transaction):
            await self._on_changed(account_id, "")

    async def set_time_zone(self, account_id: str, name: str, caller: Caller) -> None:
        """Choose at whose midnight limits begin anew. Raises InvalidRequest."""
        get_zone(name)

        def transaction(conn: Connection) -> None:
            account_rows.set_account(conn, account_id, time_zone=name)
            self._record(conn, account_id, caller, "account.time_zone", name, None)

        await self._store.write(transaction)
        await self._on_changed(account_id, "")

    async def set_credit_line(self, account_id: str, amount_nanos: int, caller: Caller) -> None:
        """Let an account that pays afterwards go so far below zero. Raises InvalidRequest."""
        if not 0 <= amount_nanos <= AMOUNT_NANOS_MAX:
            raise InvalidRequest("A credit line is an amount such as 5.00, or 0.", param="amount")

        def transaction(conn: Connection) -> str:
            before_nanos = account_rows.get_credit_line(conn, account_id)
            account_rows.set_account(conn, account_id, credit_line_nanos=amount_nanos)
            rows.raise_limit(conn, account_id=account_id, amount_nanos=amount_nanos - before_nanos)
            self._record(conn, account_id, caller, "account.credit_line", "", amount_nanos)
            return rows.get_credit_budget(conn, account_id)

        await self._on_changed(account_id, await self._store.write(transaction))

    async def set_rates(
        self,
        account_id: str,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        calls_at_once: int | None,
        caller: Caller,
    ) -> None:
        """How much an account may do at once and in a minute; None is what the settings say."""
        rates = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "calls_at_once": calls_at_once,
        }

        def transaction(conn: Connection) -> None:
            account_rows.set_account(conn, account_id, **rates)
            record(
                conn,
                at_us=self._clock.now_us(),
                account_id=account_id,
                caller=caller,
                action="account.rates",
                details={**rates},
            )

        await self._store.write(transaction)
        await self._on_changed(account_id, "")

    def _record(
        self,
        conn: Connection,
        account_id: str,
        caller: Caller,
        action: str,
        target: str,
        amount_nanos: int | None,
    ) -> None:
        record(
            conn,
            at_us=self._clock.now_us(),
            account_id=account_id,
            caller=caller,
            action=action,
            target=target,
            details={"amount_nanos": amount_nanos},
        )


def _period(name: str) -> Period:
    return next(period for period in PERIODS if period == name)
