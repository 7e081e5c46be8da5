"""People and their accounts: sign up, and what an operator does with them.

Nobody can learn here whether an address has an account: a known and an unknown one get the same
answer for the same work, and what only the owner may know goes out by mail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import HOUR_US
from latchgate.domain.errors import Conflict, Forbidden, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.people import Caller
from latchgate.services import letters
from latchgate.services.audit_log import record
from latchgate.services.emails import checked_email, email_key, find_key
from latchgate.services.logins import LoggedIn, Logins
from latchgate.services.passwords import check_password, hash_of
from latchgate.services.plans import plan_named
from latchgate.services.second_factors import state_of
from latchgate.services.sessions import token_hash
from latchgate.services.throttles import Limit
from latchgate.storage import accounts as rows
from latchgate.storage.budgets import raise_limit
from latchgate.storage.invitations import is_invited, redeem_invitation
from latchgate.storage.ledger import open_account_books, post_credit
from latchgate.storage.plans import assign

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.config import Settings
    from latchgate.services.mail import Mail
    from latchgate.services.passwords import Passwords
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

ACCOUNTS_LISTED_MAX = 1000


@dataclass(frozen=True, slots=True)
class _NewUser:
    id: str
    email: str
    password_hash: str
    is_operator: bool = False


@dataclass(frozen=True, slots=True)
class AccountView:
    """A user with his account, as an operator sees it."""

    account_id: str
    user_id: str
    email: str
    state: str
    is_operator: bool
    is_premium_on: bool
    created_us: int


class Accounts:
    """Use cases over users and accounts, one transaction each.

    ``on_account_changed`` is called with an account's id after every commit that changes what its
    keys may do, before whoever asked for it hears that it is done.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        passwords: Passwords,
        throttles: Throttles,
        mail: Mail,
        logins: Logins,
        on_account_changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._passwords = passwords
        self._throttles = throttles
        self._sign_up_by_place = Limit(settings.signup.tries_per_hour, HOUR_US)
        self._mail = mail
        self._logins = logins
        self._on_account_changed = on_account_changed

    # ── sign up ─────────────────────────────────────────────────────────────────────────────────
    async def sign_up(
        self, email: str, password: str, *, invitation: str | None, caller: Caller
    ) -> LoggedIn:
        """Make a user and his account with the gift, and log him in.

        An address that has an account gets the very same answer, with a session that opens nothing,
        and its owner a mail; unless the password is the account's, which then simply logs in.
        Raises InvalidRequest, Forbidden ``signup_closed`` or ``invitation_required``, RateLimited.
        """
        mode = self._settings.signup.mode
        if mode == "closed":
            raise Forbidden("Sign-up is closed here. Ask the operator.", code="signup_closed")
        self._throttles.count(self._sign_up_by_place, caller.ip)
        email = checked_email(email)
        check_password(password, email=email)
        key = email_key(email)
        found = await self._store.read(rows.find_person, key)
        # The same two hashes for a new address and a known one.
        password_hash = await self._passwords.hash(password)
        is_his = await self._passwords.verify(hash_of(found), password)
        now_us = self._clock.now_us()
        if mode == "invite":
            # Before anything depends on whether the address has an account.
            await self._store.read(_check_invited, invitation, key, now_us)
        if found is not None:
            return await self._sign_up_again(found, email, caller, now_us, is_his=is_his)

        def transaction(conn: Connection) -> LoggedIn | None:
            if rows.find_person(conn, key) is not None:
                return None  # somebody was quicker with the same address
            if mode == "invite":
                _redeem(conn, invitation, key, now_us)
            user = _NewUser(new_id("usr", now_us), email, password_hash)
            himself = caller.as_user(user.id)
            self._insert(conn, user, None, himself, now_us)
            return self._logins.open(conn, user.id, email, caller, now_us)

        return await self._store.write(transaction) or self._logins.decoy(email)

    async def _sign_up_again(
        self, found: AnyRow, typed: str, caller: Caller, now_us: int, *, is_his: bool
    ) -> LoggedIn:
        if is_his:
            logged_in = await self._store.write(self._log_in_again, found, typed, caller, now_us)
            if logged_in is not None:
                self._logins.tell_of_new_device(found, caller, known_device="")
                return logged_in
        base_url = self._settings.server.base_url
        letter = letters.already_signed_up(found.email, f"{base_url}/login", f"{base_url}/forgot")
        self._mail.post(letter)
        await self._store.write(
            record,
            at_us=now_us,
            account_id=found.account_id,
            caller=caller,
            action="user.sign_up_again",
            target=found.user_id,
        )
        return self._logins.decoy(typed)

    def _log_in_again(
        self, conn: Connection, found: AnyRow, typed: str, caller: Caller, now_us: int
    ) -> LoggedIn | None:
        """His own password logs him in; but not past a second factor, which sign-up never asks."""
        if state_of(conn, found.user_id).is_on:
            return None
        return self._logins.open(conn, found.user_id, typed, caller, now_us)

    async def create(
        self,
        email: str,
        password: str,
        *,
        is_operator: bool,
        credit_nanos: int | None,
        actor: str,
        plan: str | None = None,
    ) -> AccountView:
        """Make a user and his account, as the operator. ``credit_nanos`` takes the gift's place.

        Raises InvalidRequest, NotFound for the plan, or Conflict ``email_taken``.
        """
        email = checked_email(email)
        check_password(password, email=email)
        key = email_key(email)
        password_hash = await self._passwords.hash(password)
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> AccountView:
            if rows.find_person(conn, key) is not None:
                raise Conflict(f"{email} has an account already.", code="email_taken")
            user = _NewUser(new_id("usr", now_us), email, password_hash, is_operator)
            self._insert(conn, user, credit_nanos, Caller(actor=actor), now_us, plan)
            return view_of(get_by_email(conn, email))

        return await self._store.write(transaction)

    def _insert(
        self,
        conn: Connection,
        user: _NewUser,
        credit_nanos: int | None,
        caller: Caller,
        now_us: int,
        plan_name: str | None = None,
    ) -> None:
        plan = plan_named(conn, plan_name)
        gifts = (credit_nanos, plan.terms.gift_nanos, self._settings.signup.gift_nanos)
        gift_nanos = next(nanos for nanos in gifts if nanos is not None)
        rows.insert_user(
            conn,
            id=user.id,
            email=user.email,
            email_key=email_key(user.email),
            password_hash=user.password_hash,
            is_operator=int(user.is_operator),
            created_us=now_us,
            password_changed_us=now_us,
        )
        account_id = new_id("acct", now_us)
        rows.insert_account(
            conn,
            id=account_id,
            name=user.email,
            state="active",
            is_premium_on=0,
            time_zone="UTC",
            credit_line_nanos=plan.terms.credit_line_nanos,
            created_us=now_us,
        )
        rows.insert_membership(conn, user_id=user.id, account_id=account_id, role="owner")
        open_account_books(conn, account_id=account_id, now_us=now_us)
        if plan.terms.credit_line_nanos:
            raise_limit(conn, account_id=account_id, amount_nanos=plan.terms.credit_line_nanos)
        if not plan.is_default:
            assign(conn, account_id, plan.id)
        if gift_nanos:
            post_credit(
                conn,
                account_id=account_id,
                amount_nanos=gift_nanos,
                kind="gift",
                note="Welcome",
                actor=caller.actor,
                now_us=now_us,
                posting_id=new_id("pst", now_us),
            )
        record(
            conn,
            at_us=now_us,
            account_id=account_id,
            caller=caller,
            action="account.create",
            target=user.id,
        )

    # ── the operator's ──────────────────────────────────────────────────────────────────────────
    async def get(self, email: str) -> AccountView:
        """A user with his account, by e-mail. Raises NotFound."""
        return view_of(await self._store.read(get_by_email, email))

    async def list_all(self) -> list[AccountView]:
        """Every user with his account, oldest first; at most 1,000."""
        found = await self._store.read(rows.list_people, limit=ACCOUNTS_LISTED_MAX)
        return [view_of(row) for row in found]

    async def suspend(self, email: str, caller: Caller) -> AccountView:
        """Refuse the account's calls from now on, and cut those that run. Raises NotFound."""
        return await self._change(email, caller, "account.suspend", state="suspended")

    async def resume(self, email: str, caller: Caller) -> AccountView:
        """Let a suspended account call again. Raises NotFound."""
        return await self._change(email, caller, "account.resume", state="active")

    async def _change(
        self, email: str, caller: Caller, action: str, **values: object
    ) -> AccountView:
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> AccountView:
            account_id = get_by_email(conn, email).account_id
            rows.set_account(conn, account_id, **values)
            record(conn, at_us=now_us, account_id=account_id, caller=caller, action=action)
            return view_of(get_by_email(conn, email))

        view = await self._store.write(transaction)
        self._on_account_changed(view.account_id)
        return view


