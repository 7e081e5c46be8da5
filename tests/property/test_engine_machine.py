"""Guards the money engine as a whole: whatever happens in whatever order, the figures hold.

Hypothesis plays an account's life over the real store, purse, journal and drain: credit, limits,
calls, prices, keys, crashes, midnights. Beside it stands a model of a few lines, which is what must
be true. ``LATCHGATE_TEST_LIVES`` is how many lives are played; more finds more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from latchgate.domain.windows import Window
from latchgate.gateway.purse import Hold, Shortage
from tests.property.engine_house import Databases, House, sqlite
from tests.support.fibers import settled
from tests.support.gateway import ACCOUNT, CALLER

T = TypeVar("T")
#: How many lives are played on SQLite; on PostgreSQL, which is slower, a third of them.
EXAMPLES = int(os.environ.get("LATCHGATE_TEST_LIVES", "40"))
CENT = 10_000_000
CREDIT = ("credit", "none")
LIMITS = [
    *(("account_limit", period) for period in ("day", "week", "month")),
    *(("key_limit", period) for period in ("none", "day")),
]
AMOUNTS = st.integers(1, 40).map(lambda cents: cents * CENT) | st.integers(1, 999)
LARGE = st.integers(0, 80).map(lambda cents: cents * CENT)
#: Which of the running calls, or which part of a hold.
NUMBERS = st.integers(0, 100)
SUMS = """SELECT (SELECT coalesce(sum(charge_nanos), 0) FROM usage_events),
    (SELECT coalesce(-sum(amount_nanos), 0) FROM postings WHERE kind = 'usage'),
    (SELECT coalesce(sum(amount_nanos), 0) FROM postings WHERE kind <> 'usage'
        AND account_id IS NOT NULL),
    (SELECT balance_nanos FROM ledger_accounts WHERE account_id IS NOT NULL)"""
EVENTS = "SELECT request_id, charge_nanos FROM usage_events WHERE outcome <> 'interrupted'"
BEYOND = "SELECT * FROM budget_windows WHERE spent_nanos + leased_nanos > ceiling_nanos"
LEASES = "SELECT budget_id, starts_us, leased_nanos FROM leases"


@dataclass
class Charge:
    """What an ended call costs, and who knows of it."""

    started_us: int
    nanos: int
    windows: frozenset[Window]
    is_answered: bool = False
    is_posted: bool = False

    def counts_in(self, window: Window) -> bool:
        """What has ended counts once it is posted; in what its call holds, from the start."""
        return window.holds(self.started_us) and (self.is_posted or window in self.windows)


@dataclass
class Running:
    """A call that holds money."""

    hold: Hold
    windows: frozenset[Window]
    started_us: int


class EngineMachine(RuleBasedStateMachine):
    """One account's life, on a database of this kind."""

    def __init__(self, databases: Databases) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.house = House(Path(self.folder.name), databases)
        self.limits: dict[tuple[str, str], int] = {CREDIT: 0}
        self.line = self.given = 0
        self.running: list[Running] = []
        self.charges: dict[str, Charge] = {}
        self.run(self.house.start())
        self.add_credit(100 * CENT)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let the loop run until this is done, and until no lease is on its way."""
        result = self.loop.run_until_complete(coroutine)
        self.loop.run_until_complete(self.house.quiet())
        return result

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.clean_up()

    def finish(self) -> None:
        """End every call and the engine: nothing may be left on lease, nothing disagree."""
        self.run(self._end_all())
        self.run(self.house.stop())
        assert self.run(self.house.findings()) == ()
        assert self.run(self.house.rows(LEASES)) == []

    def clean_up(self) -> None:
        """Close the files, whatever happened."""
        self.run(self.house.journal.close())
        self.house.close()
        self.loop.close()
        self.folder.cleanup()

    # ── the model ───────────────────────────────────────────────────────────────────────────────
    def spent(self, window: Window) -> int:
        return sum(charge.nanos for charge in self.charges.values() if charge.counts_in(window))

    def held(self, window: Window) -> int:
        return sum(call.hold.amount_nanos for call in self.running if window in call.windows)

    def binding(self) -> dict[Window, int]:
        """The windows that bind a call now, and what is left in each."""
        windows = self.run(self.house.windows())
        assert windows.keys() == self.limits.keys()
        return {
            window: self.limits[name] - self.spent(window) - self.held(window)
            for name, window in windows.items()
        }

    def note_posted(self) -> None:
        """Learn from the database what is posted by now: what was answered must be."""
        events = dict(self.run(self.house.rows(EVENTS)))  # type: ignore[arg-type, var-annotated]
        for request_id, charge in self.charges.items():
            charge.is_posted = request_id in events
            assert charge.is_posted or not charge.is_answered
            assert events.get(request_id, charge.nanos) == charge.nanos

    # ── money and limits ────────────────────────────────────────────────────────────────────────
    @rule(amount=LARGE)
    def add_credit(self, amount: int) -> None:
        self.run(self.house.billing.add_credit(ACCOUNT, amount + 1, caller=CALLER))
        self.given += amount + 1
        self.limits[CREDIT] += amount + 1

    @rule(amount=LARGE)
    def set_credit_line(self, amount: int) -> None:
        self.run(self.house.limits.set_credit_line(ACCOUNT, amount, CALLER))
        self.limits[CREDIT] += amount - self.line
        self.line = amount

    @rule(name=st.sampled_from(LIMITS), amount=LARGE | st.none())
    def set_limit(self, name: tuple[str, str], amount: int | None) -> None:
        self.run(self.house.limits.set_limit(ACCOUNT, *name, amount, CALLER))
        self.note_posted()
        self.limits.pop(name, None)
        if amount is not None:
            self.limits[name] = amount

    @rule(token_nanos=st.integers(1, 7))
    def set_price(self, token_nanos: int) -> None:
        self.run(self.house.set_price(token_nanos))

    @rule(at_once=st.booleans())
    def replace_key(self, at_once: bool) -> None:  # noqa: FBT001 - drawn
        """What binds belongs to the account: a fresh key changes none of the model's figures."""
        self.run(self.house.replace_key(at_once=at_once))

    @rule(name=st.sampled_from(["UTC", "Asia/Tokyo", "America/Los_Angeles"]))
    def move_house(self, name: str) -> None:
        self.run(self.house.limits.set_time_zone(ACCOUNT, name, CALLER))

    @rule(hours=st.sampled_from([1, 2, 9, 24, 7 * 24, 31 * 24]))
    def let_time_pass(self, hours: int) -> None:
        self.house.clock.move_hours(hours)

    # ── calls ───────────────────────────────────────────────────────────────────────────────────
    def _let_in(self, hold: Hold, windows: dict[Window, int]) -> None:
        started_us = self.house.open(hold)
        self.running.append(Running(hold, frozenset(windows), started_us))

    @rule(wanted=AMOUNTS, part=st.sampled_from([1, 2, 7, 1000]))
    def hold(self, wanted: int, part: int) -> None:
        least = max(1, wanted // part)
        windows = self.binding()
        left = min(windows.values())
        got = self.run(self.house.purse.hold(tuple(windows), wanted=wanted, least=least))
        if isinstance(got, Shortage):
            assert left < least, "money was left, and a call was refused"
            assert got.left_nanos == max(0, windows[got.window])
        else:
            assert got.amount_nanos <= left, "a limit was overshot"
            assert got.amount_nanos == min(wanted, left)
            self._let_in(got, windows)

    @rule(amount=AMOUNTS)
    def release(self, amount: int) -> None:
        """A call is let in and given up before it begins: nobody ever hears of it."""
        windows = self.binding()
        got = self.run(self.house.purse.hold(tuple(windows), wanted=amount, least=amount))
        assert isinstance(got, Hold) is (min(windows.values()) >= amount)
        if isinstance(got, Hold):
            got.release()

    @rule(amount=AMOUNTS, calls=st.integers(2, 6))
    def rush(self, amount: int, calls: int) -> None:
        """Calls from all sides, while charges are posted and leases go back."""
        windows = self.binding()

        async def all_at_once() -> list[Hold | Shortage]:
            purse = self.house.purse
            asking = [purse.hold(tuple(windows), wanted=amount, least=amount) for _ in range(calls)]
            *got, _, _ = await asyncio.gather(
                *asking, self.house.drain.flush(), purse.return_idle()
            )
            return got

        holds = [got for got in self.run(all_at_once()) if isinstance(got, Hold)]
        left = min(windows.values())
        assert len(holds) == max(0, min(calls, left // amount)), f"{left} were left"
        for hold in holds:
            self._let_in(hold, windows)
        self.note_posted()

    @precondition(lambda self: self.running)
    @rule(number=NUMBERS, amount=AMOUNTS, may_wait=st.booleans())
    def extend(self, number: int, amount: int, may_wait: bool) -> None:  # noqa: FBT001 - drawn
        call = self.running[number % len(self.running)]
        binding = self.binding()
        left = min((binding[window] for window in call.windows & set(binding)), default=amount)

        async def ask() -> bool:
            purse = self.house.purse
            if may_wait:
                return await purse.extend_slowly(call.hold, amount)
            return purse.extend(call.hold, amount)

        is_more = self.run(ask())
        assert not is_more or left >= amount, "a running call overshot a limit"

    @precondition(lambda self: self.running)
    @rule(
        number=NUMBERS, percent=NUMBERS, over=st.sampled_from([0, 0, 5]), is_answered=st.booleans()
    )
    def settle(self, number: int, percent: int, over: int, is_answered: bool) -> None:  # noqa: FBT001
        call = self.running.pop(number % len(self.running))
        charge = call.hold.amount_nanos * percent // 100
        cost = call.hold.amount_nanos + over if over else charge
        self.run(self._close(call, cost, is_answered=is_answered))

    @precondition(lambda self: self.running)
    @rule(number=NUMBERS)
    def expire(self, number: int) -> None:
        """A call's upstream is silent for too long: it ends, is noted, and costs nothing."""
        call = self.running.pop(number % len(self.running))
        self.run(self._close(call, 0, is_answered=True, outcome="failed"))

    async def _close(
        self, call: Running, cost: int, *, is_answered: bool, outcome: str = "answered"
    ) -> None:
        closed = self.house.close_call(call.hold, cost, outcome)
        assert closed.charge_nanos <= call.hold.amount_nanos
        charge = Charge(call.started_us, closed.charge_nanos, call.windows)
        self.charges[closed.request_id] = charge
        if is_answered:
            await settled(self.house.journal.safe(closed.offset))
            charge.is_answered = True

    async def _end_all(self) -> None:
        while self.running:
            await self._close(self.running.pop(), 1, is_answered=False)

    # ── housekeeping, and the end ───────────────────────────────────────────────────────────────
    @rule()
    def flush(self) -> None:
        self.run(self.house.drain.flush())
        self.note_posted()
        assert self.run(self.house.findings()) == ()

    @rule()
    def return_idle(self) -> None:
        self.run(self.house.purse.return_idle())

    @rule(is_crash=st.booleans())
    def restart(self, is_crash: bool) -> None:  # noqa: FBT001 - drawn
        if is_crash:
            self.running.clear()
            self.run(self.house.die())
            self.run(self.house.start())
        else:
            self.run(self._end_all())
            self.run(self.house.stop())
            self.run(self.house.start())
        self.note_posted()
        self.charges = {name: charge for name, charge in self.charges.items() if charge.is_posted}
        assert self.run(self.house.rows(LEASES)) == []
        assert self.run(self.house.findings()) == ()

    # ── what always holds ───────────────────────────────────────────────────────────────────────
    @invariant()
    def memory_has_what_the_database_leased(self) -> None:
        slices = self.house.purse._slices
        in_memory = {
            (window.budget_id, window.starts_us): piece.leased_nanos
            for window, piece in slices.items()
            if piece.leased_nanos
        }
        rows = self.run(self.house.rows(LEASES))
        assert {row[:2]: row[2] for row in rows if row[2]} == in_memory
        for window, piece in slices.items():
            assert piece.leased_nanos >= piece.held_nanos + piece.charged_nanos
            assert piece.held_nanos == self.held(window)
            waiting = (c for c in self.charges.values() if window in c.windows and not c.is_posted)
            assert piece.charged_nanos == sum(charge.nanos for charge in waiting)

    @invariant()
    def no_window_is_beyond_its_ceiling(self) -> None:
        assert self.run(self.house.rows(BEYOND)) == []

    @invariant()
    def events_postings_and_balances_are_the_same_sums(self) -> None:
        ((events, charged, credit, balance),) = self.run(self.house.rows(SUMS))
        posted = sum(charge.nanos for charge in self.charges.values() if charge.is_posted)
        assert (events, charged, credit) == (posted, posted, self.given)
        assert balance == self.given - posted


def test_whatever_happens_in_whatever_order_the_figures_hold(databases: Databases) -> None:
    run_state_machine_as_test(
        lambda: EngineMachine(databases),
        settings=settings(
            max_examples=EXAMPLES if databases is sqlite else EXAMPLES // 3,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
