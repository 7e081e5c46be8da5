"""The file of a backup: a tar of plain files, gzipped, and behind them a manifest of their sums.

``write_archive`` streams, so that the file may be a pipe. ``read_archive`` trusts nothing: it takes
plain files of the names that it is told, writes them nowhere but into one folder, and raises
InvalidRequest ``invalid_backup`` for whatever else it meets; what it has written by then is the
caller's to remove.

Only the plainest form of tar is written and read (no extended headers, no links, no folders), which
``tar`` can list and unpack all the same. The manifest comes last, for only then are the sums known;
an archive that ends before it is no whole one.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from latchgate.domain.errors import InvalidRequest

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
FILES_MAX = 200_000
#: zlib's quickest: a database shrinks to a third already.
_GZIP_LEVEL = 1
_BLOCK_BYTES = 1024 * 1024
_TAR_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _TAR_BLOCK)


class Entry(msgspec.Struct, frozen=True):
    """A file in the archive."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an archive is, and what is in it."""

    format: int
    made_at: str
    latchgate: str
    engine: str
    schema_revision: str
    files: dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be written: its first ``size`` bytes, under ``name``."""

    name: str
    path: Path
    size: int


@dataclass(slots=True)
class _Summed:
    """Counts and sums what passes."""

    size: int = 0
    sha: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, block: bytes) -> bytes:
        """Take a block in, and give it on."""
        self.size += len(block)
        self.sha.update(block)
        return block

    def entry(self) -> Entry:
        """What the manifest says of it."""
        return Entry(self.size, self.sha.hexdigest())


def write_archive(
    out: IO[bytes],
    sources: Iterable[Source],
    *,
    made_at: str,
    version: str,
    engine: str,
    revision: str,
) -> Manifest:
    """Write all sources and the manifest. Raises OSError, and EOFError for a file that shrank."""
    files: dict[str, Entry] = {}
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0) as packed:
        for source in sources:
            summed = _Summed()
            with source.path.open("rb") as file:
                _write_member(packed, source.name, _exactly(file, source.size, summed), source.size)
            files[source.name] = summed.entry()
        manifest = Manifest(FORMAT, made_at, version, engine, revision, files)
        written = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        _write_member(packed, MANIFEST, [written], len(written))
        packed.write(_END)
    return manifest


def _write_member(out: gzip.GzipFile, name: str, blocks: Iterable[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    out.write(info.tobuf(tarfile.GNU_FORMAT))
    for block in blocks:
        out.write(block)
    out.write(bytes(-size % _TAR_BLOCK))


def read_archive(archive: IO[bytes], folder: Path, allowed: re.Pattern[str]) -> Manifest:
    """Unpack an archive into an empty folder, and hold it to its manifest."""
    try:
        with gzip.GzipFile(fileobj=archive, mode="rb") as packed:
            return _read_members(packed, folder, allowed)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.HeaderError, UnicodeError):
        raise _bad("it is damaged or cut off") from None


def _read_members(packed: gzip.GzipFile, folder: Path, allowed: re.Pattern[str]) -> Manifest:
    found: dict[str, Entry] = {}
    while (header := _exact(packed, _TAR_BLOCK)) != bytes(_TAR_BLOCK):
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        if info.type != tarfile.REGTYPE or info.size < 0:
            raise _bad(f"{info.name[:100]!r} in it is not a plain file")
        if info.name == MANIFEST:
            return _read_manifest(packed, info.size, found)
        if not allowed.fullmatch(info.name) or info.name in found or len(found) == FILES_MAX:
            raise _bad(f"{info.name[:100]!r} in it has no place in a backup")
        found[info.name] = _unpack(packed, folder / info.name, info.size)
    raise _bad("it has no manifest")


def _unpack(packed: gzip.GzipFile, path: Path, size: int) -> Entry:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if size > shutil.disk_usage(path.parent).free:
        raise InvalidRequest(
            f"There is no room for {path.name}, which has {size} bytes.", code="no_room"
        )
    summed = _Summed()
    with path.open("xb") as file:
        for block in _exactly(packed, size, summed):
            file.write(block)
    _exact(packed, -size % _TAR_BLOCK)
    return summed.entry()


def _read_manifest(packed: gzip.GzipFile, size: int, found: dict[str, Entry]) -> Manifest:
    if size > MANIFEST_BYTES_MAX:
        raise _bad("its manifest is too long")
    try:
        manifest = msgspec.json.decode(_exact(packed, size), type=Manifest)
    except msgspec.MsgspecError:
        raise _bad("its manifest makes no sense") from None
    _exact(packed, -size % _TAR_BLOCK)
    if manifest.format != FORMAT:
        raise _bad(f"its format is {manifest.format}, and this version reads {FORMAT}")
    # To the very end, where gzip has a sum of its own. tar fills a record up, we do not.
    end = packed.read(tarfile.RECORDSIZE + 1)
    if end != bytes(len(end)) or not len(_END) <= len(end) <= tarfile.RECORDSIZE:
        raise _bad("something stands behind its end")
    for name in manifest.files.keys() | found.keys():
        if manifest.files.get(name) != found.get(name):
            raise _bad(f"{name!r} in it is not what its manifest says")
    return manifest


def _exactly(file: IO[bytes] | gzip.GzipFile, size: int, summed: _Summed) -> Iterator[bytes]:
    """``size`` bytes of a file in blocks. Raises EOFError when there are less."""
    while summed.size < size:
        block = file.read(min(_BLOCK_BYTES, size - summed.size))
        if not block:
            raise EOFError
        yield summed.add(block)


def _exact(file: gzip.GzipFile, size: int) -> bytes:
    return b"".join(_exactly(file, size, _Summed()))


def _bad(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"This is no whole backup of Latchgate: {why}. Nothing was restored.",
        code="invalid_backup",
    )
