"""Mails about a key: a new app or a new address uses it, and another key took its place.

What uses keys is seen when charges have been posted, never on a call's path. The first use of an
app, or of an address, is a row; what is known is also kept in memory, so that a busy account costs
nothing. One mail tells of all that is new, and after three in a day the rest waits for the next.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from latchgate.clock import DAY_US
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.people import Caller
from latchgate.services.audit_log import record
from latchgate.services.key_states import KeyView, view_of
from latchgate.services.mail import Letter
from latchgate.storage import key_sightings as rows
from latchgate.storage.accounts import find_owner
from latchgate.storage.api_keys import get_key, playground_ids
from latchgate.storage.audit_events import count_events

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.services.mail import Mail
    from latchgate.services.notices import Notices
    from latchgate.storage.journal_file import CloseRecord
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

log = structlog.get_logger()

#: What can be switched off, and what each is about.
SWITCHES = {"new_app": rows.APP, "new_address": rows.ADDRESS}
#: What the audit log says when a mail tells of uses; these are counted.
TOLD = "key.new_use"
MAILS_PER_DAY_MAX = 3
NAMED_MAX = 10
#: Of each kind, for each account; the longest known ones are forgotten first.
SIGHTINGS_KEPT_MAX = 200
KNOWN_MAX = 20_000
WAITING_MAX = 10_000
_IPV6_PLACE_BITS = 64

#: Account, key, app, address.
_Use = tuple[str, str, str, str]


class KeyNotices:
    """Sees who uses keys, and tells their owners."""

    def __init__(
        self, store: Store, clock: Clock, mail: Mail, notices: Notices, base_url: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._mail = mail
        self._notices = notices
        self._base_url = base_url
        self._known: set[_Use] = set()
        self._waiting: set[_Use] = set()
        self._task: asyncio.Task[None] | None = None

    # ── uses ────────────────────────────────────────────────────────────────────────────────────
    def note(self, calls: Iterable[CloseRecord]) -> None:
        """Look at calls that were posted; what is new among them is told in the background."""
        uses = {(call.account_id, call.api_key_id, call.app, call.ip) for call in calls}
        fresh = uses - self._known
        if not fresh or len(self._waiting) > WAITING_MAX:
            return
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        self._known |= fresh
        self._waiting |= fresh
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="key notices")

    async def flush(self) -> None:
        """Wait until everything that was noted is told."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._waiting:
            account_id = next(iter(self._waiting))[0]
            uses = {use for use in self._waiting if use[0] == account_id}
            self._waiting -= uses
            try:
                letter = await self._store.write(self._see, account_id, uses)
            except SQLAlchemyError as error:
                self._known -= uses  # its next use is seen
                log.warning("key_notices.not_seen", account=account_id, error=str(error))
                continue
            if letter is not None:
                self._mail.post(letter)

    def _see(self, conn: Connection, account_id: str, uses: set[_Use]) -> Letter | None:
        now_us = self._clock.now_us()
        inside = playground_ids(conn, [account_id])  # the console's own calls are no news
        muted = {SWITCHES[what] for what in rows.list_muted(conn, account_id)}
        is_new = False
        for _, key_id, app, ip in sorted(use for use in uses if use[1] not in inside):
            for kind, value in ((rows.APP, app), (rows.ADDRESS, place_of(ip))):
                is_new |= bool(value) and rows.insert_sighting(
                    conn,
                    account_id=account_id,
                    kind=kind,
                    value=value,
                    api_key_id=key_id,
                    first_us=now_us,
                    told_us=0 if kind in muted else None,
                )
        if not is_new:
            return None
        for kind in SWITCHES.values():
            rows.keep_newest(conn, account_id, kind, most=SIGHTINGS_KEPT_MAX)
        untold = rows.list_untold(conn, account_id)
        sent = count_events(conn, account_id, TOLD, since_us=now_us - DAY_US)
        owner = find_owner(conn, account_id)
        if not untold or owner is None or sent >= MAILS_PER_DAY_MAX:
            return None
        rows.set_told(conn, account_id, at_us=now_us)
        key = view_of(get_key(conn, untold[-1].api_key_id), now_us)
        record(
            conn,
            at_us=now_us,
            account_id=account_id,
            caller=Caller(actor=key.id),
            action=TOLD,
            target=key.id,
            details={"name": key.name},
        )
        return self._letter(owner.email, key, untold)

    def _letter(self, to: str, key: KeyView, untold: Iterable[AnyRow]) -> Letter:
        apps = [plain(row.value) for row in untold if row.kind == rows.APP]
        places = [row.value for row in untold if row.kind == rows.ADDRESS]
        what = " and ".join(
            words for words, found in (("a new app", apps), ("a new address", places)) if found
        )
        lines = [f"App, as it says of itself: {name}" for name in apps[:NAMED_MAX]]
        lines += [f"Network address: {place}" for place in places[:NAMED_MAX]]
        more = len(apps[NAMED_MAX:]) + len(places[NAMED_MAX:])
        lines += [f"And {more} more."] if more else []
        facts = "\n".join(lines)
        return Letter(
            to,
            "Your API key has a new user",
            f"Your API key {plain(key.name)} ({key.masked}) was used by {what}:\n\n{facts}\n\n"
            f"{self._notices.facts(Caller(actor=key.id))}\n\n"
            "If it was you, there is nothing to do. If not, revoke the key and create a fresh\n"
            f"one: {self._base_url}/api-keys/{key.id}\n\n"
            f"These mails can be switched off: {self._base_url}/security\n",
        )

    # ── a replacement ───────────────────────────────────────────────────────────────────────────
    async def tell_replaced(self, account_id: str, key_id: str, caller: Caller) -> None:
        """Tell the owner that a key has taken the place of the one before; this is always told."""

        def transaction(conn: Connection) -> tuple[str, str] | None:
            owner = find_owner(conn, account_id)
            key = view_of(get_key(conn, key_id), self._clock.now_us())
            return owner and (owner.email, f"{plain(key.name)} ({key.masked}) is the live key now")

        found = await self._store.read(transaction)
        if found is not None:
            self._notices.tell(found[0], "key_replaced", caller, about=found[1])

    # ── switches ────────────────────────────────────────────────────────────────────────────────
    async def switches(self, account_id: str) -> dict[str, bool]:
        """Which notices are on."""
        muted = await self._store.read(rows.list_muted, account_id)
        return {what: what not in muted for what in SWITCHES}

    async def switch(self, account_id: str, what: str, *, is_on: bool, caller: Caller) -> None:
        """Switch a notice on or off. Raises InvalidRequest."""
        if what not in SWITCHES:
            raise InvalidRequest(f"A notice is one of: {', '.join(SWITCHES)}.", param="what")

        def transaction(conn: Connection) -> None:
            muted = rows.list_muted(conn, account_id)
            wanted = muted - {what} if is_on else muted | {what}
            if wanted == muted:
                return
            rows.set_muted(conn, account_id, wanted)
            record(
                conn,
                at_us=self._clock.now_us(),
                account_id=account_id,
                caller=caller,
                action=f"notice.{'on' if is_on else 'off'}",
                target=what,
            )

        await self._store.write(transaction)


def place_of(ip: str) -> str:
    """What counts as one address: an IPv4 address, or the network of an IPv6 one (its first half).

    A device changes the second half of its IPv6 address by itself, every day.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    mapped = address.ipv4_mapped
    if mapped is not None:
        return str(mapped)
    return str(ip_network((int(address), _IPV6_PLACE_BITS), strict=False))


def plain(text: str) -> str:
    """A name that somebody else chose, without what a mail program would make a link of."""
    return re.sub(r"[^\w \-]", "·", text)
