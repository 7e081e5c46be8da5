"""Upstreams that are in use: how they are, a call that tries one, and another key for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.embedded import EMBEDDED_SCHEME
from latchgate.domain.errors import Conflict, InvalidRequest, NotFound
from latchgate.services.audit_log import record
from latchgate.services.condition import probe_row
from latchgate.storage.catalog import find_upstream, set_upstream

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.services.vault import Vault
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store
    from latchgate.upstream.pool import UpstreamState

CREDENTIAL_CHARS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """The gateway's side: how each upstream is that was called, and where running calls went."""

    states: Callable[[], Mapping[str, UpstreamState]] = dict
    sent: Callable[[], Iterable[str]] = tuple


@dataclass(frozen=True, slots=True)
class UpstreamNow:
    """What a serving process has seen of an upstream since its start, and has there just now."""

    is_broken: bool = False
    failures: int = 0
    running_calls: int = 0
    waiting_calls: int = 0


class Upstreams:
    """Use cases over upstreams; ``on_changed`` is told after every commit."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        vault: Vault,
        traffic: Traffic,
        on_changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._traffic = traffic
        self._on_changed = on_changed

    def now(self) -> dict[str, UpstreamNow]:
        """Each upstream that was called, by name."""
        sent = Counter(self._traffic.sent())
        return {
            name: UpstreamNow(
                state.is_broken,
                state.failures,
                max(0, sent[name] - state.waiting_calls),
                state.waiting_calls,
            )
            for name, state in self._traffic.states().items()
        }

    async def test(self, name: str) -> str:
        """What is wrong with an upstream and what to do; empty when it takes our key.

        Costs nothing: it asks for the list of models. Raises NotFound, or Conflict.
        """
        row = await self._store.read(_get, name)
        return await asyncio.to_thread(probe_row, row, self._vault.open)

    async def set_credential(self, name: str, api_key: str, *, caller: Caller) -> None:
        """Call an upstream with another key from now on. Raises what ``test`` raises."""
        if not 0 < len(api_key) <= CREDENTIAL_CHARS_MAX or not api_key.isprintable():
            raise InvalidRequest("Paste the key that the upstream takes.", param="api_key")
        sealed, now_us = self._vault.seal(api_key), self._clock.now_us()

        def transaction(conn: Connection) -> None:
            set_upstream(conn, _get(conn, name).id, credential_sealed=sealed)
            record(
                conn,
                at_us=now_us,
                account_id=None,
                caller=caller,
                action="upstream.credential",
                target=name,
            )

        await self._store.write(transaction)
        await self._on_changed()

    async def set_enabled(self, name: str, *, is_enabled: bool, caller: Caller) -> None:
        """Take an upstream's models off the list for a while, or put them back on it.

        Calls that run go on. Raises NotFound.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            row = _find(conn, name)
            if (row.disabled_us is None) == is_enabled:
                return
            set_upstream(conn, row.id, disabled_us=None if is_enabled else now_us)
            record(
                conn,
                at_us=now_us,
                account_id=None,
                caller=caller,
                action=f"upstream.{'enable' if is_enabled else 'disable'}",
                target=name,
            )

        await self._store.write(transaction)
        await self._on_changed()


def _get(conn: Connection, name: str) -> AnyRow:
    row = _find(conn, name)
    if row.base_url.startswith(EMBEDDED_SCHEME):
        raise Conflict("That one runs inside this server: it has no address and no key.")
    return row


def _find(conn: Connection, name: str) -> AnyRow:
    row = find_upstream(conn, name)
    if row is None:
        raise NotFound("There is no such upstream.", param="name")
    return row
