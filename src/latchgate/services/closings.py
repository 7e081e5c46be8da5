"""Closing an account: by its owner, at once and for good.

Its keys are dead and its running calls are cut, and charged what they had used; its user is logged
out and can't log in. What the books and the audit log need stays. His address, his password and
what showed that he was he do not: somebody can sign up with the address again, to a new account.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from latchgate.domain.errors import Conflict, InvalidRequest
from latchgate.services import second_factors
from latchgate.services.audit_log import record
from latchgate.services.emails import find_key
from latchgate.storage import accounts as rows
from latchgate.storage.api_keys import end_keys
from latchgate.storage.auto_top_ups import set_top_up
from latchgate.storage.email_changes import end_changes
from latchgate.storage.passkeys import delete_of_user as forget_passkeys
from latchgate.storage.sessions import end_sessions
from latchgate.storage.tickets import delete_of_user as forget_tickets

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.billing import Billing
    from latchgate.services.notices import Notices
    from latchgate.storage.store import Store


class Closings:
    """The one use case. ``on_account_changed`` makes the gateway forget the account's keys."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        billing: Billing,
        notices: Notices,
        on_account_changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._billing = billing
        self._notices = notices
        self._on_account_changed = on_account_changed

    async def close(self, identity: Identity, typed_email: str, caller: Caller) -> None:
        """Close the account of whoever has typed his address, to show that he means it.

        Raises InvalidRequest, or Conflict ``account_suspended``: who was suspended can't begin
        anew.
        """
        if find_key(typed_email) != find_key(identity.email):
            raise InvalidRequest(
                "Type the address of your account, so that nothing happens by a slip.",
                param="email",
            )
        if identity.account_state != "active":
            raise Conflict(
                "This account is suspended. Ask the operator to close it.",
                code="account_suspended",
            )
        balances = await self._billing.balances(identity.account_id)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            record(
                conn,
                at_us=now_us,
                account_id=identity.account_id,
                caller=caller,
                action="account.close",
                target=identity.account_id,
                details={"amount_nanos": balances.credit_nanos - balances.spent_nanos},
            )
            end_keys(conn, identity.account_id, now_us=now_us)
            rows.close_account(conn, identity.account_id, identity.user_id, now_us=now_us)
            # Nothing is paid by itself any more, and the card is forgotten here.
            set_top_up(
                conn,
                identity.account_id,
                state="off",
                customer=None,
                payment_method=None,
                changed_us=now_us,
            )
            _forget(conn, identity.user_id, now_us)

        await self._store.write(transaction)
        self._on_account_changed(identity.account_id)
        self._notices.tell(identity.email, "account_closed", caller)


def _forget(conn: Connection, user_id: str, now_us: int) -> None:
    """Everything by which somebody could get in."""
    end_sessions(conn, user_id, now_us=now_us)
    rows.void_resets(conn, user_id, now_us=now_us)
    end_changes(conn, user_id, now_us=now_us)
    second_factors.forget(conn, user_id)
    forget_passkeys(conn, user_id)
    forget_tickets(conn, user_id)
