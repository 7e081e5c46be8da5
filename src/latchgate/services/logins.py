"""Logging in: with a password, with a code after it where there is a second factor, or a passkey.

log_in ─► LoggedIn
└► CodeAsked ─ ticket ─► give_code ─► LoggedIn
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.errors import LoginFailed
from latchgate.domain.ids import new_id
from latchgate.domain.password_policy import PASSWORD_BYTES_MAX
from latchgate.domain.secrets import mint_token
from latchgate.services import second_factors, tickets
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.services.emails import find_key
from latchgate.services.passwords import hash_of
from latchgate.services.sessions import open_session
from latchgate.storage import accounts as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import Settings
    from latchgate.domain.people import Caller
    from latchgate.services.notices import Notices
    from latchgate.services.passwords import Passwords
    from latchgate.services.second_factors import SecondFactors
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

_WRONG = "The e-mail or the password is wrong."


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A session just opened: the token for the cookie, and what the device may keep."""

    session_token: str
    email: str
    known_device: str

    def __repr__(self) -> str:
        return f"LoggedIn({self.email})"


@dataclass(frozen=True, slots=True)
class CodeAsked:
    """The password was right; ``ticket`` lets its holder give the code, for some minutes."""

    ticket: str

    def __repr__(self) -> str:
        return "CodeAsked()"


