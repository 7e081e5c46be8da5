"""Guards what the doctor says of the machine and the data directory, each fault made for real."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from latchgate.cli.doctor import directory, machine
from tests.cli.doctor.examining import Capture, checks_of, expect


def test_a_well_installation_is_well_and_stays_as_it_is(data: Path, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    found = checks_of(data, capsys)
    assert {outcome for outcome, _ in found.values()} == {"ok"}, found
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


# ── the machine ─────────────────────────────────────────────────────────────────────────────────
def test_an_old_python_or_sqlite(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "PYTHON_MIN", (sys.version_info[0], sys.version_info[1] + 1))
    major, minor, patch = sqlite3.sqlite_version_info
    monkeypatch.setattr(machine, "SQLITE_MIN", (major, minor, patch + 1))
    found = checks_of(data, capsys)
    expect(found, "Python", "failed", "install")
    expect(found, "SQLite", "failed", "take a Python")


def test_little_memory(data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMORY_BYTES_MIN", 2**60)
    expect(checks_of(data, capsys), "memory", "warning", "--no-embedded-model")


def test_few_files(data: Path, capsys: Capture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        expect(checks_of(data, capsys), "open files", "warning", "LimitNOFILE")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ── the data directory ──────────────────────────────────────────────────────────────────────────
def test_no_directory_yet_and_one_that_is_none(tmp_path: Path, capsys: Capture) -> None:
    expect(checks_of(tmp_path / "none", capsys), "data directory", "warning", "latchgate serve")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    expect(checks_of(tmp_path / "file", capsys), "data directory", "failed", "--data")


@pytest.mark.parametrize("name", ["pepper", "vault.key", "latchgate.db", "latchgate.db-old"])
def test_a_file_that_others_may_read(name: str, data: Path, capsys: Capture) -> None:
    path = data / name
    path.touch()
    path.chmod(0o640)
    expect(checks_of(data, capsys), name, "failed", f"chmod 0600 {path}")


def test_a_directory_that_others_may_read(data: Path, capsys: Capture) -> None:
    data.chmod(0o711)
    expect(checks_of(data, capsys), "data directory", "failed", f"chmod 0700 {data}")


def test_a_damaged_secret(data: Path, capsys: Capture) -> None:
    (data / "pepper").write_bytes(b"short")
    expect(checks_of(data, capsys), "pepper", "failed", "from a backup")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory to somebody else")
def test_a_directory_of_another_user(data: Path, capsys: Capture) -> None:
    os.chown(data, 65534, 65534)
    expect(checks_of(data, capsys), "owner", "warning", "run commands as")


def test_a_file_system_in_memory(data: Path, capsys: Capture) -> None:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    if directory.file_system_of(memory)[0] != "tmpfs":
        pytest.skip("this system has no file system in memory")
    folder = memory / f"latchgate-doctor-{os.getpid()}"
    shutil.copytree(data, folder)
    try:
        expect(checks_of(folder, capsys), "file system", "warning", "take --data to a disk")
    finally:
        shutil.rmtree(folder)


def test_a_file_system_over_a_network(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = data.parent / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\nfar:/x {data} nfs4 rw 0 0\nnone /proc proc rw 0 0\n")
    monkeypatch.setattr(directory, "_MOUNTS", mounts)
    expect(checks_of(data, capsys), "file system", "failed", "a disk of this machine")


def test_a_full_and_a_slow_disk(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "DISK_BYTES_MIN", 2**62)
    monkeypatch.setattr(directory, "SYNC_SLOW_MS", 0.0)
    found = checks_of(data, capsys)
    expect(found, "disk", "failed", "make room")
    expect(found, "disk speed", "warning", "SSD")


def test_no_room_for_a_backup(data: Path, capsys: Capture) -> None:
    with (data / "latchgate.db").open("r+b") as file:
        file.truncate(2**43)  # with a hole: it takes no room, and has it in its name
    expect(checks_of(data, capsys), "disk", "warning", "a backup needs")


def test_what_a_killed_backup_has_left(data: Path, capsys: Capture) -> None:
    (data / "backup").mkdir()
    expect(checks_of(data, capsys), "backup", "warning", "rm -r")
    handle = os.open(data, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    expect(checks_of(data, capsys), "backup", "ok")
    os.close(handle)
