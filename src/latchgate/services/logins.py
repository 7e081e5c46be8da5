"""Logging in, and passwords: changed by their owner, or replaced by mail when forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import HOUR_US, MINUTE_US
from latchgate.domain.errors import Forbidden, InvalidRequest, LoginFailed, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.password_policy import PASSWORD_BYTES_MAX, check_password
from latchgate.domain.secrets import mint_token
from latchgate.services import letters
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.services.emails import find_key
from latchgate.services.sessions import open_session, token_hash
from latchgate.storage import accounts as rows
from latchgate.storage.sessions import end_sessions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import Settings
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.mail import Mail
    from latchgate.services.passwords import Passwords
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


class Logins:
    """Use cases over credentials, one transaction each."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        passwords: Passwords,
        throttles: Throttles,
        mail: Mail,
        pepper: bytes,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._passwords = passwords
        self._throttles = throttles
        self._mail = mail
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

    async def log_in(
        self, email: str, password: str, caller: Caller, *, known_device: str = ""
    ) -> LoggedIn:
        """Open a session. Raises LoginFailed ``invalid_credentials`` or RateLimited.

        ``known_device`` is what the browser kept from an earlier login: its tries are counted by
        themselves, so that a stranger's do not lock it out.
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
            await self._store.write(
                record,
                at_us=now_us,
                account_id=found.account_id if found is not None else None,
                caller=caller,
                action="session.login_failed",
            )
            raise LoginFailed(_WRONG)
        self._throttles.forgive(limits.LOGIN_BY_EMAIL_AND_PLACE, place)
        if self._passwords.needs_rehash(found.password_hash):
            await self._rehash(found.user_id, bounded)

        def transaction(conn: Connection) -> LoggedIn:
            logged_in = self.open(conn, found.user_id, found.email, caller, now_us)
            record(
                conn,
                at_us=now_us,
                account_id=found.account_id,
                caller=caller.as_user(found.user_id),
                action="session.open",
                target=found.user_id,
            )
            return logged_in

        return await self._store.write(transaction)

    async def _rehash(self, user_id: str, password: str) -> None:
        stronger = await self._passwords.hash(password)
        await self._store.write(rows.set_password, user_id, stronger, now_us=self._clock.now_us())

    async def change_password(
        self, identity: Identity, current: str, new: str, caller: Caller
    ) -> None:
        """Change the password, and log out all other devices.

        Raises InvalidRequest: ``wrong_password`` for the current, ``weak_password`` for the new.
        """
        self._throttles.count(limits.LOGIN_BY_EMAIL_AND_PLACE, identity.user_id)
        found = await self._store.read(rows.find_person_by_id, identity.user_id)
        if not await self._passwords.verify(hash_of(found), current):
            raise InvalidRequest(
                "That is not your current password.", code="wrong_password", param="current"
            )
        check_password(new, email=identity.email)
        self._throttles.forgive(limits.LOGIN_BY_EMAIL_AND_PLACE, identity.user_id)
        await self._set_password(
            identity.user_id, new, caller, "user.change_password", keep=identity.session_id
        )

    def is_fresh(self, identity: Identity) -> bool:
        """Whether the login is young enough to create a key without the password."""
        fresh_us = self._settings.sessions.fresh_hours * HOUR_US
        return self._clock.now_us() - identity.logged_in_us < fresh_us

    async def check_fresh(self, identity: Identity, password: str) -> None:
        """Ask for the password where the login is not fresh, so that a stolen cookie makes no key.

        Raises Forbidden ``reauthentication_required``, InvalidRequest ``wrong_password``, or
        RateLimited.
        """
        if self.is_fresh(identity):
            return
        if not password:
            raise Forbidden(
                "You logged in some time ago. Give your password again to create a key.",
                code="reauthentication_required",
                param="password",
            )
        self._throttles.count(limits.LOGIN_BY_EMAIL_AND_PLACE, identity.user_id)
        found = await self._store.read(rows.find_person_by_id, identity.user_id)
        bounded = password if len(password.encode()) <= PASSWORD_BYTES_MAX else ""
        if not await self._passwords.verify(hash_of(found), bounded):
            raise InvalidRequest(
                "That is not your password.", code="wrong_password", param="password"
            )
        self._throttles.forgive(limits.LOGIN_BY_EMAIL_AND_PLACE, identity.user_id)

    async def request_reset(self, email: str, caller: Caller) -> None:
        """Mail a link for a new password, if the address has an account. Raises RateLimited."""
        self._throttles.count(limits.RESET_BY_PLACE, caller.ip)
        key = find_key(email)
        if key is None:
            return
        self._throttles.count(limits.RESET_BY_EMAIL, key)
        token = mint_token()
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> str | None:
            found = rows.find_person(conn, key)
            if found is None:
                return None
            rows.insert_reset(
                conn,
                token_hash=token_hash(token),
                user_id=found.user_id,
                created_us=now_us,
                expires_us=now_us + letters.RESET_MINUTES * MINUTE_US,
                used_us=None,
            )
            record(
                conn,
                at_us=now_us,
                account_id=found.account_id,
                caller=caller,
                action="user.request_reset",
                target=found.user_id,
            )
            to: str = found.email
            return to

        to = await self._store.write(transaction)
        if to is not None:
            link = f"{self._settings.server.base_url}/reset?token={token}"
            self._mail.post(letters.reset_password(to, link))

    async def reset_password(self, token: str, new: str, caller: Caller) -> None:
        """Redeem a link: set the password and log out everywhere.

        Raises InvalidRequest ``invalid_reset_token`` or ``weak_password``; a weak password does not
        use the link up.
        """
        check_password(new, email="")
        new_hash = await self._passwords.hash(new)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> str:
            user_id = rows.redeem_reset(conn, token_hash(token), now_us=now_us)
            found = None if user_id is None else rows.find_person_by_id(conn, user_id)
            if found is None:
                raise InvalidRequest(
                    "This link was used already or is too old. Ask for a new one.",
                    code="invalid_reset_token",
                    param="token",
                )
            check_password(new, email=found.email)
            self._replace_hash(conn, found, new_hash, caller, "user.reset_password", None, now_us)
            to: str = found.email
            return to

        self._tell_of_change(await self._store.write(transaction))

    async def _set_password(
        self, user_id: str, new: str, caller: Caller, action: str, *, keep: str | None
    ) -> None:
        new_hash = await self._passwords.hash(new)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> str:
            found = rows.find_person_by_id(conn, user_id)
            if found is None:
                raise NotFound("There is no such user.")
            self._replace_hash(conn, found, new_hash, caller, action, keep, now_us)
            to: str = found.email
            return to

        self._tell_of_change(await self._store.write(transaction))

    def _replace_hash(
        self,
        conn: Connection,
        found: AnyRow,
        new_hash: str,
        caller: Caller,
        action: str,
        keep: str | None,
        now_us: int,
    ) -> None:
        rows.set_password(conn, found.user_id, new_hash, now_us=now_us)
        rows.void_resets(conn, found.user_id, now_us=now_us)
        end_sessions(conn, found.user_id, now_us=now_us, but=keep)
        record(
            conn,
            at_us=now_us,
            account_id=found.account_id,
            caller=caller,
            action=action,
            target=found.user_id,
        )

    def _tell_of_change(self, to: str) -> None:
        self._mail.post(letters.password_changed(to, f"{self._settings.server.base_url}/forgot"))


def hash_of(found: AnyRow | None) -> str | None:
    """The password hash of whoever was found."""
    password_hash: str | None = None if found is None else found.password_hash
    return password_hash
