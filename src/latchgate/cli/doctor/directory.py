"""The data directory: whose it is, where it is, and whether charges can be written there."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from latchgate.cli.doctor.check import FAILED, FINE, WARNING, Check
from latchgate.data_directory import DataDirectory

DISK_BYTES_MIN = 256 * 1024 * 1024
SYNCS = 20
SYNC_SLOW_MS = 20.0
SECRET_BYTES = 32
OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO
#: What is nobody else's; the folder's own rights come first, and these if it is ever copied.
PRIVATE_FILES = ("*pepper*", "*.key", "*secret*", "latchgate.db*", "control.sock")
#: File systems that are gone after a restart, and those on which SQLite's locks do not hold.
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_OVER_A_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"})
_MOUNTS = Path("/proc/self/mounts")


def examine(data_dir: Path) -> Iterator[Check]:
    """Every check of the directory; one that is not there is no mistake."""
    name = "data directory"
    if not data_dir.exists():
        yield Check(name, WARNING, f"{data_dir} is not there yet; latchgate serve makes it")
        return
    if not data_dir.is_dir() or not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        says = f"{data_dir} is not a directory that we may read and write: name one with --data"
        yield Check(name, FAILED, says)
        return
    data = DataDirectory(data_dir)
    yield _private(name, data_dir, wanted="0700")
    yield _owner(data_dir)
    yield from _files(data)
    yield _file_system(data_dir)
    yield _disk(data)
    yield _sync(data_dir)
    if data.backup.exists():
        yield _leftover(data)


def _files(data: DataDirectory) -> Iterator[Check]:
    paths = sorted({path for shape in PRIVATE_FILES for path in data.path.glob(shape)})
    found = [_private(path.name, path, wanted="0600") for path in paths]
    bad = [check for check in found if check.outcome != FINE]
    for path in (data.pepper, data.vault_key):
        if path.exists() and path.stat().st_size != SECRET_BYTES:
            says = f"{path} is damaged: bring it back from a backup, for no key works without it"
            bad.append(Check(path.name, FAILED, says))
    if bad:
        yield from bad
    elif paths:
        yield Check("files", FINE, "the database and the secrets are whole, and their owner's only")


def _private(name: str, path: Path, *, wanted: str) -> Check:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS_MAY:
        says = f"other users may open {path} ({mode:04o}): chmod {wanted} {path}"
        return Check(name, FAILED, says)
    return Check(name, FINE, f"{path}, for its owner only")


def _owner(data_dir: Path) -> Check:
    owner, us = data_dir.stat().st_uid, os.geteuid()
    if owner != us:
        says = (
            f"{data_dir} belongs to {_user(owner)}, and this runs as {_user(us)}, whose files the"
            f" server could not open: run commands as {_user(owner)}"
        )
        return Check("owner", WARNING, says)
    return Check("owner", FINE, f"{_user(owner)}, as whom this runs")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _file_system(data_dir: Path) -> Check:
    kind, place = file_system_of(data_dir)
    if kind in _IN_MEMORY:
        says = f"{place} is {kind}: all accounts and charges are gone when the machine restarts"
        return Check("file system", WARNING, f"{says}; take --data to a disk")
    if kind in _OVER_A_NETWORK:
        says = f"{place} is {kind}: SQLite and the journal need a disk of this machine"
        return Check("file system", FAILED, f"{says}; move the data there")
    return Check("file system", FINE, kind)


def file_system_of(path: Path) -> tuple[str, str]:
    """The kind of file system that a path is on, and where that is mounted."""
    found, there = ("unknown", "/"), path.resolve()
    for line in _MOUNTS.read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        mounted = Path(place.replace("\\040", " "))
        if there.is_relative_to(mounted) and len(place) >= len(found[1]):
            found = (kind, str(mounted))
    return found


def _disk(data: DataDirectory) -> Check:
    free = shutil.disk_usage(data.path).free
    says = f"{free / 2**30:.1f} GiB free"
    if free < DISK_BYTES_MIN:
        return Check("disk", FAILED, f"{says}; make room, for charges must be written down")
    if data.database.exists() and free < 2 * data.database.stat().st_size:
        return Check("disk", WARNING, f"{says}; make room, a backup needs as much as the database")
    return Check("disk", FINE, says)


def _sync(data_dir: Path) -> Check:
    """The time of one ``fdatasync``: what every answer waits for when the journal syncs always."""
    times_ms = []
    with tempfile.TemporaryFile(dir=data_dir) as probe:
        for _ in range(SYNCS):
            os.write(probe.fileno(), bytes(512))
            started_s = time.perf_counter()
            os.fdatasync(probe.fileno())
            times_ms.append((time.perf_counter() - started_s) * 1000)
    median_ms = sorted(times_ms)[SYNCS // 2]
    says = f"fdatasync takes {median_ms:.1f} ms"
    if median_ms > SYNC_SLOW_MS:
        says += "; every answer waits for one: put the data on an SSD, or set journal.sync"
        return Check("disk speed", WARNING, says)
    return Check("disk speed", FINE, says)


def _leftover(data: DataDirectory) -> Check:
    handle = os.open(data.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Check("backup", FINE, "one is being made")
    finally:
        os.close(handle)
    says = f"{data.backup} is what a backup has left that was killed: rm -r {data.backup}"
    return Check("backup", WARNING, says)
