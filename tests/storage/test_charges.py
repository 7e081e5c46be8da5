"""Guards posting: a batch of ended calls becomes rows once, in full, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy.exc import IntegrityError

from latchgate.domain.windows import Window
from latchgate.services.audit import audit
from latchgate.storage.charges import post_calls, post_interrupted
from latchgate.storage.journal_file import CloseRecord
from latchgate.storage.leases import open_epoch, take_lease
from tests.storage.bank import ACCOUNT, EPOCH, NOW_US, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
OTHER = "acct_other"


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit, of which its epoch has leased 600."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        await _lease(opened, opened.credit, 600)
        yield opened


async def _lease(bank: Bank, window: Window, amount_nanos: int, epoch_id: str = EPOCH) -> None:
    taken = await bank.store.write(
        take_lease,
        epoch_id=epoch_id,
        window=window,
        wanted_nanos=amount_nanos,
        needed_nanos=amount_nanos,
    )
    assert taken == amount_nanos


async def _post(
    bank: Bank, *records: CloseRecord, from_offset: int = 0, to_offset: int = 10
) -> dict[Window, tuple[int, int]]:
    """Post a batch; what each window is told to have spent, of its lease and beside it."""
    spent = await bank.store.write(
        post_calls,
        records,
        epoch_id=EPOCH,
        from_offset=from_offset,
        to_offset=to_offset,
        now_us=NOW_US + 100,
    )
    return {window: (told.leased_nanos, told.beside_nanos) for window, told in spent.items()}


async def _postings(bank: Bank) -> Sequence[object]:
    rows = await bank.rows(
        "SELECT kind, account_id, amount_nanos, actor, note, created_us FROM postings"
        " WHERE kind IN ('usage', 'overrun') ORDER BY kind DESC, account_id"
    )
    return [tuple(row) for row in rows]


async def _balances(bank: Bank) -> dict[str, int]:
    rows = await bank.rows("SELECT id, balance_nanos FROM ledger_accounts WHERE balance_nanos <> 0")
    return {row.id: row.balance_nanos for row in rows}


# ── what is posted ──────────────────────────────────────────────────────────────────────────────
async def test_a_batch_is_one_posting_and_an_event_for_each_call(bank: Bank) -> None:
    records = [bank.closed(nanos, bank.credit) for nanos in (100, 0, 30)]
    assert await _post(bank, *records) == {bank.credit: (130, 0)}
    at_us = NOW_US + 100
    assert await _postings(bank) == [("usage", ACCOUNT, -130, "gateway", "2 calls", at_us)]
    customer = f"customer:{ACCOUNT}"
    assert await _balances(bank) == {"funding": -1000, customer: 870, "revenue": 130}
    assert await bank.figures() == Figures(1000, 130, 470, 1000)
    assert await bank.leased_nanos() == 470
    assert await bank.rows("SELECT journal_offset FROM epochs") == [(10,)]
    posting_id = (await bank.rows("SELECT id FROM postings WHERE kind = 'usage'"))[0][0]
    assert posting_id.startswith("pst_")
    events = await bank.rows("SELECT * FROM usage_events ORDER BY request_id")
    assert [row.charge_nanos for row in events] == [100, 0, 30]
    assert [row.posting_id for row in events] == [posting_id, None, posting_id]


async def test_an_event_says_all_that_the_record_says(bank: Bank) -> None:
    record = bank.closed(
        100,
        bank.credit,
        request_id="req_full",
        app="some app",
        hold_nanos=555,
        is_stream=True,
        ip="192.0.2.7",
        outcome="cut",
        counted_by="gateway",
        http_status=207,
        first_byte_us=None,
        overrun_nanos=11,
    )
    await _post(bank, record)
    (row,) = await bank.rows("SELECT * FROM usage_events")
    for name in CloseRecord.__struct_fields__:
        if name != "windows":
            assert getattr(row, name) == getattr(record, name), name


async def test_each_account_pays_its_own_calls_only(bank: Bank) -> None:
    theirs = await bank.add_account(OTHER, 700)
    await _lease(bank, theirs, 300)
    key = f"key_{OTHER}"
    records = [
        bank.closed(100, bank.credit),
        bank.closed(20, theirs, account_id=OTHER, api_key_id=key),
        bank.closed(3, theirs, account_id=OTHER, api_key_id=key),
    ]
    assert await _post(bank, *records) == {bank.credit: (100, 0), theirs: (23, 0)}
    at_us = NOW_US + 100
    assert await _postings(bank) == [
        ("usage", OTHER, -23, "gateway", "2 calls", at_us),
        ("usage", ACCOUNT, -100, "gateway", "1 call", at_us),
    ]
    assert await bank.figures() == Figures(1000, 100, 500, 1000)
    assert await bank.figures(theirs) == Figures(700, 23, 277, 700)
    events = await bank.rows(
        "SELECT u.account_id, p.account_id FROM usage_events u JOIN postings p"
        " ON p.id = u.posting_id"
    )
    assert all(row[0] == row[1] for row in events)


async def test_what_went_beyond_holds_is_one_posting_of_the_operators(bank: Bank) -> None:
    records = [bank.closed(50, bank.credit, overrun_nanos=nanos) for nanos in (7, 0, 5)]
    await _post(bank, *records)
    at_us = NOW_US + 100
    assert await _postings(bank) == [
        ("usage", ACCOUNT, -150, "gateway", "3 calls", at_us),
        ("overrun", None, 0, "gateway", "beyond the hold in 2 calls", at_us),
    ]
    balances = await _balances(bank)
    assert (balances["overrun"], balances["revenue"]) == (-12, 162)
    ids = await bank.rows("SELECT id FROM postings WHERE kind IN ('usage', 'overrun')")
    assert all(row.id.startswith("pst_") for row in ids)
    assert await bank.figures() == Figures(1000, 150, 450, 1000)


async def test_calls_without_a_charge_leave_no_posting_and_touch_no_window(bank: Bank) -> None:
    assert await _post(bank, bank.closed(0, bank.credit), bank.closed(0)) == {}
    assert await _postings(bank) == []
    assert await bank.figures() == Figures(1000, 0, 600, 1000)
    assert len(await bank.rows("SELECT * FROM usage_events")) == 2


async def test_an_empty_batch_only_moves_the_offset(bank: Bank) -> None:
    assert await _post(bank) == {}
    assert await bank.rows("SELECT journal_offset FROM epochs") == [(10,)]
    assert await bank.rows("SELECT * FROM usage_events") == []


# ── once, or not at all ─────────────────────────────────────────────────────────────────────────
async def test_a_batch_that_was_posted_is_not_posted_again(bank: Bank) -> None:
    record = bank.closed(100, bank.credit)
    spent = await _post(bank, record)
    assert await _post(bank, record) == spent  # as when nobody heard how it ended
    with pytest.raises(IntegrityError, match=r"usage_events\.request_id|pk_usage_events"):
        await _post(bank, record, from_offset=10, to_offset=20)
    assert await bank.figures() == Figures(1000, 100, 500, 1000)
    assert len(await _postings(bank)) == 1
    assert await bank.rows("SELECT journal_offset FROM epochs") == [(10,)]


async def test_a_batch_beyond_the_lease_changes_nothing(bank: Bank) -> None:
    with pytest.raises(IntegrityError, match=r"(?i)check constraint"):
        await _post(bank, bank.closed(300, bank.credit), bank.closed(301, bank.credit))
    assert await bank.figures() == Figures(1000, 0, 600, 1000)
    assert await bank.rows("SELECT * FROM usage_events") == []
    assert await bank.rows("SELECT journal_offset FROM epochs") == [(0,)]


async def test_another_epochs_lease_pays_nothing(bank: Bank) -> None:
    await bank.store.write(open_epoch, epoch_id="epo_other", now_us=1)
    await _lease(bank, bank.credit, 300, "epo_other")
    with pytest.raises(IntegrityError, match="ck_leases_sign"):
        await _post(bank, bank.closed(601, bank.credit))
    await _post(bank, bank.closed(600, bank.credit))
    assert await bank.leased_nanos() == 0
    assert await bank.leased_nanos(epoch_id="epo_other") == 300


@pytest.mark.parametrize("windows", [(Window("bgt_gone"),), (Window("bgt_day", 12345),)])
async def test_a_charge_to_a_window_that_is_not_there_is_refused(
    bank: Bank, windows: tuple[Window, ...]
) -> None:
    await bank.add_budget("bgt_day", 400)
    with pytest.raises(LookupError, match=r"rows for (window|2 windows)"):
        await _post(bank, bank.closed(100, bank.credit, *windows))
    assert await bank.figures() == Figures(1000, 0, 600, 1000)


async def test_a_charge_to_a_window_without_a_lease_is_refused(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 50)
    await bank.change("DELETE FROM leases WHERE budget_id = 'bgt_day'")
    with pytest.raises(LookupError, match=r"rows for (window|2 windows)"):
        await _post(bank, bank.closed(20, bank.credit, day))


# ── windows ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_call_is_spent_in_every_window_that_it_holds(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 200)
    records = [bank.closed(60, bank.credit, day), bank.closed(5, bank.credit, day)]
    assert await _post(bank, *records) == {bank.credit: (65, 0), day: (65, 0)}
    assert await bank.figures() == Figures(1000, 65, 535, 1000)
    assert await bank.figures(day) == Figures(400, 65, 135, 400)
    assert await bank.leased_nanos(day) == 135


async def test_a_call_is_spent_in_its_own_day_and_not_in_the_next(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    next_day = Window("bgt_day", day.ends_us, day.ends_us + 2000)
    await _lease(bank, day, 200)
    await _lease(bank, next_day, 90)
    assert await _post(bank, bank.closed(60, day)) == {day: (60, 0), bank.credit: (0, 60)}
    assert await bank.figures(day) == Figures(400, 60, 140, 400)
    assert await bank.figures(next_day) == Figures(400, 0, 90, 400)
    assert await bank.leased_nanos(next_day) == 90


async def test_a_call_from_before_a_limit_counts_in_it_beside_its_lease(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 10)
    before, inside = bank.closed(300, bank.credit), bank.closed(4, bank.credit, day)
    assert await _post(bank, before, inside) == {bank.credit: (304, 0), day: (4, 300)}
    assert await bank.figures(day) == Figures(400, 304, 6, 700)
    assert await bank.leased_nanos(day) == 6


async def test_a_window_that_nothing_holds_is_not_told_to_the_purse_as_spent(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 10)
    assert await _post(bank, bank.closed(300, bank.credit)) == {
        bank.credit: (300, 0),
        day: (0, 300),
    }
    assert await bank.figures(day) == Figures(400, 300, 10, 700)
    assert await bank.leased_nanos(day) == 10


@pytest.mark.parametrize(
    ("started_us", "is_inside"),
    [
        (NOW_US - 1001, False),
        (NOW_US - 1000, True),
        (NOW_US + 999, True),
        (NOW_US + 1000, False),
    ],
)
async def test_a_call_counts_in_the_window_that_ran_when_it_was_let_in(
    bank: Bank, started_us: int, *, is_inside: bool
) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 10)
    await _post(bank, bank.closed(30, bank.credit, started_us=started_us))
    spent = 30 if is_inside else 0
    assert await bank.figures(day) == Figures(400, spent, 10, 400 + spent)


async def test_an_early_call_of_a_batch_finds_its_window_beside_a_late_one(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 10)
    early = bank.closed(30, bank.credit, started_us=day.ends_us - 1)
    late = bank.closed(7, bank.credit, started_us=day.ends_us + 5)
    await _post(bank, late, early)
    assert await bank.figures(day) == Figures(400, 30, 10, 430)


async def test_a_limit_that_is_off_or_anothers_counts_nothing(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 10)
    await bank.add_account(OTHER, 700)
    theirs = await bank.add_budget("bgt_theirs", 400, account_id=OTHER)
    await _lease(bank, theirs, 10)
    await bank.change("UPDATE budgets SET active_since_us = NULL WHERE id = 'bgt_day'")
    await _post(bank, bank.closed(30, bank.credit))
    assert await bank.figures(day) == Figures(400, 0, 10, 400)
    assert await bank.figures(theirs) == Figures(400, 0, 10, 400)


async def test_the_playgrounds_calls_count_in_an_accounts_limit_and_not_in_a_keys(
    bank: Bank,
) -> None:
    playground = await bank.add_playground()
    keys = await bank.add_budget("bgt_a", 400, period="week")
    await bank.change("UPDATE budgets SET kind = 'key_limit' WHERE id = 'bgt_a'")
    days = await bank.add_budget("bgt_b", 400)
    for window in (keys, days):
        await _lease(bank, window, 10)
    by_key = [bank.closed(nanos, bank.credit) for nanos in (30, 4)]
    played = [bank.closed(nanos, bank.credit, api_key_id=playground) for nanos in (200, 1)]
    spent = await _post(bank, *by_key, *played)
    assert spent == {bank.credit: (235, 0), keys: (0, 34), days: (0, 235)}
    assert await bank.figures(keys) == Figures(400, 34, 10, 434)
    assert await bank.figures(days) == Figures(400, 235, 10, 635)


async def test_the_cheapest_call_of_a_batch_is_noted_whichever_came_first(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 100)
    # Two groups of calls: those that hold the day's window, and those that were there before it.
    held = [bank.closed(nanos, bank.credit, day, hold_nanos=nanos) for nanos in (9, 20)]
    beside = [bank.closed(nanos, bank.credit, hold_nanos=nanos) for nanos in (7, 30)]
    for number, batch in enumerate(((*held, *beside), (*beside, *held))):
        renamed = [
            structs.replace(record, request_id=f"{record.request_id}_{number}") for record in batch
        ]
        spent = await bank.store.write(
            post_calls,
            renamed,
            epoch_id=EPOCH,
            from_offset=10 * number,
            to_offset=10 * number + 10,
            now_us=NOW_US + 100,
        )
        assert {window: told.cheapest for window, told in spent.items()} == {
            bank.credit: (7, 7),
            day: (7, 7),
        }


async def test_what_is_held_is_spent_even_if_the_limit_is_off_by_now(bank: Bank) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 100)
    await bank.change("UPDATE budgets SET active_since_us = NULL WHERE id = 'bgt_day'")
    await _post(bank, bank.closed(30, bank.credit, day))
    assert await bank.figures(day) == Figures(400, 30, 70, 400)


# ── interrupted calls ───────────────────────────────────────────────────────────────────────────
async def test_an_interrupted_call_is_shown_and_costs_nothing(bank: Bank) -> None:
    record = bank.opened(is_stream=True, hold_nanos=77, ip="192.0.2.9", app="an app")
    await bank.store.write(post_interrupted, [record, bank.opened()], now_us=NOW_US + 100)
    rows = await bank.rows("SELECT * FROM usage_events ORDER BY request_id")
    assert len(rows) == 2
    told = {name: getattr(rows[0], name) for name in record.__struct_fields__}
    assert told == {name: getattr(record, name) for name in record.__struct_fields__}
    counts = ("input_tokens", "cached_tokens", "output_tokens", "charge_nanos", "overrun_nanos")
    assert {getattr(rows[0], name) for name in counts} == {0}
    ending = (rows[0].outcome, rows[0].counted_by, rows[0].http_status, rows[0].ended_us)
    assert ending == ("interrupted", "nobody", 0, NOW_US + 100)
    assert (rows[0].first_byte_us, rows[0].posting_id) == (None, None)
    assert rows[1].is_stream == 0
    assert await bank.figures() == Figures(1000, 0, 600, 1000)


async def test_no_interrupted_calls_write_nothing(bank: Bank) -> None:
    await bank.store.write(post_interrupted, [], now_us=NOW_US)
    assert await bank.rows("SELECT * FROM usage_events") == []


async def test_the_books_agree_after_every_kind_of_batch(bank: Bank, tmp_path: Path) -> None:
    day = await bank.add_budget("bgt_day", 400)
    await _lease(bank, day, 50)
    # Seven tokens in, of which three are cached, and five out at 1000 picos: 12 nano-USD.
    await bank.change(
        "UPDATE prices SET input_picos = 1000, cached_picos = 1000, output_picos = 1000"
    )
    held = bank.closed(12, bank.credit, day)
    beside = bank.closed(12, bank.credit)
    over = bank.closed(10, bank.credit, hold_nanos=10, overrun_nanos=2)
    await _post(bank, held, beside, over)
    await bank.store.write(post_interrupted, [bank.opened()], now_us=NOW_US)
    report = await bank.store.read(audit, journal_folder=tmp_path)
    assert report.findings == (f"epoch {EPOCH}: its journal {EPOCH}.journal is missing",)
