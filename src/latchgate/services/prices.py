"""What models cost, in versions: one is in force, others may wait for their moment.

A version is never edited. A new one comes into force at once, or at a moment that is announced; the
gateway knows it before, and charges each call by what was in force when it let it in. One that
waits can be withdrawn until shortly before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US, SECOND_US
from latchgate.domain.errors import Conflict, InvalidRequest, NotFound
from latchgate.domain.people import CLI, Caller
from latchgate.domain.prices import (
    PRIORITY_PERCENT_MAX,
    PRIORITY_PERCENT_MIN,
    PRIORITY_PERCENT_USUAL,
)
from latchgate.services.audit_log import record
from latchgate.services.catalog import ModelTerms, ModelView, get_model, model_view
from latchgate.services.catalog_rules import check_kind, check_priority_percent
from latchgate.storage import prices as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: Between a change and a moment that it is about, so that the gateway hears of it in time.
NOTICE_US = 10 * SECOND_US
AHEAD_DAYS_MAX = 1096
WAITING_MAX = 12


@dataclass(frozen=True, slots=True)
class ComingPrice:
    """A version that waits: the model as it will be, and from when on."""

    model: ModelView
    from_us: int


class Prices:
    """Use cases over versions of prices. ``on_changed`` is told after every commit.

    ``priority_percent`` is what a priority price is of the usual one, unless the operator says
    otherwise for a model.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_changed: Callable[[], Awaitable[None]],
        *,
        priority_percent: int = PRIORITY_PERCENT_USUAL,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_changed = on_changed
        self._priority_percent = priority_percent

    async def set_price(
        self,
        name: str,
        *,
        terms: ModelTerms,
        priority_percent: int | None = None,
        from_us: int | None = None,
        caller: Caller = CLI,
    ) -> ModelView:
        """Give a model a new price version, for every call that is let in from ``from_us`` on.

        None is now. Answers the model as it is now. Raises InvalidRequest, NotFound, or Conflict
        when another version waits for the same moment.
        """
        percent = self._priority_percent if priority_percent is None else priority_percent
        check_priority_percent(percent)
        now_us = self._clock.now_us()
        if from_us is not None:
            _check_moment(from_us, now_us)

        def transaction(conn: Connection) -> ModelView:
            insert_price(
                conn, name, terms, priority_percent=percent, from_us=from_us, now_us=now_us
            )
            details = terms.details(percent) | ({} if from_us is None else {"from_us": from_us})
            self._record(conn, caller, "model.price", name, details)
            return model_view(get_model(conn, name, now_us))

        view = await self._store.write(transaction)
        await self._on_changed()
        return view

    async def take_over(
        self, terms: Mapping[str, ModelTerms], *, source: str, caller: Caller = CLI
    ) -> None:
        """Give several models a new version from now on, all or none; ``source`` has the prices.

        A priority call goes on to cost what it did in proportion. Raises as ``set_price``.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            for name, own in terms.items():
                percent = model_view(get_model(conn, name, now_us)).priority_percent
                if not PRIORITY_PERCENT_MIN <= percent <= PRIORITY_PERCENT_MAX:
                    percent = self._priority_percent  # both were free
                insert_price(conn, name, own, priority_percent=percent, from_us=None, now_us=now_us)
                details = own.details(percent) | {"source": source}
                self._record(conn, caller, "model.price", name, details)

        await self._store.write(transaction)
        await self._on_changed()

    async def list_coming(
        self, name: str | None = None, *, with_disabled: bool = False
    ) -> list[ComingPrice]:
        """What waits, of one model or of all, in the order of its moments.

        ``with_disabled`` also of those whose upstream is disabled, for operators.
        """
        found = await self._store.read(
            rows.list_coming, at_us=self._clock.now_us(), with_disabled=with_disabled
        )
        return [_coming(row) for row in found if name in {None, row.name}]

    async def withdraw(self, name: str, version: int, *, caller: Caller = CLI) -> None:
        """Let a version that waits never come into force.

        Raises NotFound, or Conflict when its moment is too near.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            coming = _coming_of(conn, name, now_us)
            row = next((row for row in coming if row.price_version == version), None)
            if row is None:
                raise NotFound(f"No version {version} of {name}'s price waits.", param="version")
            if row.effective_from_us < now_us + NOTICE_US:
                raise Conflict("It comes into force just now. Set another price instead.")
            rows.withdraw(conn, row.id, version, now_us=now_us)
            self._record(conn, caller, "model.price_withdraw", name, {"version": version})

        await self._store.write(transaction)
        await self._on_changed()

    def _record(
        self, conn: Connection, caller: Caller, action: str, target: str, details: dict[str, object]
    ) -> None:
        record(
            conn,
            at_us=self._clock.now_us(),
            account_id=None,
            caller=caller,
            action=action,
            target=target,
            details=details,
        )


def insert_price(
    conn: Connection,
    name: str,
    terms: ModelTerms,
    *,
    priority_percent: int,
    from_us: int | None,
    now_us: int,
) -> None:
    """Write a model's next version, inside the caller's transaction."""
    model = get_model(conn, name, now_us)
    check_kind(model.kind, terms.output_picos)
    coming = _coming_of(conn, name, now_us)
    if from_us is not None and from_us in {row.effective_from_us for row in coming}:
        raise Conflict("Another price waits for the same moment. Withdraw it first.")
    if from_us is not None and len(coming) >= WAITING_MAX:
        raise Conflict(f"{WAITING_MAX} prices of a model wait at the most. Withdraw one first.")
    rows.insert_version(
        conn,
        model.id,
        version=rows.next_version(conn, model.id),
        usual=asdict(terms),
        priority=asdict(terms.share(priority_percent)),
        effective_from_us=now_us if from_us is None else from_us,
        now_us=now_us,
    )


def _check_moment(from_us: int, now_us: int) -> None:
    if not now_us + NOTICE_US <= from_us <= now_us + AHEAD_DAYS_MAX * DAY_US:
        raise InvalidRequest(
            f"A price comes into force at least {NOTICE_US // SECOND_US} seconds from now, and at "
            "most three years. Leave the moment out for a price from now on.",
            param="effective_from",
        )


def _coming_of(conn: Connection, name: str, now_us: int) -> list[AnyRow]:
    return [
        row for row in rows.list_coming(conn, at_us=now_us, with_disabled=True) if row.name == name
    ]


def _coming(row: AnyRow) -> ComingPrice:
    return ComingPrice(model_view(row), row.effective_from_us)
