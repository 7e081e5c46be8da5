"""Redemption codes: made in batches by the operator, redeemed for credit by an account's owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.clock import DAY_US, HOUR_US
from latchgate.domain.errors import Conflict, InvalidRequest, NotFound
from latchgate.domain.ids import new_id
from latchgate.domain.money import NANOS_PER_USD, format_usd
from latchgate.domain.redemption_codes import mint_code, read_code
from latchgate.domain.secrets import digest
from latchgate.services.audit_log import record
from latchgate.services.billing import PostingView, check_note, check_page
from latchgate.services.throttles import Limit
from latchgate.storage import redemption_codes as rows
from latchgate.storage.ledger import post_credit

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.services.throttles import Throttles
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store

CODES_MAX = 10_000
CODE_NANOS_MAX = 10_000 * NANOS_PER_USD
VALID_DAYS_MAX = 3660
#: Codes that are well spelt and no good, of one account and from one place. Nobody guesses 90 bits;
#: this keeps those who try from costing anything.
REDEEM_BY_ACCOUNT = Limit(20, HOUR_US)
REDEEM_BY_PLACE = Limit(60, HOUR_US)


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch of codes; the codes themselves are nowhere."""

    id: str
    amount_nanos: int
    codes: int
    redeemed: int
    expires_us: int | None
    withdrawn_us: int | None
    note: str
    created_us: int
    actor: str


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch just made; its codes are in one answer and nowhere else."""

    view: BatchView
    codes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"NewBatch({self.view.id})"


class RedemptionCodes:
    """Use cases over codes, one transaction each."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        pepper: bytes,
        throttles: Throttles,
        on_credit: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._pepper = pepper
        self._throttles = throttles
        self._on_credit = on_credit

    async def create(
        self,
        amount_nanos: int,
        codes: int,
        *,
        caller: Caller,
        expires_us: int | None = None,
        note: str = "",
        batch_id: str | None = None,
    ) -> NewBatch:
        """Make a batch of codes, each worth ``amount_nanos``.

        The same ``batch_id`` makes one batch. Raises InvalidRequest, or Conflict
        ``already_created``, since its codes are shown once.
        """
        now_us = self._clock.now_us()
        _check_terms(amount_nanos, codes, expires_us, now_us)
        check_note(note)
        minted = tuple(mint_code() for _ in range(codes))
        batch_id = batch_id or new_id("cbt", now_us)
        row = {
            "id": batch_id,
            "amount_nanos": amount_nanos,
            "codes": codes,
            "expires_us": expires_us,
            "withdrawn_us": None,
            "note": note,
            "created_us": now_us,
            "actor": caller.actor,
        }
        hashes = [self._hash(code) for code in minted]

        def transaction(conn: Connection) -> None:
            if rows.find_batch(conn, batch_id) is not None:
                raise Conflict(
                    f"These codes were made already, as the batch {batch_id}, and they are shown "
                    "once. If they are lost, withdraw that batch and make another.",
                    code="already_created",
                )
            rows.insert_batch(conn, hashes, **row)
            details: dict[str, object] = {"amount_nanos": amount_nanos, "codes": codes}
            self._record(conn, now_us, None, caller, "code.create", batch_id, details)

        await self._store.write(transaction)
        view = BatchView(
            batch_id, amount_nanos, codes, 0, expires_us, None, note, now_us, caller.actor
        )
        return NewBatch(view, minted)

    async def redeem(self, account_id: str, typed: str, caller: Caller) -> PostingView:
        """Use a code up for credit, once and for one account.

        Raises InvalidRequest ``invalid_code`` for a mistyped or unknown one, Conflict
        ``code_used``, ``code_expired`` or ``code_withdrawn``, and RateLimited.
        """
        code = read_code(typed)
        if code is None:
            raise InvalidRequest(
                "That is not a code: a letter or a digit of it is wrong or missing. Check it "
                "against the original; it has twenty, in groups of four.",
                code="invalid_code",
                param="code",
            )
        self._throttles.count(REDEEM_BY_PLACE, caller.ip)
        self._throttles.count(REDEEM_BY_ACCOUNT, account_id)
        code_hash, now_us = self._hash(code), self._clock.now_us()
        posting_id = new_id("pst", now_us)

        def transaction(conn: Connection) -> PostingView:
            found = _usable(rows.find_code(conn, code_hash), account_id, now_us)
            credit = {"amount_nanos": found.amount_nanos, "kind": "redemption", "note": found.note}
            post_credit(
                conn,
                account_id=account_id,
                actor=caller.actor,
                now_us=now_us,
                posting_id=posting_id,
                **credit,
            )
            is_mine = rows.claim_code(
                conn, code_hash, account_id=account_id, posting_id=posting_id, now_us=now_us
            )
            if not is_mine:
                raise _used()  # the posting is undone with it
            details: dict[str, object] = {
                "amount_nanos": found.amount_nanos,
                "batch": found.batch_id,
                "number": found.number,
            }
            self._record(conn, now_us, account_id, caller, "code.redeem", posting_id, details)
            return PostingView(id=posting_id, created_us=now_us, actor=caller.actor, **credit)

        posting = await self._store.write(transaction)
        self._throttles.forgive(REDEEM_BY_ACCOUNT, account_id)
        self._on_credit()
        return posting

    async def withdraw(self, batch_id: str, caller: Caller) -> BatchView:
        """Let the rest of a batch be worth nothing; what was redeemed stays. Raises NotFound."""
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> BatchView:
            if _view(rows.find_batch(conn, batch_id)).withdrawn_us is None:
                rows.withdraw_batch(conn, batch_id, now_us=now_us)
                self._record(conn, now_us, None, caller, "code.withdraw", batch_id, {})
            return _view(rows.find_batch(conn, batch_id))

        return await self._store.write(transaction)

    async def get_batch(self, batch_id: str) -> BatchView:
        """One batch. Raises NotFound."""
        return _view(await self._store.read(rows.find_batch, batch_id))

    async def list_batches(
        self, *, before: str | None = None, limit: int = 50
    ) -> tuple[list[BatchView], str | None]:
        """A page of batches, newest first, and the cursor of the next page, if there is one."""
        check_page(before, limit)
        found = await self._store.read(rows.list_batches, before=before, limit=limit + 1)
        page = [_view(row) for row in found[:limit]]
        return page, page[-1].id if len(found) > limit else None

    def _hash(self, code: str) -> bytes:
        return digest(f"redemption code {read_code(code)}", self._pepper)

    def _record(
        self,
        conn: Connection,
        at_us: int,
        account_id: str | None,
        caller: Caller,
        action: str,
        target: str,
        details: dict[str, object],
    ) -> None:
        record(
            conn,
            at_us=at_us,
            account_id=account_id,
            caller=caller,
            action=action,
            target=target,
            details=details,
        )


