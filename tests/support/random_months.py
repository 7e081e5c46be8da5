"""Two months of an account, made up at random: calls and credit, and what a test knows of them.

The events are known with the price that each was charged at. They lie in the last whole month of
the account's time zone, and in the part of this one that has gone by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from hypothesis import strategies as st
from sqlalchemy import Connection

from latchgate.domain.usage import Usage
from tests.support.gateway import CALLER
from tests.support.management import Management
from tests.support.months import Call, back_date, charge, give, price_of
from tests.support.totals import Sums

GIFT_NANOS = 5 * 10**9
#: A moment is so many thousandths into its month, or into what has gone by of it.
WHEN = st.integers(0, 999)
CALLS = st.builds(
    lambda model, cached, rest, out, tier, app, key: (
        Call(model, Usage(cached + rest, cached, out), tier, app),
        key,
    ),
    st.sampled_from(["m", "other"]),
    st.integers(0, 1000),
    st.integers(0, 100_000),
    st.integers(0, 50_000),
    st.sampled_from(["default", "default", "priority"]),
    st.sampled_from(["Letter desk", "=SUM(A1)", "<b>&amp;</b>", "test"]),
    st.integers(0, 1),
)
BATCHES = st.lists(st.tuples(WHEN, st.lists(CALLS, min_size=1, max_size=5)), max_size=6)
CREDIT = st.lists(
    st.tuples(WHEN, st.sampled_from(["top_up", "refund"]), st.integers(1, 10**12)), max_size=3
)
ZONES = ("UTC", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu")

Keeps = Callable[["Event"], bool]


@dataclass(frozen=True)
class Event:
    """A call that was charged, as the test knows it."""

    at_us: int
    call: Call
    key_id: str
    nanos: int

    @property
    def names(self) -> dict[str, str]:
        """By what an event can be told from others."""
        return {"app": self.call.app, "model": self.call.model, "key": self.key_id}


@dataclass
class Account:
    """Somebody's account, his browser, and all that happened."""

    browser: httpx.AsyncClient
    id: str
    keys: list[str]
    zone: ZoneInfo
    events: list[Event]
    credit_nanos: int
    #: Where the last month begins, where it ends, and now.
    last_us: int
    this_us: int
    now_us: int

    def sums(self, *keep: Keeps) -> Sums:
        """What the events come to of which each of ``keep`` says so."""
        kept = [event for event in self.events if all(keeps(event) for keeps in keep)]
        usages = [event.call.usage for event in kept]
        return (
            len(kept),
            sum(usage.input_tokens for usage in usages),
            sum(usage.cached_tokens for usage in usages),
            sum(usage.output_tokens for usage in usages),
            sum(event.nanos for event in kept),
        )

    def is_last(self, event: Event) -> bool:
        """Whether an event is of the last month."""
        return event.at_us < self.this_us

    def is_this(self, event: Event) -> bool:
        """Whether an event is of this month."""
        return event.at_us >= self.this_us

    def on(self, *days: str) -> Keeps:
        """Events of some days by the account's calendar."""
        return lambda event: self.day(event.at_us) in days

    def day(self, at_us: int) -> str:
        """A moment's day by the account's calendar."""
        return datetime.fromtimestamp(at_us // 10**6, UTC).astimezone(self.zone).date().isoformat()


def of(split: str, name: str) -> Keeps:
    """Events of one app, model or key."""
    return lambda event: event.names[split] == name


async def new_account(console: Management, number: int, zone: str) -> Account:
    """An account that was made when the last month began, with two keys."""
    services, clock = console.world.services, console.world.clock
    browser = await console.signed_up(f"u{number}@example.com", f"10.0.{number}.1")
    account_id = (await browser.get("/api/session")).json()["account_id"]
    bodies: tuple[dict[str, Any], ...] = ({"name": "Old"}, {"replace": True, "at_once": True})
    keys = [(await browser.post("/api/keys", json=body)).json()["id"] for body in bodies]
    await services.limits.set_time_zone(account_id, zone, CALLER)
    now_us = clock.now_us()
    today = datetime.fromtimestamp(now_us / 1e6, ZoneInfo(zone))
    first = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = first.replace(year=first.year - (first.month == 1), month=(first.month - 2) % 12 + 1)
    last_us, this_us = (int(moment.timestamp()) * 10**6 for moment in (before, first))
    await console.world.store.write(back_date, account_id, last_us)
    return Account(
        browser, account_id, keys, ZoneInfo(zone), [], GIFT_NANOS, last_us, this_us, now_us
    )


async def live(
    console: Management, account: Account, batches: tuple[list[Any], list[Any]], credit: list[Any]
) -> None:
    """Post all of it, in the order of time, and note what it comes to."""
    store = console.world.store
    spans = ((account.last_us, account.this_us), (account.this_us, account.now_us))
    posted: list[tuple[int, list[Call]]] = []
    for (begins_us, ends_us), of_month in zip(spans, batches, strict=True):
        for part, calls in sorted(of_month, key=lambda batch: batch[0]):
            at_us = begins_us + (ends_us - begins_us) * part // 1000
            posted.append((at_us, [_with_key(call, account.keys[key]) for call, key in calls]))

    def prices(conn: Connection) -> None:
        for at_us, calls in posted:
            for call in calls:
                nanos = price_of(conn, call).charge_nanos(call.usage)
                account.events.append(Event(at_us, call, str(call.api_key_id), nanos))

    await store.read(prices)
    await charge(store, account.id, account.keys[0], posted)
    for part, kind, amount in credit:
        at_us = account.last_us + (account.now_us - account.last_us) * part // 1000
        await store.write(give, account.id, at_us, kind, amount, "a note")
        account.credit_nanos += amount


def _with_key(call: Call, key_id: str) -> Call:
    return Call(call.model, call.usage, call.service_tier, call.app, key_id)
