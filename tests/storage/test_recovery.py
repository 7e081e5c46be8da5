"""Guards what a start makes of a dead process's journal: each charge once, each lease back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from latchgate.services.recovery import Recovered, recover
from latchgate.storage.journal_file import Record, encode, journal_path, segment_head
from latchgate.storage.leases import open_epoch, take_lease
from tests.storage.bank import EPOCH, NOW_US, Bank, Figures, open_bank

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]
LATER_US = NOW_US + 5_000_000
OTHER = "epo_tess"  # behind EPOCH in the alphabet, and before it in time


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    """An account with 1000 nano-USD of credit, of which its epoch has leased 600."""
    async with open_bank(tmp_path, credit_nanos=1000) as opened:
        await _lease(opened, EPOCH)
        yield opened


async def _lease(bank: Bank, epoch_id: str, nanos: int = 600) -> None:
    await bank.store.write(
        take_lease, epoch_id=epoch_id, window=bank.credit, wanted_nanos=nanos, needed_nanos=nanos
    )


def _write(folder: Path, *records: Record, epoch_id: str = EPOCH) -> list[int]:
    """A journal of these records; the offset behind each."""
    offsets, data = [], b""
    for record in records:
        data += encode(record)
        offsets.append(len(data))
    journal_path(folder, epoch_id).write_bytes(segment_head(0) + data)
    return offsets


async def _recover(bank: Bank, folder: Path) -> list[Recovered]:
    return await bank.store.write(recover, journal_folder=folder, now_us=LATER_US)


async def _events(bank: Bank) -> dict[str, tuple[Any, ...]]:
    rows = await bank.rows("SELECT request_id, outcome, charge_nanos, ended_us FROM usage_events")
    return {row[0]: tuple(row[1:]) for row in rows}


async def _epoch(bank: Bank, epoch_id: str = EPOCH) -> tuple[int, int | None]:
    (row,) = await bank.rows("SELECT * FROM epochs WHERE id = :id", id=epoch_id)
    return row.journal_offset, row.ended_us


async def test_ended_calls_are_posted_and_running_ones_shown_as_interrupted(
    bank: Bank, tmp_path: Path
) -> None:
    first = bank.closed(100, bank.credit)
    second = bank.closed(30, bank.credit)
    hung = bank.opened(request_id="req_hung")
    offsets = _write(
        tmp_path,
        bank.opened(request_id=first.request_id),
        first,
        hung,
        bank.opened(request_id=second.request_id),
        second,
        bank.opened(request_id="req_late"),
    )
    assert await _recover(bank, tmp_path) == [Recovered(EPOCH, 2, 2)]
    assert await _events(bank) == {
        first.request_id: ("answered", 100, NOW_US + 2),
        second.request_id: ("answered", 30, NOW_US + 2),
        "req_hung": ("interrupted", 0, LATER_US),
        "req_late": ("interrupted", 0, LATER_US),
    }
    assert await bank.figures() == Figures(1000, 130, 0, 1000)
    assert await bank.leased_nanos() is None
    assert await _epoch(bank) == (offsets[4], LATER_US)
    (posting,) = await bank.rows("SELECT * FROM postings WHERE kind = 'usage'")
    assert (posting.amount_nanos, posting.created_us) == (-130, LATER_US)


async def test_what_is_posted_already_is_not_posted_again(bank: Bank, tmp_path: Path) -> None:
    posted = bank.closed(100, bank.credit)
    rest = bank.closed(30, bank.credit)
    offsets = _write(tmp_path, bank.opened(request_id="req_old"), posted, rest)
    await bank.change(
        "UPDATE epochs SET journal_offset = :offset WHERE id = :id", offset=offsets[1], id=EPOCH
    )
    assert await _recover(bank, tmp_path) == [Recovered(EPOCH, 1, 1)]
    assert (await _events(bank)).keys() == {rest.request_id, "req_old"}
    assert await bank.figures() == Figures(1000, 30, 0, 1000)
    assert await _epoch(bank) == (offsets[2], LATER_US)


async def test_an_epoch_without_a_record_only_ends(bank: Bank, tmp_path: Path) -> None:
    assert await _recover(bank, tmp_path) == [Recovered(EPOCH, 0, 0)]
    assert await _events(bank) == {}
    assert await bank.figures() == Figures(1000, 0, 0, 1000)
    assert await _epoch(bank) == (0, LATER_US)


async def test_every_dead_epoch_is_settled_from_its_own_journal_and_none_twice(
    bank: Bank, tmp_path: Path
) -> None:
    await bank.store.write(open_epoch, epoch_id=OTHER, now_us=NOW_US - 10)
    await _lease(bank, OTHER, 50)
    mine, theirs = bank.closed(100, bank.credit), bank.closed(7, bank.credit)
    _write(tmp_path, mine)
    _write(tmp_path, theirs, bank.opened(request_id="req_hung"), epoch_id=OTHER)
    assert await _recover(bank, tmp_path) == [Recovered(OTHER, 1, 1), Recovered(EPOCH, 1, 0)]
    assert await bank.figures() == Figures(1000, 107, 0, 1000)
    assert await _recover(bank, tmp_path) == []
    assert await bank.figures() == Figures(1000, 107, 0, 1000)
    assert await bank.rows("SELECT * FROM leases") == []


async def test_what_was_cut_off_by_the_crash_is_no_record(bank: Bank, tmp_path: Path) -> None:
    whole = bank.closed(100, bank.credit)
    (end,) = _write(tmp_path, whole)
    with journal_path(tmp_path, EPOCH).open("ab") as file:
        file.write(encode(bank.closed(30, bank.credit))[:-1])
    assert await _recover(bank, tmp_path) == [Recovered(EPOCH, 1, 0)]
    assert await bank.figures() == Figures(1000, 100, 0, 1000)
    assert await _epoch(bank) == (end, LATER_US)