def _redeem(conn: Connection, invitation: str | None, key: str, now_us: int) -> None:
    if invitation is None or not redeem_invitation(
        conn, token_hash(invitation), key, now_us=now_us
    ):
        raise _not_invited()


def _check_invited(conn: Connection, invitation: str | None, key: str, now_us: int) -> None:
    if invitation is None or not is_invited(conn, token_hash(invitation), key, now_us=now_us):
        raise _not_invited()


def _not_invited() -> Forbidden:
    return Forbidden(
        "Sign-up is by invitation here, and this invitation is missing, used or too old. Ask "
        "the operator for one.",
        code="invitation_required",
    )


def get_by_email(conn: Connection, email: str) -> AnyRow:
    """A user with his account, inside the caller's transaction. Raises NotFound."""
    row = rows.find_person(conn, find_key(email) or "")
    if row is None:
        raise NotFound(f"There is no account {email}.", param="email")
    return row


def view_of(row: AnyRow) -> AccountView:
    """What an operator sees of a row."""
    return AccountView(
        account_id=row.account_id,
        user_id=row.user_id,
        email=row.email,
        state=row.state if row.closed_us is None else "closed",
        is_operator=bool(row.is_operator),
        is_premium_on=bool(row.is_premium_on),
        created_us=row.created_us,
    )
