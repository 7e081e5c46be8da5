"""Who may call, and what is on offer: everything that admission looks up, in memory.

Models and prices are all here and renewed at every change. Keys are a bounded cache, found by the
full digest of the key; a miss is read from the database off the loop. Every change of a key or an
account is told to the directory before the person who made it hears that it is done, so revocation
is an event and not a cache time.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from latchgate.domain.key_terms import OPEN, KeyTerms
from latchgate.domain.secrets import KEY_CHARS, Digester, public_id_of
from latchgate.domain.windows import FOREVER_US, Period, Window, get_zone, window_at
from latchgate.gateway.expiries import Expiries
from latchgate.gateway.offers import ModelEntry, Upstream, model_entry
from latchgate.gateway.price_changes import PriceChanges
from latchgate.gateway.refused_keys import refusal
from latchgate.storage import api_keys as key_rows
from latchgate.storage import catalog as catalog_rows
from latchgate.storage.accounts import get_account
from latchgate.storage.budgets import KEY_LIMIT, list_budgets
from latchgate.storage.key_terms import terms_of
from latchgate.storage.prices import list_coming
from latchgate.upstream.target import Target

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.gateway.holds import Binding
    from latchgate.gateway.rates import Rates
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

KEYS_CACHED_MAX = 100_000
UNKNOWN_MAX = 10_000
#: How many calls from the console an account has running at most.
PLAYGROUND_CALLS_MAX = 4


class Cuttable(Protocol):
    """A running call that can be ended from outside."""

    @property
    def model(self) -> ModelEntry:
        """Whom it calls."""

    def cut(self) -> None:
        """End the call now and charge what it has used."""


@dataclass(frozen=True, slots=True)
class BudgetEntry:
    """A budget that binds an account's calls."""

    id: str
    kind: str
    period: Period
    limit_nanos: int


@dataclass(slots=True, eq=False)
class KeyEntry:
    """A usable key, the budgets that pay for it, and its calls that are running now."""

    id: str
    account_id: str
    state: str
    is_suspended: bool
    label: str
    #: It stands for the console's own calls: what is the key's alone does not bind them.
    is_playground: bool = False
    is_premium_on: bool = False
    #: Requests and tokens per minute; None is what the configuration says.
    rate_terms: tuple[int | None, int | None] = (None, None)
    calls_at_once: int | None = None
    budgets: tuple[BudgetEntry, ...] = ()
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    #: What the key may be used for. A change puts other terms here, so that whoever has checked
    #: these knows by their identity that they still hold.
    terms: KeyTerms = OPEN
    running: set[Cuttable] = field(default_factory=set)
    #: The key or its account is no longer what it was when this was read.
    has_ended: bool = False
    #: Its account's buckets, once a call has asked for them.
    rates: Rates | None = None
    #: The slices of the windows that bind it, once a call has held in them.
    binding: Binding | None = None
    _windows: tuple[Window, ...] = ()
    _windows_until_us: int = 0

    @property
    def windows_until_us(self) -> int:
        """When the first of ``windows_at`` ends."""
        return self._windows_until_us

    def windows_at(self, now_us: int) -> tuple[Window, ...]:
        """The windows that bind a call that is let in now."""
        if now_us >= self._windows_until_us:
            self._windows = tuple(
                window_at(budget.id, budget.period, self.zone, now_us) for budget in self.budgets
            )
            ends_us = (window.ends_us for window in self._windows)
            self._windows_until_us = min(ends_us, default=FOREVER_US)
        return self._windows

    def bind(self, budgets: tuple[BudgetEntry, ...], zone: ZoneInfo) -> None:
        """Let other budgets bind from now on."""
        self.budgets, self.zone, self._windows_until_us = budgets, zone, 0
        self.binding = None


