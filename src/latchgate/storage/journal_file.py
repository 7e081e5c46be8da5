r"""The journal on disk: for each epoch an append-only file, in numbered segments.

    segment head  "LGJRNL2\n" · u64 offset at which it begins
    record        u32 length · u32 CRC-32 of the payload · payload (MessagePack array)

All little-endian. Offsets count the records' bytes through all segments; heads don't count. A
segment ends where the next one begins: what stands behind that was never synced, and a new segment
was begun because the disk had failed. In the last segment, a record that is cut off or fails its
checksum ends the journal: everything behind it was never synced, and so was never answered in full.

An ``open`` record is written when a call's hold is made, a ``close`` record when its charge is
known.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

MAGIC = b"LGJRNL2\n"
RECORD_BYTES_MAX = 64 * 1024
_SEGMENT = struct.Struct("<8sQ")
_HEAD = struct.Struct("<II")


class OpenRecord(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """A call was let in and holds money. Times in microseconds, money in nano-USD."""

    request_id: str
    account_id: str
    api_key_id: str
    price_id: str
    model: str
    app: str
    hold_nanos: int
    is_stream: bool
    started_us: int
    ip: str


class CloseRecord(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A call has ended: its usage and charge, and the windows (budget, start) that pay it."""

    request_id: str
    account_id: str
    api_key_id: str
    price_id: str
    model: str
    app: str
    hold_nanos: int
    is_stream: bool
    started_us: int
    ip: str
    windows: tuple[tuple[str, int], ...]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    charge_nanos: int
    overrun_nanos: int
    outcome: str
    counted_by: str
    http_status: int
    first_byte_us: int | None
    ended_us: int


Record = OpenRecord | CloseRecord

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[OpenRecord | CloseRecord] = msgspec.msgpack.Decoder(
    OpenRecord | CloseRecord
)


def journal_path(folder: Path, epoch_id: str, number: int = 0) -> Path:
    """Where a segment of an epoch's journal is."""
    return folder / (f"{epoch_id}.{number}.journal" if number else f"{epoch_id}.journal")


def epoch_of(path: Path) -> str:
    """The epoch that a segment belongs to."""
    return path.name.partition(".")[0]


def segment_head(begins_at: int) -> bytes:
    """What a segment begins with."""
    return _SEGMENT.pack(MAGIC, begins_at)


def encode(record: Record) -> bytes:
    """A record as it stands in the file."""
    payload = _encoder.encode(record)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def has_journal(folder: Path, epoch_id: str) -> bool:
    """Whether there is anything of an epoch's journal."""
    return journal_path(folder, epoch_id).exists()


def scan(folder: Path, epoch_id: str) -> Iterator[tuple[int, Record]]:
    """Every whole record of an epoch with the offset behind it, up to the first broken one."""
    segments = _list_segments(folder, epoch_id)
    for number, (begins_at, path) in enumerate(segments, start=1):
        ends_at = segments[number][0] if number < len(segments) else None
        for offset, record in _scan_segment(path, begins_at):
            if ends_at is not None and offset > ends_at:
                break
            yield offset, record


def _list_segments(folder: Path, epoch_id: str) -> list[tuple[int, Path]]:
    """Where each segment begins, in the order in which they were written."""
    paths = [journal_path(folder, epoch_id), *folder.glob(f"{epoch_id}.*.journal")]
    found = []
    for path in sorted(paths, key=_number):
        try:
            with path.open("rb") as file:
                magic, begins_at = _SEGMENT.unpack(file.read(_SEGMENT.size))
        except (FileNotFoundError, struct.error):
            continue  # it was never begun: nothing in it was ever synced
        if magic == MAGIC:
            found.append((begins_at, path))
    return found


def _number(path: Path) -> int:
    middle = path.name.split(".")[1]
    return int(middle) if middle.isdigit() else 0


def _scan_segment(path: Path, begins_at: int) -> Iterator[tuple[int, Record]]:
    with path.open("rb") as file:
        file.seek(_SEGMENT.size)
        offset = begins_at
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            if not 0 < length <= RECORD_BYTES_MAX:
                return
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload) != checksum:
                return
            offset += _HEAD.size + length
            yield offset, _decoder.decode(payload)
