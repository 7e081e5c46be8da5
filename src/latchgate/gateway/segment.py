"""One file of the journal: begun so that it outlives a power cut, appended to, synced.

Room is reserved ahead of what is written. Where every record makes the file longer, each sync must
also make its new length durable, which costs about half as much again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from latchgate.storage.journal_file import journal_path, segment_head

_HEAD_BYTES = len(segment_head(0))
#: A segment that has grown so large is followed by a new one.
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
#: As much again as there is already is reserved, within these bounds,
RESERVED_BYTES_MIN, RESERVED_BYTES_MAX = 64 * 1024, 4 * 1024 * 1024
#: and nothing on a disk that has not so many times as much free: others need it too.
ROOM_FOR_OTHERS = 16


class Segment:
    """An open segment. Used from one thread; offsets count records' bytes through all segments."""

    def __init__(self, file: int, begins_at: int, size: int) -> None:
        self._file = file
        self._begins_at = begins_at
        #: What is written, the head included; and up to where room was asked for: zeros, if any.
        self._size = self._reserved = size

    @property
    def end(self) -> int:
        """The offset behind its last record."""
        return self._begins_at + self._size - _HEAD_BYTES

    @property
    def is_full(self) -> bool:
        """Whether another one should follow."""
        return self._size > SEGMENT_BYTES_MAX

    def append(self, data: bytes) -> None:
        """Write some records. Raises OSError."""
        if self._size + len(data) > self._reserved:
            self._reserve(len(data))
        _write_all(self._file, data)
        self._size += len(data)

    def _reserve(self, needed: int) -> None:
        """Reserve room, if there is plenty: without it all goes on as well, but more slowly."""
        ahead = needed + max(RESERVED_BYTES_MIN, min(self._size, RESERVED_BYTES_MAX))
        # A full segment is as long as it says: a backup sees none become shorter.
        ahead = min(ahead, SEGMENT_BYTES_MAX - self._size)
        if ahead <= needed:
            return
        self._reserved = self._size + ahead  # where there is none, not each record asks again
        with suppress(OSError):  # not every file system can
            disk = os.fstatvfs(self._file)
            if ahead < disk.f_bavail * disk.f_frsize // ROOM_FOR_OTHERS:
                os.posix_fallocate(self._file, self._size, ahead)

    def sync(self) -> None:
        """Make what is written durable. Raises OSError; nothing is known of the file then."""
        os.fdatasync(self._file)

    def cut_off(self, offset: int) -> None:
        """Take back what is behind ``offset``, so that no later start believes it.

        Needs no room.
        """
        self._size = self._reserved = _HEAD_BYTES + offset - self._begins_at
        with suppress(OSError):
            os.ftruncate(self._file, self._size)

    def close(self) -> None:
        """Give back what was reserved, and let go of the file."""
        if self._size < self._reserved:
            self.cut_off(self.end)
        os.close(self._file)


def begin_segment(
    folder: Path, epoch_id: str, number: int, begins_at: int, records: bytes = b""
) -> Segment:
    """Make a segment that is there after a power cut, with these records. Raises OSError."""
    path = journal_path(folder, epoch_id, number)
    unfinished = path.with_suffix(".unfinished")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        data = segment_head(begins_at) + records
        _write_all(file, data)
        os.fdatasync(file)
        unfinished.rename(path)
        _sync_folder(folder)
    except OSError:
        os.close(file)
        for begun in (unfinished, path):
            with suppress(OSError):
                begun.unlink()
        raise
    return Segment(file, begins_at, len(data))


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
