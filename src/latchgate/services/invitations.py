"""Invitations: the way in where sign-up is not open to everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US
from latchgate.domain.ids import new_id
from latchgate.domain.people import Caller
from latchgate.domain.secrets import mint_token
from latchgate.services import letters
from latchgate.services.audit_log import record
from latchgate.services.emails import checked_email, email_key
from latchgate.services.sessions import token_hash
from latchgate.storage import invitations as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.services.mail import Mail
    from latchgate.storage.store import Store

VALID_DAYS = 14


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation just made; the link is in one answer, and in the mail, and nowhere else."""

    id: str
    email: str | None
    expires_us: int
    url: str


class Invitations:
    """Use cases over invitations."""

    def __init__(self, store: Store, clock: Clock, mail: Mail, base_url: str) -> None:
        self._store = store
        self._clock = clock
        self._mail = mail
        self._base_url = base_url

    async def create(self, email: str | None, actor: str) -> Invitation:
        """Invite somebody, by mail when his address is given. Raises InvalidRequest."""
        email = None if email is None else checked_email(email)
        now_us = self._clock.now_us()
        token = mint_token()
        invitation = Invitation(
            id=new_id("inv", now_us),
            email=email,
            expires_us=now_us + VALID_DAYS * DAY_US,
            url=f"{self._base_url}/signup?invitation={token}",
        )

        def transaction(conn: Connection) -> None:
            rows.insert_invitation(
                conn,
                id=invitation.id,
                token_hash=token_hash(token),
                email_key=None if email is None else email_key(email),
                created_us=now_us,
                expires_us=invitation.expires_us,
                used_us=None,
            )
            record(
                conn,
                at_us=now_us,
                account_id=None,
                caller=Caller(actor=actor),
                action="invitation.create",
                target=invitation.id,
                details={"email": email},
            )

        await self._store.write(transaction)
        if email is not None:
            self._mail.post(letters.invitation(email, invitation.url, VALID_DAYS))
        return invitation
