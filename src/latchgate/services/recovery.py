"""After a crash: post what the dead process's journal holds, and give back what it had leased.

Each epoch is settled in one transaction, so that a crash inside the recovery changes nothing and
the next one begins again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latchgate.storage.charges import post_calls, post_interrupted
from latchgate.storage.journal_file import CloseRecord, OpenRecord, scan
from latchgate.storage.leases import end_epoch, list_open_epochs

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found of one dead epoch."""

    epoch_id: str
    calls_posted: int
    calls_interrupted: int


def recover(conn: Connection, *, journal_folder: Path, now_us: int) -> list[Recovered]:
    """Settle every epoch that has not ended. Only for a process that holds the data directory."""
    return [
        _settle_epoch(conn, epoch_id, offset, journal_folder, now_us)
        for epoch_id, offset in list_open_epochs(conn)
    ]


def _settle_epoch(
    conn: Connection, epoch_id: str, offset: int, journal_folder: Path, now_us: int
) -> Recovered:
    opened: dict[str, OpenRecord] = {}
    unposted: list[CloseRecord] = []
    end = offset
    # Opens are read from the very start: a call may have begun long before the last posted one.
    for behind, record in scan(journal_folder, epoch_id):
        match record:
            case OpenRecord():
                opened[record.request_id] = record
            case CloseRecord():
                opened.pop(record.request_id, None)
                if behind > offset:
                    unposted.append(record)
                    end = behind
    post_calls(conn, unposted, epoch_id=epoch_id, from_offset=offset, to_offset=end, now_us=now_us)
    post_interrupted(conn, list(opened.values()), now_us=now_us)
    end_epoch(conn, epoch_id=epoch_id, now_us=now_us)
    return Recovered(epoch_id, len(unposted), len(opened))
