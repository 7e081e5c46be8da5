"""A journal's segment: room ahead of what is written, which readers never take for records."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from latchgate.gateway import segment as segments
from latchgate.gateway.segment import RESERVED_BYTES_MIN, begin_segment
from latchgate.storage.journal_file import OpenRecord, encode, journal_path, scan, segment_head

EPOCH = "epo_1"
HEAD_BYTES = len(segment_head(0))


def record(number: int) -> OpenRecord:
    """One of many."""
    return OpenRecord(f"req_{number}", "acct", "key", "prc", "m", "app", 10, False, 1, "127.0.0.1")


def records_of(folder: Path) -> list[str]:
    """Whose calls a reader finds."""
    return [found.request_id for _, found in scan(folder, EPOCH)]


def size_of(folder: Path) -> int:
    """How long the file is."""
    return journal_path(folder, EPOCH).stat().st_size


def test_room_ahead_is_no_record_and_is_given_back_at_the_end(tmp_path: Path) -> None:
    segment = begin_segment(tmp_path, EPOCH, 0, 0)
    written = b"".join(encode(record(number)) for number in range(3))
    segment.append(written)
    segment.sync()
    assert size_of(tmp_path) == HEAD_BYTES + len(written) + RESERVED_BYTES_MIN
    # What a killed process leaves.
    assert records_of(tmp_path) == ["req_0", "req_1", "req_2"]
    segment.close()
    assert size_of(tmp_path) == HEAD_BYTES + len(written)
    assert records_of(tmp_path) == ["req_0", "req_1", "req_2"]


def test_records_go_on_within_the_room_and_behind_it(tmp_path: Path) -> None:
    segment = begin_segment(tmp_path, EPOCH, 0, 0)
    sizes = set()
    for number in range(2000):
        segment.append(encode(record(number)))
        assert segment.end <= size_of(tmp_path)
        sizes.add(size_of(tmp_path))
    # As much again each time: few lengths to make durable.
    assert len(sizes) == 2
    assert records_of(tmp_path) == [f"req_{number}" for number in range(2000)]
    segment.close()
    assert size_of(tmp_path) == HEAD_BYTES + segment.end


def test_what_is_cut_off_is_gone_with_the_room_behind_it(tmp_path: Path) -> None:
    segment = begin_segment(tmp_path, EPOCH, 0, 0)
    segment.append(encode(record(0)))
    safe = segment.end
    segment.append(encode(record(1)))
    segment.cut_off(safe)
    assert (segment.end, size_of(tmp_path)) == (safe, HEAD_BYTES + safe)
    segment.close()
    assert records_of(tmp_path) == ["req_0"]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EFBIG, errno.EOPNOTSUPP])
def test_where_no_room_can_be_reserved_records_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    asked: list[int] = []

    def refuse(_file: int, offset: int, _length: int) -> None:
        asked.append(offset)
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    segment = begin_segment(tmp_path, EPOCH, 0, 0)
    for number in range(100):
        segment.append(encode(record(number)))
        assert size_of(tmp_path) == HEAD_BYTES + segment.end
    assert asked == [HEAD_BYTES]  # not for each record
    segment.close()
    assert records_of(tmp_path) == [f"req_{number}" for number in range(100)]


def test_nothing_is_reserved_on_a_disk_that_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = list(os.statvfs(tmp_path))
    disk[1], disk[4] = 4096, 100  # the size of a block, and how many are free
    monkeypatch.setattr(os, "fstatvfs", lambda _file: os.statvfs_result(disk))
    segment = begin_segment(tmp_path, EPOCH, 0, 0)
    segment.append(encode(record(0)))
    assert size_of(tmp_path) == HEAD_BYTES + segment.end
    segment.close()


def test_a_full_segment_is_as_long_as_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES_MAX", 2000)
    segment = begin_segment(tmp_path, EPOCH, 0, 0)
    longest = 0
    while not segment.is_full:
        segment.append(encode(record(0)))
        assert size_of(tmp_path) >= longest  # a backup may have taken that for its length
        longest = size_of(tmp_path)
    segment.close()
    assert size_of(tmp_path) == longest == HEAD_BYTES + segment.end
