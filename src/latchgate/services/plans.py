"""Plans: named sets of terms that an operator gives to accounts.

A changed plan, and another one, bind the next call of every account that is about it. What an
account was given of its own (rates, a credit line) goes before what its plan says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from latchgate.domain.errors import Conflict, InvalidRequest, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.money import AMOUNT_NANOS_MAX
from latchgate.services.audit_log import record
from latchgate.services.catalog_rules import check_name
from latchgate.storage import plans as rows
from latchgate.storage.accounts import set_account
from latchgate.storage.budgets import get_credit_budget, raise_limit

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

PLANS_MAX = 100
RATE_MAX = 10**12
#: Accounts that follow a plan's credit line are changed in one transaction.
FOLLOWERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a plan says; None is what the configuration says, amounts are nano-USD."""

    #: What an account gets that an operator makes with this plan.
    gift_nanos: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    calls_at_once: int | None = None
    has_premium: bool = True
    credit_line_nanos: int = 0

    def check(self) -> None:
        """Raise InvalidRequest for what is out of bounds."""
        for name in ("gift_nanos", "credit_line_nanos"):
            if not 0 <= (getattr(self, name) or 0) <= AMOUNT_NANOS_MAX:
                param = name.removesuffix("_nanos")
                raise InvalidRequest("Write an amount such as 5.00, or 0.", param=param)
        for name in rows.RATES:
            if not 0 <= (getattr(self, name) or 0) <= RATE_MAX:
                raise InvalidRequest("Write a whole number, or nothing.", param=name)
        if self.calls_at_once == 0:
            raise InvalidRequest("At least one call runs at once.", param="calls_at_once")


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan, and how many accounts have it."""

    id: str
    name: str
    terms: PlanTerms
    accounts: int = 0

    @property
    def is_default(self) -> bool:
        """Whether accounts have it by themselves."""
        return self.id == rows.DEFAULT_PLAN


class Plans:
    """Use cases over plans, one transaction each.

    ``on_changed`` is told the account and the budget after every change, so that the next call is
    bound by it; ``in_memory`` says which accounts anybody needs to be told of.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_changed: Callable[[str, str], Awaitable[None]],
        in_memory: Callable[[], Collection[str]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_changed = on_changed
        self._in_memory = in_memory

    async def list_plans(self) -> list[PlanView]:
        """Every plan, the default one first."""

        def transaction(conn: Connection) -> list[PlanView]:
            by_default = rows.count_default(conn)
            return [
                _view(row, by_default if row.id == rows.DEFAULT_PLAN else row.accounts)
                for row in rows.list_plans(conn)
            ]

        return await self._store.read(transaction)

    async def get(self, name: str) -> PlanView:
        """A plan by its name. Raises NotFound."""
        for plan in await self.list_plans():
            if plan.name == name:
                return plan
        raise _no_plan(name)

    async def get_of(self, account_id: str) -> PlanView:
        """The plan that an account has."""
        return _view(await self._store.read(rows.get_plan_of, account_id))

    async def create(self, name: str, terms: PlanTerms, caller: Caller) -> PlanView:
        """Make a plan, which no account has yet. Raises InvalidRequest or Conflict."""
        check_name(name)
        terms.check()
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> PlanView:
            if rows.find_plan(conn, name) is not None:
                raise Conflict(f"There is a plan {name} already.")
            if rows.count_plans(conn) >= PLANS_MAX:
                raise Conflict(f"There are {PLANS_MAX} plans at the most. Change one of them.")
            plan_id = new_id("pln", now_us)
            rows.insert_plan(conn, id=plan_id, name=name, created_us=now_us, **_columns(terms))
            self._record(conn, None, caller, "plan.create", name, asdict(terms))
            return _view(rows.get_plan(conn, plan_id))

        return await self._store.write(transaction)

    async def change(self, name: str, terms: PlanTerms, caller: Caller) -> PlanView:
        """Give a plan other terms, which bind the next call of every account that has it.

        Raises InvalidRequest, NotFound, or Conflict when too many accounts follow its credit line.
        """
        terms.check()

        def transaction(conn: Connection) -> dict[str, str]:
            before = _find(conn, name)
            if before.id == rows.DEFAULT_PLAN and terms.gift_nanos is not None:
                raise InvalidRequest(
                    "What a new account gets is the setting signup.gift.", param="gift"
                )
            having = rows.list_accounts(conn, before.id)
            told = {row.id: "" for row in having}
            if before.credit_line_nanos != terms.credit_line_nanos:
                following = [
                    row.id for row in having if row.credit_line_nanos == before.credit_line_nanos
                ]
                told |= _move_lines(conn, following, before.credit_line_nanos, terms)
            rows.set_plan(conn, before.id, **_columns(terms))
            self._record(conn, None, caller, "plan.set", name, asdict(terms))
            return told

        await self._tell(await self._store.write(transaction))
        return await self.get(name)

    async def assign(self, account_id: str, name: str, caller: Caller) -> PlanView:
        """Give an account a plan, which binds its next call. Raises NotFound.

        Its credit line becomes the plan's, unless it was given one of its own.
        """

        def transaction(conn: Connection) -> dict[str, str]:
            before, plan = rows.get_plan_of(conn, account_id), _find(conn, name)
            if before.id == plan.id:
                return {}
            having = {row.id: row for row in rows.list_accounts(conn, before.id)}
            told = {account_id: ""}
            if having[account_id].credit_line_nanos == before.credit_line_nanos:
                terms = _view(plan).terms
                told |= _move_lines(conn, [account_id], before.credit_line_nanos, terms)
            rows.assign(conn, account_id, plan.id)
            details = {"name": name, "before": before.name}
            self._record(conn, account_id, caller, "account.plan", name, details)
            return told

        await self._tell(await self._store.write(transaction))
        return await self.get(name)

    async def _tell(self, changed: dict[str, str]) -> None:
        """Say which accounts are bound by something else; a read under way must hear of it, too."""
        known = [account_id for account_id in self._in_memory() if account_id in changed]
        for account_id in known or list(changed)[:1]:
            await self._on_changed(account_id, changed[account_id])

    def _record(
        self,
        conn: Connection,
        account_id: str | None,
        caller: Caller,
        action: str,
        name: str,
        details: dict[str, object],
    ) -> None:
        record(
            conn,
            at_us=self._clock.now_us(),
            account_id=account_id,
            caller=caller,
            action=action,
            target=name,
            details=details,
        )


def plan_named(conn: Connection, name: str | None) -> PlanView:
    """A plan inside the caller's transaction; None is the default one. Raises NotFound."""
    if name is None:
        return _view(rows.get_plan(conn, rows.DEFAULT_PLAN))
    return _view(_find(conn, name))


def _move_lines(
    conn: Connection, account_ids: Iterable[str], before_nanos: int, terms: PlanTerms
) -> dict[str, str]:
    """Let accounts that had a credit line have the plan's; the budgets that changed."""
    moved: dict[str, str] = {}
    for account_id in account_ids:
        if len(moved) >= FOLLOWERS_MAX:
            raise Conflict(
                f"More than {FOLLOWERS_MAX:,} accounts have this plan's credit line. Make another "
                "plan, and assign it."
            )
        set_account(conn, account_id, credit_line_nanos=terms.credit_line_nanos)
        raise_limit(
            conn, account_id=account_id, amount_nanos=terms.credit_line_nanos - before_nanos
        )
        moved[account_id] = get_credit_budget(conn, account_id)
    return moved


def _find(conn: Connection, name: str) -> AnyRow:
    row = rows.find_plan(conn, name)
    if row is None:
        raise _no_plan(name)
    return row


def _no_plan(name: str) -> NotFound:
    return NotFound(f"There is no plan {name[:100]}.", param="plan")


def _columns(terms: PlanTerms) -> dict[str, object]:
    return {**asdict(terms), "has_premium": int(terms.has_premium)}


def _view(row: AnyRow, accounts: int = 0) -> PlanView:
    terms = PlanTerms(
        gift_nanos=row.gift_nanos,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        calls_at_once=row.calls_at_once,
        has_premium=bool(row.has_premium),
        credit_line_nanos=row.credit_line_nanos,
    )
    return PlanView(row.id, row.name, terms, accounts)
