"""The second factor: a code from an app on a phone, and recovery codes for when that is gone.

    begin ─► shown, and counts for nothing ─► switch_on, with a code of it ─► on ─► switch_off

The secret is sealed in the database, as it is used again. No code works twice: each time step is
used up, and so is each recovery code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import MINUTE_US, SECOND_US
from latchgate.domain.errors import Conflict, LoginFailed
from latchgate.services import recovery_codes, totp
from latchgate.services import throttles as limits
from latchgate.services.audit_log import record
from latchgate.storage import second_factors as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller, Identity
    from latchgate.services.notices import Notices
    from latchgate.services.throttles import Throttles
    from latchgate.services.vault import Vault
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

CODE_CHARS_MAX = 64
#: How long a secret that was shown waits for its first code.
SETUP_MINUTES = 60
APP, RECOVERY = "code from the app", "recovery code"


@dataclass(frozen=True, slots=True)
class TotpSetup:
    """A secret that is being set up: as a QR code says it, and as it is typed."""

    uri: str
    secret_text: str

    def __repr__(self) -> str:
        return "TotpSetup()"


@dataclass(frozen=True, slots=True)
class FactorState:
    """Whether a user's login asks for a code, since when, and how many recovery codes he has."""

    since_us: int | None = None
    codes_left: int = 0

    @property
    def is_on(self) -> bool:
        """Whether a password alone logs him in no more."""
        return self.since_us is not None


