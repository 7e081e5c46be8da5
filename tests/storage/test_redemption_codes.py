"""Guards that a code gives its credit once, whoever asks at once, and says why it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from latchgate.clock import DAY_US, HOUR_US
from latchgate.domain.errors import Conflict, InvalidRequest, LatchgateError, NotFound, RateLimited
from latchgate.domain.people import Caller
from latchgate.domain.redemption_codes import mint_code
from latchgate.services.audit import audit
from latchgate.services.billing import PostingView
from latchgate.services.redemption_codes import RedemptionCodes
from latchgate.services.throttles import Throttles
from latchgate.storage.leases import end_epoch
from latchgate.storage.store import Store
from tests.storage.bank import ACCOUNT, EPOCH, NOW_US, Bank, open_bank
from tests.support import gateway

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
USD = 1_000_000_000
OTHER = "acct_other"
OPERATOR, OWNER = Caller("cli"), Caller("usr_ada", "10.0.0.1")


@dataclass
class SetClock:
    """A clock that a test moves."""

    at_us: int = NOW_US

    def now_us(self) -> int:
        return self.at_us


@dataclass
class Desk:
    """The service over a bank, and its clock."""

    bank: Bank
    clock: SetClock
    codes: RedemptionCodes
    told: list[str]

    async def redeem(self, code: str, account_id: str = ACCOUNT) -> PostingView:
        return await self.codes.redeem(account_id, code, OWNER)

    async def credit(self, account_id: str = ACCOUNT) -> int:
        (row,) = await self.bank.rows(
            "SELECT w.limit_nanos FROM budgets b JOIN budget_windows w ON w.budget_id = b.id"
            " WHERE b.account_id = :id",
            id=account_id,
        )
        return int(row[0])

    async def findings(self, folder: Path) -> tuple[str, ...]:
        return (await self.bank.store.read(audit, journal_folder=folder)).findings


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_bank(tmp_path) as bank:
        await bank.add_account(OTHER, 0)
        clock, told = SetClock(), list[str]()
        codes = RedemptionCodes(
            bank.store, clock, b"p" * 32, Throttles(clock), lambda: told.append("credit")
        )
        yield Desk(bank, clock, codes, told)


async def test_a_code_gives_its_amount_and_says_where_it_came_from(
    desk: Desk, tmp_path: Path
) -> None:
    made = await desk.codes.create(5 * USD, 3, note="Spring fair", caller=OPERATOR)
    before = await desk.credit()
    posting = await desk.redeem(made.codes[1].lower().replace("-", " "))
    assert (posting.kind, posting.amount_nanos) == ("redemption", 5 * USD)
    assert (posting.note, posting.actor) == ("Spring fair", "usr_ada")
    assert await desk.credit() == before + 5 * USD
    assert desk.told == ["credit"]
    ((view,), following) = await desk.codes.list_batches()
    assert (view.codes, view.redeemed, following) == (3, 1, None)
    rows = await desk.bank.rows("SELECT number FROM redemption_codes WHERE redeemed_us IS NOT NULL")
    assert [row.number for row in rows] == [2]
    assert await desk.findings(tmp_path) == ()


async def test_twenty_who_redeem_one_code_at_once_credit_it_once(
    desk: Desk, tmp_path: Path
) -> None:
    (code,) = (await desk.codes.create(5 * USD, 1, caller=OPERATOR)).codes
    before = await desk.credit() + await desk.credit(OTHER)
    accounts = (ACCOUNT, OTHER)
    done = await asyncio.gather(
        *(desk.redeem(code, accounts[number % 2]) for number in range(20)), return_exceptions=True
    )
    won = [found for found in done if isinstance(found, PostingView)]
    lost = [found.code for found in done if isinstance(found, LatchgateError)]
    assert (len(won), lost) == (1, ["code_used"] * 19)
    assert await desk.credit() + await desk.credit(OTHER) == before + 5 * USD
    assert await desk.findings(tmp_path) == ()


async def test_two_processes_that_redeem_one_code_at_once_credit_it_once(
    desk: Desk, tmp_path: Path
) -> None:
    """Each has a connection of its own, which only the database holds apart."""
    url = gateway.default_database_url()
    stores = [Store(tmp_path / "latchgate.db", url) for _ in range(4)]
    try:
        desks = [
            RedemptionCodes(store, desk.clock, b"p" * 32, Throttles(desk.clock), lambda: None)
            for store in stores
        ]
        for _ in range(5):
            (code,) = (await desk.codes.create(USD, 1, caller=OPERATOR)).codes
            before = await desk.credit()
            done = await asyncio.gather(
                *(one.redeem(ACCOUNT, code, OWNER) for one in desks), return_exceptions=True
            )
            assert [type(found) for found in done].count(PostingView) == 1
            assert await desk.credit() == before + USD
    finally:
        for store in stores:
            store.close()
    assert await desk.findings(tmp_path) == ()


async def test_what_is_wrong_with_a_code_is_said(desk: Desk) -> None:
    made = await desk.codes.create(USD, 2, expires_us=NOW_US + DAY_US, caller=OPERATOR)
    first, second = made.codes
    await desk.redeem(first)
    with pytest.raises(Conflict, match=r"You have redeemed this code already: its \$1.00") as again:
        await desk.redeem(first)
    with pytest.raises(Conflict, match="This code was used before") as others:
        await desk.redeem(first, OTHER)
    assert (again.value.code, others.value.code) == ("code_used", "code_used")
    mistyped = ("2" if second[0] == "1" else "1") + second[1:]
    with pytest.raises(InvalidRequest, match="wrong or missing") as typo:
        await desk.redeem(mistyped)
    with pytest.raises(InvalidRequest, match="no such code") as unknown:
        await desk.redeem(mint_code())
    assert (typo.value.code, unknown.value.code) == ("invalid_code", "invalid_code")
    desk.clock.at_us += DAY_US
    with pytest.raises(Conflict, match="expired") as late:
        await desk.redeem(second)
    assert late.value.code == "code_expired"
    assert await desk.credit(OTHER) == 0


async def test_a_code_is_good_up_to_its_last_moment(desk: Desk) -> None:
    (code,) = (await desk.codes.create(USD, 1, expires_us=NOW_US + DAY_US, caller=OPERATOR)).codes
    desk.clock.at_us += DAY_US - 1
    assert (await desk.redeem(code)).amount_nanos == USD


async def test_a_withdrawn_batch_keeps_what_was_redeemed_and_gives_no_more(desk: Desk) -> None:
    made = await desk.codes.create(USD, 2, caller=OPERATOR)
    await desk.redeem(made.codes[0])
    view = await desk.codes.withdraw(made.view.id, OPERATOR)
    assert (view.redeemed, view.withdrawn_us) == (1, NOW_US)
    desk.clock.at_us += 1
    assert (await desk.codes.withdraw(made.view.id, OPERATOR)).withdrawn_us == NOW_US
    with pytest.raises(Conflict) as refused:
        await desk.redeem(made.codes[1])
    assert refused.value.code == "code_withdrawn"
    with pytest.raises(NotFound):
        await desk.codes.withdraw("cbt_00000000000000000000000000", OPERATOR)


async def test_guesses_are_counted_and_typing_mistakes_are_not(desk: Desk) -> None:
    (code,) = (await desk.codes.create(USD, 1, caller=OPERATOR)).codes
    for _ in range(40):
        with pytest.raises(InvalidRequest):
            await desk.redeem("0000-0000-0000-0000-0001")
    for _ in range(20):
        with pytest.raises(InvalidRequest):
            await desk.redeem(mint_code())
    with pytest.raises(RateLimited):
        await desk.redeem(code)
    desk.clock.at_us += HOUR_US
    assert (await desk.redeem(code)).amount_nanos == USD


@pytest.mark.parametrize(
    ("amount", "number", "expires_us", "param"),
    [
        (0, 1, None, "amount"),
        (-1, 1, None, "amount"),
        (10_000 * USD + 1, 1, None, "amount"),
        (USD, 0, None, "codes"),
        (USD, 10_001, None, "codes"),
        (USD, 1, NOW_US, "expires"),
        (USD, 1, NOW_US + 3661 * DAY_US, "expires"),
    ],
)
async def test_a_batch_that_cannot_be_is_refused(
    desk: Desk, amount: int, number: int, expires_us: int | None, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await desk.codes.create(amount, number, expires_us=expires_us, caller=OPERATOR)
    assert refused.value.param == param
    assert (await desk.codes.list_batches()) == ([], None)


async def test_no_code_is_kept_as_it_is(desk: Desk, tmp_path: Path) -> None:
    made = await desk.codes.create(USD, 50, caller=OPERATOR)
    await desk.redeem(made.codes[0])
    assert made.codes[0] not in repr(made)
    for table in ("redemption_codes", "code_batches", "postings", "audit_events"):
        kept = str(await desk.bank.rows(f"SELECT * FROM {table}"))
        for code in made.codes:
            assert code not in kept
            assert code.replace("-", "") not in kept


async def test_batches_are_paged_newest_first(desk: Desk) -> None:
    ids = []
    for _ in range(5):
        desk.clock.at_us += 1000
        ids.append((await desk.codes.create(USD, 1, caller=OPERATOR)).view.id)
    seen: list[str] = []
    before = None
    while True:
        page, before = await desk.codes.list_batches(before=before, limit=2)
        seen += [view.id for view in page]
        if before is None:
            break
    assert seen == ids[::-1]


#: What is spoiled, and what the audit must say of it.
SPOILED = {
    "UPDATE code_batches SET amount_nanos = amount_nanos + 1": "code 1 of batch cbt_",
    "UPDATE redemption_codes SET account_id = 'acct_other' WHERE number = 1": "code 1 of batch",
    "UPDATE redemption_codes SET redeemed_us = NULL, account_id = NULL, posting_id = NULL": (
        "is of a redeemed code, and 0 codes have it"
    ),
    "UPDATE postings SET kind = 'gift' WHERE kind = 'redemption'": "code 1 of batch cbt_",
    "DELETE FROM redemption_codes WHERE number = 2": "has 1 codes, and should have 2",
}


@pytest.mark.parametrize("statement", SPOILED)
async def test_the_audit_finds_codes_that_were_tampered_with(
    desk: Desk, tmp_path: Path, statement: str
) -> None:
    made = await desk.codes.create(USD, 2, caller=OPERATOR)
    await desk.redeem(made.codes[0])
    assert await desk.findings(tmp_path) == ()

    def spoil(conn: Connection) -> tuple[str, ...]:
        assert conn.execute(text(statement)).rowcount > 0
        return audit(conn, journal_folder=tmp_path).findings

    await desk.bank.store.write(end_epoch, epoch_id=EPOCH, now_us=NOW_US)
    assert any(SPOILED[statement] in found for found in await desk.bank.store.write(spoil))
