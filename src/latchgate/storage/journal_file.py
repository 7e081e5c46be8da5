r"""The journal on disk: an append-only file for each epoch.

    magic  "LGJRNL1\n"
    record u32 length · u32 CRC-32 of the payload · payload (MessagePack array), little-endian

An ``open`` record is written when a call's hold is made, a ``close`` record when its charge is
known. A record that is cut off or fails its checksum ends the file: everything behind it was never
synced, and so was never answered in full.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

MAGIC = b"LGJRNL1\n"
RECORD_BYTES_MAX = 64 * 1024
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


def journal_path(folder: Path, epoch_id: str) -> Path:
    """Where an epoch's journal is."""
    return folder / f"{epoch_id}.journal"


def encode(record: Record) -> bytes:
    """A record as it stands in the file."""
    payload = _encoder.encode(record)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def scan(path: Path) -> Iterator[tuple[int, Record]]:
    """Every whole record of a journal with the offset behind it; stops at the first broken one."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return
        offset = len(MAGIC)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            if length > RECORD_BYTES_MAX:
                return
            payload = file.read(length)
            if len(payload) != length or zlib.crc32(payload) != checksum:
                return
            offset += _HEAD.size + length
            yield offset, _decoder.decode(payload)