class SecondFactors:
    """Use cases over codes, one transaction each."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        vault: Vault,
        pepper: bytes,
        throttles: Throttles,
        notices: Notices,
    ) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault
        self._pepper = pepper
        self._throttles = throttles
        self._notices = notices

    # ── set up ──────────────────────────────────────────────────────────────────────────────────
    async def state(self, user_id: str) -> FactorState:
        """Whether the factor is on."""
        return await self._store.read(state_of, user_id)

    async def begin(self, identity: Identity) -> TotpSetup:
        """The secret to be set up: a new one, or the one that this login was shown already.

        Another login's is not shown, and not taken: whoever had seen it there would have the
        factor, too. Raises Conflict ``second_factor_on`` when there is one that counts.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> bytes:
            found = rows.find_totp(conn, identity.user_id)
            if found is not None and found.confirmed_us is not None:
                raise _is_on()
            if found is not None and _is_shown_to(found, identity, now_us):
                return bytes.fromhex(self._vault.open(found.secret_sealed))
            secret = totp.mint_secret()
            rows.replace_totp(
                conn,
                identity.user_id,
                secret_sealed=self._vault.seal(secret.hex()),
                created_us=now_us,
                confirmed_us=None,
                session_id=identity.session_id,
                used_step=0,
            )
            return secret

        secret = await self._store.write(transaction)
        return TotpSetup(totp.setup_uri(secret, identity.email), totp.secret_text(secret))

    async def switch_on(self, identity: Identity, code: str, caller: Caller) -> tuple[str, ...]:
        """Let the factor count, now that a code shows that the app has the secret.

        The recovery codes that it returns are kept nowhere. Raises LoginFailed
        ``invalid_mfa_code``, Conflict ``second_factor_on``, RateLimited.
        """
        self._throttles.count(limits.CODE_BY_USER, identity.session_id)
        codes, now_us = recovery_codes.mint_codes(), self._clock.now_us()

        def transaction(conn: Connection) -> bool:
            found = rows.find_totp(conn, identity.user_id)
            if found is not None and found.confirmed_us is not None:
                raise _is_on()
            if found is None or not _is_shown_to(found, identity, now_us):
                return False
            if not self._use_totp(conn, found, code, now_us):
                return False
            rows.confirm_totp(conn, identity.user_id, now_us=now_us)
            self._insert_codes(conn, identity.user_id, codes, now_us)
            _record(conn, identity, caller, "factor.totp_on", now_us)
            return True

        if not await self._store.write(transaction):
            raise wrong_code()
        self._throttles.forgive(limits.CODE_BY_USER, identity.session_id)
        self._notices.tell(identity.email, "totp_on", caller)
        return codes

    async def switch_off(self, identity: Identity, caller: Caller) -> None:
        """Ask for no code any more, and forget the recovery codes. Also ends a setting up."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> bool:
            was_on = state_of(conn, identity.user_id).is_on
            forget(conn, identity.user_id)
            if was_on:
                _record(conn, identity, caller, "factor.totp_off", now_us)
            return was_on

        if await self._store.write(transaction):
            self._notices.tell(identity.email, "totp_off", caller)

    async def renew_codes(self, identity: Identity, caller: Caller) -> tuple[str, ...]:
        """Ten new recovery codes; the old ones work no more. Raises Conflict."""
        codes, now_us = recovery_codes.mint_codes(), self._clock.now_us()

        def transaction(conn: Connection) -> None:
            if not state_of(conn, identity.user_id).is_on:
                raise Conflict(
                    "Codes from an app are off. Set them up first.", code="second_factor_off"
                )
            self._insert_codes(conn, identity.user_id, codes, now_us)
            _record(conn, identity, caller, "factor.codes_renewed", now_us)

        await self._store.write(transaction)
        self._notices.tell(identity.email, "codes_renewed", caller)
        return codes

    # ── use ─────────────────────────────────────────────────────────────────────────────────────
    def use(self, conn: Connection, user_id: str, typed: str, now_us: int) -> str | None:
        """Use a code up inside the caller's transaction: which kind it was, or None if wrong."""
        found = rows.find_totp(conn, user_id)
        if found is None or found.confirmed_us is None or len(typed) > CODE_CHARS_MAX:
            return None
        if self._use_totp(conn, found, typed, now_us):
            return APP
        code = recovery_codes.read_code(typed)
        if code is None:
            return None
        code_hash = recovery_codes.hash_code(user_id, code, self._pepper)
        return RECOVERY if rows.use_code(conn, user_id, code_hash, now_us=now_us) else None

    def _use_totp(self, conn: Connection, found: AnyRow, typed: str, now_us: int) -> bool:
        code = "".join(typed.split())
        if len(code) != totp.DIGITS or not (code.isascii() and code.isdecimal()):
            return False
        secret = bytes.fromhex(self._vault.open(found.secret_sealed))
        step = totp.find_step(secret, code, now_us // SECOND_US)
        return step is not None and rows.use_step(conn, found.user_id, step)

    def _insert_codes(
        self, conn: Connection, user_id: str, codes: tuple[str, ...], now_us: int
    ) -> None:
        bare = (recovery_codes.bare(code) for code in codes)
        hashes = [recovery_codes.hash_code(user_id, code, self._pepper) for code in bare]
        rows.insert_codes(conn, user_id, hashes, now_us=now_us)


def _is_shown_to(found: AnyRow, identity: Identity, now_us: int) -> bool:
    """Whether a secret that does not count yet was shown to this login, and not long ago."""
    is_young = now_us - found.created_us < SETUP_MINUTES * MINUTE_US
    return is_young and bool(found.session_id == identity.session_id)


def state_of(conn: Connection, user_id: str) -> FactorState:
    """Whether a user's login asks for a code, inside the caller's transaction."""
    found = rows.find_totp(conn, user_id)
    if found is None or found.confirmed_us is None:
        return FactorState()
    return FactorState(found.confirmed_us, rows.count_codes(conn, user_id))


def forget(conn: Connection, user_id: str) -> None:
    """Take a user's app and recovery codes away, inside the caller's transaction."""
    rows.delete_totp(conn, user_id)
    rows.delete_codes(conn, user_id)


def wrong_code() -> LoginFailed:
    """The refusal of any code that is not right: wrong, used before, too old, or no code at all."""
    return LoginFailed(
        "That code is not right, or was used before. Take the one that your app shows now, or a "
        "recovery code.",
        code="invalid_mfa_code",
        param="code",
    )


def _is_on() -> Conflict:
    return Conflict(
        "Codes from an app are on already. Switch them off first, to set up another app.",
        code="second_factor_on",
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