class Logins:
    """Use cases over logins, one transaction each."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        passwords: Passwords,
        throttles: Throttles,
        factors: SecondFactors,
        notices: Notices,
        pepper: bytes,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._passwords = passwords
        self._throttles = throttles
        self._factors = factors
        self._notices = notices
        self._pepper = pepper

    def open(
        self, conn: Connection, user_id: str, email: str, caller: Caller, now_us: int
    ) -> LoggedIn:
        """Log a user in, inside the caller's transaction."""
        token = open_session(
            conn, user_id=user_id, caller=caller, now_us=now_us, settings=self._settings.sessions
        )
        return LoggedIn(token, email, limits.sign_device(user_id, self._pepper))

    def decoy(self, email: str) -> LoggedIn:
        """What looks like a login and opens nothing."""
        nobody = new_id("usr", self._clock.now_us())  # as old as a new user: an id shows its age
        return LoggedIn(mint_token(), email, limits.sign_device(nobody, self._pepper))

    def open_found(
        self, conn: Connection, found: AnyRow, caller: Caller, how: str, now_us: int
    ) -> LoggedIn:
        """Log in whom a password, a code or a passkey has shown, and write it down."""
        logged_in = self.open(conn, found.user_id, found.email, caller, now_us)
        record(
            conn,
            at_us=now_us,
            account_id=found.account_id,
            caller=caller.as_user(found.user_id),
            action="session.open",
            target=found.user_id,
            details={"with": how},
        )
        return logged_in

    def tell_of_new_device(self, found: AnyRow, caller: Caller, known_device: str) -> None:
        """Mail the owner, unless the browser shows that he has logged in on it before."""
        if not limits.is_known_device(known_device, found.user_id, self._pepper):
            self._notices.tell(found.email, "new_device", caller)

    async def log_in(
        self, email: str, password: str, caller: Caller, *, known_device: str = ""
    ) -> LoggedIn | CodeAsked:
        """Open a session, or ask for a code. Raises LoginFailed ``invalid_credentials``.

        Or RateLimited. ``known_device`` is what the browser kept from an earlier login: its tries
        are counted by themselves, so that a stranger's do not lock it out.
        """
        key = find_key(email) or ""
        found = await self._store.read(rows.find_person, key)
        is_known = found is not None and limits.is_known_device(
            known_device, found.user_id, self._pepper
        )
        place = known_device if is_known else f"{key} {caller.ip}"
        if not is_known:
            self._throttles.count(limits.LOGIN_BY_PLACE, caller.ip)
        self._throttles.count(limits.LOGIN_BY_EMAIL_AND_PLACE, place)
        bounded = password if len(password.encode()) <= PASSWORD_BYTES_MAX else ""
        is_right = await self._passwords.verify(hash_of(found), bounded)
        now_us = self._clock.now_us()
        if found is None or not is_right:
            await self._write_down_failure(found, caller, "password", now_us)
            raise LoginFailed(_WRONG)
        self._throttles.forgive(limits.LOGIN_BY_EMAIL_AND_PLACE, place)
        if self._passwords.needs_rehash(found.password_hash):
            await self._rehash(found.user_id, bounded)

        def transaction(conn: Connection) -> LoggedIn | CodeAsked:
            if second_factors.state_of(conn, found.user_id).is_on:
                return CodeAsked(
                    tickets.issue(conn, tickets.LOGIN_CODE, user_id=found.user_id, now_us=now_us)
                )
            return self.open_found(conn, found, caller, "password", now_us)

        answer = await self._store.write(transaction)
        if isinstance(answer, LoggedIn):
            self.tell_of_new_device(found, caller, known_device)
        return answer

    async def give_code(
        self, ticket: str, code: str, caller: Caller, *, known_device: str = ""
    ) -> LoggedIn:
        """Open the session of whose password was right, by a code of his second factor.

        Raises LoginFailed ``session_expired`` for a ticket that is used, too old, or was tried five
        times, ``invalid_mfa_code`` for a wrong code; RateLimited.
        """
        now_us = self._clock.now_us()
        found = await self._store.read(self._find_of_ticket, ticket, now_us)
        # A stranger who knows the password can't lock the owner's own device out with wrong codes.
        is_known = limits.is_known_device(known_device, found.user_id, self._pepper)
        place = known_device if is_known else str(found.user_id)
        self._throttles.count(limits.CODE_BY_USER, place)

        def transaction(conn: Connection) -> tuple[LoggedIn, str] | None:
            kind = self._factors.use(conn, found.user_id, code, now_us)
            if kind is None:
                tickets.count_try(conn, ticket)
                return None
            if tickets.take(conn, ticket, tickets.LOGIN_CODE, now_us=now_us) is None:
                raise _start_again()
            how = f"password and {kind}"
            return self.open_found(conn, found, caller, how, now_us), kind

        opened = await self._store.write(transaction)
        if opened is None:
            await self._write_down_failure(found, caller, "second factor", now_us)
            if self._throttles.is_used_up(limits.CODE_BY_USER, place):
                self._notices.tell(found.email, "code_guessed", caller)
            raise second_factors.wrong_code()
        self._throttles.forgive(limits.CODE_BY_USER, place)
        logged_in, kind = opened
        if kind == second_factors.RECOVERY:
            self._notices.tell(found.email, "code_used", caller)
        self.tell_of_new_device(found, caller, known_device)
        return logged_in

    def _find_of_ticket(self, conn: Connection, token: str, now_us: int) -> AnyRow:
        ticket = tickets.find(conn, token, tickets.LOGIN_CODE, now_us=now_us)
        found = None
        if ticket is not None and ticket.user_id is not None:
            found = rows.find_person_by_id(conn, ticket.user_id)
        if found is None:
            raise _start_again()
        return found

    async def _write_down_failure(
        self, found: AnyRow | None, caller: Caller, what: str, now_us: int
    ) -> None:
        await self._store.write(
            record,
            at_us=now_us,
            account_id=found.account_id if found is not None else None,
            caller=caller,
            action="session.login_failed",
            details={"with": what},
        )

    async def _rehash(self, user_id: str, password: str) -> None:
        stronger = await self._passwords.hash(password)
        await self._store.write(rows.set_password, user_id, stronger, now_us=self._clock.now_us())


def _start_again() -> LoginFailed:
    return LoginFailed(
        "That took too long, or was tried too often. Log in again, with your password.",
        code="session_expired",
    )
