"""What an operator does for somebody who is locked out, or whose account is in wrong hands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from latchgate.domain.people import Caller
from latchgate.services import second_factors
from latchgate.services.accounts import AccountView, get_by_email, view_of
from latchgate.services.audit_log import record
from latchgate.storage import passkeys, tickets
from latchgate.storage.sessions import end_sessions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.services.notices import Notices
    from latchgate.storage.store import Store


class Rescues:
    """Use cases over somebody else's login, one transaction each."""

    def __init__(self, store: Store, clock: Clock, notices: Notices) -> None:
        self._store = store
        self._clock = clock
        self._notices = notices

    async def log_out(self, email: str, caller: Caller) -> AccountView:
        """End all of the user's sessions. Raises NotFound."""
        return await self._do(email, caller, "session.close_all", _log_out)

    async def reset_factors(self, email: str, caller: Caller) -> AccountView:
        """Take second factor and passkeys away from somebody who has lost them, and tell him.

        Ends all of his sessions. It is for the operator to make sure of whom he helps. Raises
        NotFound.
        """
        view = await self._do(email, caller, "factor.reset", _reset_factors)
        # Where the operator sits is not for the mail.
        self._notices.tell(view.email, "factors_reset", Caller(actor=caller.actor))
        return view

    async def _do(
        self, email: str, caller: Caller, action: str, step: Callable[[Connection, str, int], None]
    ) -> AccountView:
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> AccountView:
            found = get_by_email(conn, email)
            step(conn, found.user_id, now_us)
            record(
                conn,
                at_us=now_us,
                account_id=found.account_id,
                caller=caller,
                action=action,
                target=found.user_id,
            )
            return view_of(found)

        return await self._store.write(transaction)


def _log_out(conn: Connection, user_id: str, now_us: int) -> None:
    end_sessions(conn, user_id, now_us=now_us)
    tickets.delete_of_user(conn, user_id)


def _reset_factors(conn: Connection, user_id: str, now_us: int) -> None:
    second_factors.forget(conn, user_id)
    passkeys.delete_of_user(conn, user_id)
    _log_out(conn, user_id, now_us)
