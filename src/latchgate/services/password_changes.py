"""New passwords: chosen by their owner, or in place of a forgotten one by mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latchgate.clock import MINUTE_US
from latchgate.domain.errors import InvalidRequest, NotFound
from latchgate.domain.secrets import mint_token
from latchgate.services import letters
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.services.emails import find_key
from latchgate.services.passwords import check_password
from latchgate.services.sessions import token_hash
from latchgate.storage import accounts as rows
from latchgate.storage.sessions import end_sessions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import Settings
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.confirmations import Confirmations
    from latchgate.services.mail import Mail
    from latchgate.services.passwords import Passwords
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store


class PasswordChanges:
    """Use cases over passwords, one transaction each."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        passwords: Passwords,
        throttles: Throttles,
        mail: Mail,
        confirmations: Confirmations,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._passwords = passwords
        self._throttles = throttles
        self._mail = mail
        self._confirmations = confirmations

    async def change(self, identity: Identity, current: str, new: str, caller: Caller) -> None:
        """Change the password, and log out all other devices.

        Raises InvalidRequest: ``wrong_password`` for the current, ``weak_password`` for the new.
        """
        await self._confirmations.check_password(identity, current, caller, param="current")
        check_password(new, email=identity.email)
        await self._set_password(
            identity.user_id, new, caller, "user.change_password", keep=identity.session_id
        )

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

    async def reset(self, token: str, new: str, caller: Caller) -> None:
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
