"""«Confirm it is you»: what a login alone does not open once it is some time ago.

One mechanism with two measures. A session remembers when its user last showed that it is he: by
logging in, or when asked again, by everything that his login asks for. Keys want that to be at most
``sessions.fresh_hours`` ago; limits raised, money, factors, the address and the account itself want
it to be ``sessions.confirm_minutes`` ago. So a stolen cookie opens little, and not for long.

Whoever confirms gets a new session token, and the old one opens nothing any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from latchgate.clock import HOUR_US, MINUTE_US
from latchgate.domain.errors import Forbidden, InvalidRequest
from latchgate.domain.password_policy import PASSWORD_BYTES_MAX
from latchgate.domain.secrets import mint_token
from latchgate.services import second_factors
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.services.passwords import hash_of
from latchgate.services.sessions import token_hash
from latchgate.storage import accounts as rows
from latchgate.storage.sessions import renew_session

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import SessionSettings
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.notices import Notices
    from latchgate.services.passwords import Passwords
    from latchgate.services.second_factors import SecondFactors
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

#: The code of the refusal that asks; the console answers it with a page, and then goes on.
REQUIRED = "reauthentication_required"

#: What asks: an API key's creation, or anything more sensitive.
Need = Literal["key", "sensitive"]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A session whose user has just shown that it is he, and its new token for the cookie."""

    session_token: str

    def __repr__(self) -> str:
        return "Confirmed()"


class Confirmations:
    """Asks, checks and remembers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: SessionSettings,
        passwords: Passwords,
        throttles: Throttles,
        factors: SecondFactors,
        notices: Notices,
    ) -> None:
        self._store = store
        self._clock = clock
        self._fresh_us: dict[Need, int] = {
            "key": settings.fresh_hours * HOUR_US,
            "sensitive": settings.confirm_minutes * MINUTE_US,
        }
        self._passwords = passwords
        self._throttles = throttles
        self._factors = factors
        self._notices = notices

    def is_fresh(self, identity: Identity, need: Need) -> bool:
        """Whether the user showed that it is he a short enough time ago."""
        return self._clock.now_us() - identity.confirmed_us < self._fresh_us[need]

    def require(self, identity: Identity, need: Need) -> None:
        """Raise Forbidden ``reauthentication_required`` where the user has to show it again."""
        if not self.is_fresh(identity, need):
            raise Forbidden(
                "It is some time ago that you showed that it is you. Confirm it: with your "
                "password, and with a code where your login asks for one.",
                code="reauthentication_required",
                param="password",
            )

    async def check_password(
        self, identity: Identity, password: str, caller: Caller, *, param: str = "password"
    ) -> AnyRow:
        """Check the user's own password; returns him. Raises InvalidRequest ``wrong_password``.

        Or RateLimited: whoever holds a stolen cookie must not guess here either, and his guesses
        are written down for the owner to see.
        """
        self._throttles.count(limits.LOGIN_BY_EMAIL_AND_PLACE, identity.user_id)
        found = await self._store.read(rows.find_person_by_id, identity.user_id)
        bounded = password if len(password.encode()) <= PASSWORD_BYTES_MAX else ""
        is_right = await self._passwords.verify(hash_of(found), bounded)
        if found is None or not is_right:
            await self._write_down_failure(identity, caller, "password")
            raise InvalidRequest("That is not your password.", code="wrong_password", param=param)
        self._throttles.forgive(limits.LOGIN_BY_EMAIL_AND_PLACE, identity.user_id)
        return found

    async def confirm(
        self, identity: Identity, password: str, code: str, caller: Caller
    ) -> Confirmed:
        """Take the password, and the code where there is a second factor.

        Raises InvalidRequest ``wrong_password``, LoginFailed ``invalid_mfa_code``, RateLimited.
        """
        found = await self.check_password(identity, password, caller)
        # Counted for this session: a stranger's wrong codes at the login do not stop its user.
        place = identity.session_id
        if (await self._factors.state(identity.user_id)).is_on:
            self._throttles.count(limits.CODE_BY_USER, place)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> tuple[Confirmed, str] | None:
            how = "password"
            if second_factors.state_of(conn, identity.user_id).is_on:
                used = self._factors.use(conn, identity.user_id, code, now_us)
                if used is None:
                    return None
                how = f"password and {used}"
            return self.renew(conn, identity, caller, how, now_us), how

        confirmed = await self._store.write(transaction)
        if confirmed is None:
            await self._write_down_failure(identity, caller, "second factor")
            raise second_factors.wrong_code()
        self._throttles.forgive(limits.CODE_BY_USER, place)
        if confirmed[1].endswith(second_factors.RECOVERY):
            self._notices.tell(found.email, "code_used", caller)
        return confirmed[0]

    async def _write_down_failure(self, identity: Identity, caller: Caller, what: str) -> None:
        await self._store.write(
            record,
            at_us=self._clock.now_us(),
            account_id=identity.account_id,
            caller=caller,
            action="session.confirm_failed",
            target=identity.session_id,
            details={"with": what},
        )

    def renew(
        self, conn: Connection, identity: Identity, caller: Caller, how: str, now_us: int
    ) -> Confirmed:
        """Note it, and give the session a new token, inside the caller's transaction."""
        token = mint_token()
        renew_session(conn, identity.session_id, token_hash(token), now_us=now_us)
        record(
            conn,
            at_us=now_us,
            account_id=identity.account_id,
            caller=caller,
            action="session.confirm",
            target=identity.session_id,
            details={"with": how},
        )
        return Confirmed(token)
