"""Another e-mail address: it changes when the old and the new one have both said yes, by mail.

The old one, because whoever has the address has the account; the new one, because a slip of the
finger would lose it. An address that is somebody else's gets the same answer and never confirms:
its owner is told by mail, and nobody else is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import HOUR_US
from latchgate.domain.errors import InvalidRequest
from latchgate.domain.ids import new_id
from latchgate.domain.secrets import mint_token
from latchgate.services import letters
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.services.emails import checked_email, email_key
from latchgate.services.sessions import TOKEN_CHARS_MAX, token_hash
from latchgate.storage import accounts as account_rows
from latchgate.storage import email_changes as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.mail import Mail
    from latchgate.services.notices import Notices
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store


@dataclass(frozen=True, slots=True)
class EmailChangeView:
    """A change that waits for its confirmations."""

    email: str
    expires_us: int
    is_old_confirmed: bool
    is_new_confirmed: bool


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What came of a link: the new address, and whether it holds now or waits for the other."""

    email: str
    is_done: bool


@dataclass(frozen=True, slots=True)
class _Done:
    change: Confirmation
    old_email: str = ""


class EmailChanges:
    """Use cases over changes of address, one transaction each."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        mail: Mail,
        notices: Notices,
        throttles: Throttles,
        base_url: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._mail = mail
        self._notices = notices
        self._throttles = throttles
        self._base_url = base_url

    async def find_open(self, user_id: str) -> EmailChangeView | None:
        """The change that a user is waiting for."""
        row = await self._store.read(rows.find_open, user_id, now_us=self._clock.now_us())
        if row is None:
            return None
        confirmed = (row.old_confirmed_us is not None, row.new_confirmed_us is not None)
        return EmailChangeView(row.email, row.expires_us, *confirmed)

    async def ask(self, identity: Identity, email: str, caller: Caller) -> None:
        """Mail a link to both addresses. Raises InvalidRequest or RateLimited."""
        email = checked_email(email)
        if email_key(email) == email_key(identity.email):
            raise InvalidRequest("That is your address already.", param="email")
        self._throttles.count(limits.EMAIL_CHANGE_BY_USER, identity.user_id)
        old_token, new_token, now_us = mint_token(), mint_token(), self._clock.now_us()

        def transaction(conn: Connection) -> AnyRow | None:
            rows.end_changes(conn, identity.user_id, now_us=now_us)
            rows.insert_change(
                conn,
                id=new_id("emc", now_us),
                user_id=identity.user_id,
                email=email,
                email_key=email_key(email),
                old_token_hash=token_hash(old_token),
                new_token_hash=token_hash(new_token),
                created_us=now_us,
                expires_us=now_us + letters.EMAIL_CHANGE_HOURS * HOUR_US,
                old_confirmed_us=None,
                new_confirmed_us=None,
                ended_us=None,
            )
            _record(conn, identity, caller, "user.request_email_change", now_us)
            return account_rows.find_person(conn, email_key(email))

        owner = await self._store.write(transaction)
        old_link, new_link = (
            f"{self._base_url}/email-change?token={token}" for token in (old_token, new_token)
        )
        facts = self._notices.facts(caller)
        self._mail.post(letters.email_change_old(identity.email, email, old_link, facts))
        if owner is None:
            self._mail.post(letters.email_change_new(email, new_link))
        else:
            self._mail.post(letters.address_in_use(owner.email, f"{self._base_url}/forgot"))

    async def cancel(self, identity: Identity, caller: Caller) -> None:
        """Call a change off: its links open nothing any more."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            if rows.end_changes(conn, identity.user_id, now_us=now_us):
                _record(conn, identity, caller, "user.cancel_email_change", now_us)

        await self._store.write(transaction)

    async def confirm(self, token: str, caller: Caller) -> Confirmation:
        """Take the link of one mail; with that of the other the address changes.

        Raises InvalidRequest ``invalid_email_change``.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> _Done:
            change = None
            if 0 < len(token) <= TOKEN_CHARS_MAX:
                change = rows.find_by_token(conn, token_hash(token), now_us=now_us)
            if change is None:
                raise _useless()
            is_old = change.old_token_hash == token_hash(token)
            column = "old_confirmed_us" if is_old else "new_confirmed_us"
            change = rows.confirm_change(conn, change.id, **{column: now_us})
            if change.old_confirmed_us is None or change.new_confirmed_us is None:
                return _Done(Confirmation(change.email, is_done=False))
            return self._apply(conn, change, caller, now_us)

        done = await self._store.write(transaction)
        if done.old_email:
            self._notices.tell(done.old_email, "email_left", caller)
            self._notices.tell(done.change.email, "email_changed", caller)
        return done.change

    def _apply(self, conn: Connection, change: AnyRow, caller: Caller, now_us: int) -> _Done:
        found = account_rows.find_person_by_id(conn, change.user_id)
        is_taken = account_rows.find_person(conn, change.email_key) is not None
        if found is None or is_taken:  # somebody has signed up with it meanwhile
            raise _useless()
        account_rows.set_email(conn, change.user_id, change.email, change.email_key)
        account_rows.set_account(conn, found.account_id, name=change.email)
        # A link to a new password that is in the old mailbox opens nothing any more.
        account_rows.void_resets(conn, change.user_id, now_us=now_us)
        rows.end_changes(conn, change.user_id, now_us=now_us)
        record(
            conn,
            at_us=now_us,
            account_id=found.account_id,
            caller=caller,
            action="user.change_email",
            target=change.user_id,
        )
        return _Done(Confirmation(change.email, is_done=True), found.email)


def _useless() -> InvalidRequest:
    return InvalidRequest(
        "This link was used already, is too old, or was called off. Ask for the change again.",
        code="invalid_email_change",
        param="token",
    )


def _record(conn: Connection, identity: Identity, caller: Caller, action: str, now_us: int) -> None:
    record(
        conn,
        at_us=now_us,
        account_id=identity.account_id,
        caller=caller,
        action=action,
        target=identity.user_id,
    )