def _check_terms(amount_nanos: int, codes: int, expires_us: int | None, now_us: int) -> None:
    if not 0 < amount_nanos <= CODE_NANOS_MAX:
        raise InvalidRequest(
            f"A code is worth more than 0 and at most {format_usd(CODE_NANOS_MAX)} US dollars.",
            param="amount",
        )
    if not 0 < codes <= CODES_MAX:
        raise InvalidRequest(f"A batch has 1 to {CODES_MAX} codes.", param="codes")
    if expires_us is not None and not now_us < expires_us <= now_us + VALID_DAYS_MAX * DAY_US:
        raise InvalidRequest("Codes expire on a day of the next ten years.", param="expires")


def _usable(found: AnyRow | None, account_id: str, now_us: int) -> AnyRow:
    """A code that gives credit now; each other one says why not."""
    if found is None:
        raise InvalidRequest(
            "There is no such code here. Check it against the original, and that it is for this "
            "site.",
            code="invalid_code",
            param="code",
        )
    if found.redeemed_us is not None:
        raise _used(found.amount_nanos if found.account_id == account_id else None)
    if found.withdrawn_us is not None:
        raise Conflict(
            "This code was withdrawn. Ask whoever gave it to you.",
            code="code_withdrawn",
            param="code",
        )
    if found.expires_us is not None and found.expires_us <= now_us:
        raise Conflict(
            "This code has expired. Ask whoever gave it to you for another.",
            code="code_expired",
            param="code",
        )
    return found


def _used(mine_nanos: int | None = None) -> Conflict:
    sentence = "This code was used before. Each gives credit once."
    if mine_nanos is not None:
        sentence = (
            f"You have redeemed this code already: its ${format_usd(mine_nanos)} are among your "
            "postings below."
        )
    return Conflict(sentence, code="code_used", param="code")


def _view(row: AnyRow | None) -> BatchView:
    if row is None:
        raise NotFound("There is no such batch of codes. latchgate code list shows all.")
    return BatchView(
        id=row.id,
        amount_nanos=row.amount_nanos,
        codes=row.codes,
        redeemed=row.redeemed,
        expires_us=row.expires_us,
        withdrawn_us=row.withdrawn_us,
        note=row.note,
        created_us=row.created_us,
        actor=row.actor,
    )