class Directory:
    """Look-ups for admission. Used from one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        pepper: bytes,
        open_credential: Callable[[bytes], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._digest = Digester(pepper)
        self._open_credential = open_credential
        self._by_digest: OrderedDict[bytes, KeyEntry] = OrderedDict()
        self._digest_of: dict[str, bytes] = {}
        self.expiries = Expiries()
        self._changes = 0
        #: Digests of keys that were looked for in vain, until any key or account changes.
        self._unknown: set[bytes] = set()
        self._models: dict[str, ModelEntry] = {}
        self._price_changes = PriceChanges()
        #: Told when a key that has ended is used, before the call is refused.
        self.on_ended_key_used: Callable[[str], Awaitable[None]] | None = None
        #: Where the embedded models answer that are up, by their upstreams' names.
        self._embedded: dict[str, Target] = {}

    # ── models ──────────────────────────────────────────────────────────────────────────────────
    @property
    def models(self) -> dict[str, ModelEntry]:
        """Every model on offer by name, each with the price that is in force just now."""
        if (now_us := self._clock.now_us()) >= self._price_changes.next_us:
            self._models |= self._price_changes.take_due(now_us)
        return self._models

    async def load_models(self) -> None:
        """Read what is on offer, and what will cost; at start and after changes of the catalog."""

        def transaction(conn: Connection) -> tuple[list[AnyRow], list[AnyRow], list[AnyRow]]:
            at_us = self._clock.now_us()
            models, coming = (
                catalog_rows.list_models(conn, at_us=at_us),
                list_coming(conn, at_us=at_us),
            )
            return list(models), list(coming), list(catalog_rows.list_upstreams(conn))

        models, coming, rows = await self._store.read(transaction)
        upstreams = {
            row.id: Upstream.of(row, self._embedded, self._open_credential) for row in rows
        }
        self._models = {row.name: model_entry(row, upstreams[row.upstream_id]) for row in models}
        self._price_changes.expect(
            (row.effective_from_us, model_entry(row, upstreams[row.upstream_id])) for row in coming
        )

    async def set_embedded(self, target: Target) -> None:
        """An embedded model has come up, on this address."""
        self._embedded[target.name] = target
        await self.load_models()

    # ── keys ────────────────────────────────────────────────────────────────────────────────────
    def find_key(self, text: str) -> KeyEntry | None:
        """The entry of a key that may be used, if it is in memory; None: ask ``get_key``.

        Raises InvalidKey, the same for every reason, where that is known without a look-up: typos
        and junk fail the checksum, and of keys that do not exist the last ones are remembered.
        """
        if len(text) != KEY_CHARS:
            raise refusal(text)
        full_digest = self._digest(text)
        entry = self._by_digest.get(full_digest)
        if entry is not None and self.has_expired(entry):
            entry = None
        if entry is None and (full_digest in self._unknown or public_id_of(text) is None):
            raise refusal(text)
        return entry

    def has_expired(self, entry: KeyEntry) -> bool:
        """Whether a key's date of expiry has come: it ends now, if it had not yet."""
        if not entry.terms.has_expired(self._clock.now_us()):
            return False
        self._forget_if_known(entry.id)
        return True

    async def get_key(self, text: str) -> KeyEntry:
        """The entry of a key that may be used. Raises InvalidKey, the same for every reason."""
        entry = self.find_key(text)
        if entry is None:
            entry = await self._read_key(public_id_of(text) or "", self._digest(text))
        if entry is None:
            raise refusal(text)
        return entry

    async def _read_key(self, public_id: str, full_digest: bytes) -> KeyEntry | None:
        while True:
            changes = self._changes
            found = await self._store.read(_find_key, public_id)
            if changes == self._changes:
                break
            # A key or account changed while we read: what we read may be the past. Read again.
        row, budgets = found or (None, ())
        is_known = row is not None and hmac.compare_digest(row.secret_hash, full_digest)
        is_usable = row is not None and row.state in key_rows.USABLE
        has_expired = row is not None and terms_of(row).has_expired(self._clock.now_us())
        if row is None or not is_known or not is_usable or has_expired:
            if len(self._unknown) >= UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown.add(full_digest)
            if row is not None and is_known and self.on_ended_key_used is not None:
                await self.on_ended_key_used(row.id)
            return None
        entry = self._by_digest.get(full_digest)  # a parallel call may have been quicker
        return entry or self._remember(full_digest, row, budgets)

    async def get_playground(self, account_id: str) -> KeyEntry:
        """The entry under which an account's calls from the console run.

        It is kept among the keys, and told of every change as they are, under a name that is no
        key's digest: no secret finds it. Raises LookupError for an account that has none yet.
        """
        name = f"playground of {account_id}".encode()
        while (entry := self._by_digest.get(name)) is None:
            changes = self._changes
            row, budgets = await self._store.read(_get_playground, account_id)
            if changes == self._changes and name not in self._by_digest:
                return self._remember(name, row, budgets, is_playground=True)
        return entry

    def _remember(
        self,
        full_digest: bytes,
        row: AnyRow,
        budgets: tuple[BudgetEntry, ...],
        *,
        is_playground: bool = False,
    ) -> KeyEntry:
        entry = KeyEntry(
            id=row.id,
            account_id=row.account_id,
            state=row.state,
            is_suspended=row.account_state != "active",
            label=f"sk-lg-{row.public_id[:4]}…{row.last_four}",
            is_playground=is_playground,
            terms=terms_of(row),
        )
        _bind(entry, row, budgets)
        self.expiries.watch(entry.id, entry.terms.expires_us)
        if len(self._by_digest) >= KEYS_CACHED_MAX:
            self._evict_one()
        self._by_digest[full_digest] = entry
        self._digest_of[entry.id] = full_digest
        return entry

    def _evict_one(self) -> None:
        """Forget the longest-known key without running calls: those must stay within reach."""
        for full_digest, entry in self._by_digest.items():
            if not entry.running:
                entry.has_ended = True  # whoever still knows it has to ask again
                del self._by_digest[full_digest]
                del self._digest_of[entry.id]
                self.expiries.watch(entry.id, None)
                return

    @property
    def keys(self) -> Collection[KeyEntry]:
        """Every key that is in memory."""
        return self._by_digest.values()

    @property
    def running_calls(self) -> int:
        """How many calls run just now, over all keys."""
        return sum(len(entry.running) for entry in self._by_digest.values())

    # ── changes ─────────────────────────────────────────────────────────────────────────────────
    def _changed(self) -> None:
        """Some key or account is no longer what it was: what is being read may be the past."""
        self._changes += 1
        self._unknown.clear()

    def on_key_changed(self, key_id: str, is_usable: bool) -> None:  # noqa: FBT001 - a hook
        """A key's state has changed in the database.

        One that has become live goes on, with its running calls; one that has ended is forgotten,
        and its running calls are cut.
        """
        self._changed()
        if not is_usable:
            self._forget_if_known(key_id)
        elif key_id in self._digest_of:
            self._by_digest[self._digest_of[key_id]].state = key_rows.LIVE

    async def on_terms_changed(self, key_id: str) -> None:
        """A key's terms have changed in the database: they bind its next call.

        What runs already goes on, until the key ends.
        """
        self._changed()
        while True:
            changes = self._changes
            row = await self._store.read(key_rows.find_key, key_id)
            if changes == self._changes:
                break
        full_digest = self._digest_of.get(key_id)
        if row is not None and full_digest is not None:
            entry = self._by_digest[full_digest]
            entry.terms = terms_of(row)
            self.expiries.watch(key_id, entry.terms.expires_us)

    def end_expired(self) -> None:
        """Forget the keys whose date of expiry has come, and cut their running calls."""
        for key_id in self.expiries.take_due(self._clock.now_us()):
            self._forget_if_known(key_id)

    def _forget_if_known(self, key_id: str) -> None:
        full_digest = self._digest_of.get(key_id)
        if full_digest is not None:
            self._forget(key_id, full_digest)

    def _forget(self, key_id: str, full_digest: bytes) -> None:
        del self._digest_of[key_id]
        self.expiries.watch(key_id, None)
        entry = self._by_digest.pop(full_digest)
        entry.has_ended = True
        for call in list(entry.running):
            call.cut()

    def on_account_changed(self, account_id: str) -> None:
        """An account was suspended or resumed: forget its keys, and cut what they run."""
        self._changed()
        owned = [entry.id for entry in self._by_digest.values() if entry.account_id == account_id]
        for key_id in owned:
            self._forget(key_id, self._digest_of[key_id])

    async def on_limits_changed(self, account_id: str) -> None:
        """An account's budgets, switches, zone or rates have changed: they bind the next call."""
        self._changed()

        def transaction(conn: Connection) -> tuple[AnyRow, tuple[BudgetEntry, ...]]:
            return get_account(conn, account_id), _budgets(conn, account_id)

        account, budgets = await self._store.read(transaction)
        for entry in self._by_digest.values():
            if entry.account_id == account_id:
                _bind(entry, account, budgets)


#: A key's row with its account's state, and its account's budgets.
_Found = tuple["AnyRow", tuple[BudgetEntry, ...]]


def _find_key(conn: Connection, public_id: str) -> _Found | None:
    row = key_rows.find_by_public_id(conn, public_id)
    return None if row is None else (row, _budgets(conn, row.account_id))


def _get_playground(conn: Connection, account_id: str) -> _Found:
    if (row := key_rows.find_playground(conn, account_id)) is None:
        raise LookupError(f"{account_id} has no playground")
    return row, _budgets(conn, account_id)


def _bind(entry: KeyEntry, row: AnyRow, budgets: tuple[BudgetEntry, ...]) -> None:
    """Let a row that has an account's columns, and these budgets, bind an entry's next call."""
    is_premium_on, calls_at_once = row.is_premium_on, row.calls_at_once
    if entry.is_playground:
        budgets = tuple(budget for budget in budgets if budget.kind != KEY_LIMIT)
        calls_at_once = min(calls_at_once or PLAYGROUND_CALLS_MAX, PLAYGROUND_CALLS_MAX)
    else:  # the account's switch and its key's
        is_premium_on = is_premium_on and row.is_key_premium_on
    entry.bind(budgets, get_zone(row.time_zone))
    entry.is_premium_on = bool(is_premium_on)
    entry.rate_terms = (row.requests_per_minute, row.tokens_per_minute)
    entry.calls_at_once, entry.rates = calls_at_once, None


def _budgets(conn: Connection, account_id: str) -> tuple[BudgetEntry, ...]:
    return tuple(
        BudgetEntry(row.id, row.kind, row.period, row.limit_nanos)
        for row in list_budgets(conn, account_id)
    )
