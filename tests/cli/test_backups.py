"""Guards ``backup`` and ``restore``: a whole file or none, and whatever is not whole is refused."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from latchgate.app import open_world
from latchgate.cli.main import BAD_INPUT, REFUSED, main
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings
from tests.support.server import ROOT, environment

#: What gzip puts before the data; nothing hangs on its time and its system.
GZIP_HEAD_BYTES = 10
Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that has been used once, with a configuration."""
    folder = tmp_path_factory.mktemp("backups") / "data"

    async def use() -> None:
        settings = Settings(data_dir=folder, embedded=EmbeddedSettings(enabled=False))
        world = await open_world(settings, serving=True)
        await world.services.accounts.create(
            "ada@example.com", "seven quiet llamas", is_operator=False, credit_nanos=7, actor="cli"
        )
        await world.close()

    asyncio.run(use())
    (folder / "latchgate.toml").write_text("[log]\nlevel = 'error'\n")
    return folder


@pytest.fixture(scope="module")
def whole(data: Path) -> bytes:
    """A backup of it."""
    file = data.parent / "whole.tar.gz"
    assert main(["backup", str(file), "--data", str(data)]) == 0
    return file.read_bytes()


def members_of(archive: bytes) -> list[Member]:
    """What is in an archive, as ``tar`` sees it."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for info in opened:
            file = opened.extractfile(info)
            found.append((info, file.read() if file else b""))
    return found


def archive_of(members: Iterable[Member], kind: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive as ``tar`` would write it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=kind) as opened:
        for info, content in members:
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> Member:
    """A new member; a link of any kind points at the password file."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
    return info, content


def is_restored(archive: bytes, folder: Path, *options: str) -> int:
    """The exit code of a restore; a refused one has left nothing."""
    file, target = folder / "given", folder / "target"
    file.write_bytes(archive)
    code = main(["restore", str(file), "--data", str(target), *options])
    assert target.exists() == (code == 0)
    assert {path.name for path in folder.iterdir()} <= {"given", "target"}
    return code


# ── taking one ──────────────────────────────────────────────────────────────────────────────────
def test_a_backup_has_everything_and_is_its_owners_only(
    data: Path, whole: bytes, tmp_path: Path
) -> None:
    names = [info.name for info, _ in members_of(whole)]
    (journal,) = (data / "journal").glob("*.journal")
    assert names == [
        "latchgate.db",
        f"journal/{journal.name}",
        "pepper",
        "vault.key",
        "latchgate.toml",
        "manifest.json",
    ]
    manifest = json.loads(members_of(whole)[-1][1])
    assert set(manifest["files"]) == set(names[:-1])
    assert (manifest["engine"], manifest["format"]) == ("sqlite", 1)
    os.umask(0o022)
    file = tmp_path / "again.tar.gz"
    assert main(["backup", str(file), "--data", str(data)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_backup_that_is_piped_on_comes_back_by_a_pipe(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "latchgate.cli"]
    taken = subprocess.run(
        [*command, "backup", "-", "--data", str(data)],
        capture_output=True, check=True, env=environment(), cwd=ROOT,
    )  # fmt: skip
    assert taken.stderr == b""
    target = tmp_path / "target"
    back = subprocess.run(
        [*command, "restore", "-", "--data", str(target), "--json"],
        input=taken.stdout, capture_output=True, check=True, env=environment(), cwd=ROOT,
    )  # fmt: skip
    assert json.loads(back.stdout)["agrees"]
    assert (target / "pepper").read_bytes() == (data / "pepper").read_bytes()
    modes = {path.stat().st_mode & 0o077 for path in [target, *target.rglob("*")]}
    assert modes == {0}
    with closing(sqlite3.connect(target / "latchgate.db")) as conn:
        assert conn.execute("SELECT email FROM users").fetchall() == [("ada@example.com",)]


def test_a_backup_is_never_written_over_another_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine"
    file.write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "link"):
        assert main(["backup", str(tmp_path / name), "--data", str(data)]) == REFUSED
        assert "is there already" in capsys.readouterr().err
    assert file.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_full_disk_leaves_no_half_of_a_backup(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"

    def fill() -> None:
        # From here on no file grows beyond a few KB, as on a disk that is full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [sys.executable, "-m", "latchgate.cli", "backup", str(file), "--data", str(data)],
        capture_output=True, check=False, env=environment(), cwd=ROOT, preexec_fn=fill,
    )  # fmt: skip
    assert done.returncode == REFUSED, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert not (data / "backup").exists()


def test_a_backup_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "backup.tar.gz")
    assert main(["backup", file, "--data", str(tmp_path / "none")]) == BAD_INPUT
    (tmp_path / "empty").mkdir()
    assert main(["backup", file, "--data", str(tmp_path / "empty")]) == REFUSED
    assert "There is no database" in capsys.readouterr().err
    assert not Path(file).exists()


# ── bringing one back ───────────────────────────────────────────────────────────────────────────
def test_a_backup_comes_back_only_into_an_empty_directory(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "backup"
    file.write_bytes(whole)
    used, empty = tmp_path / "used", tmp_path / "empty"
    for folder in (used, empty):
        folder.mkdir()
    (used / "letter").write_text("mine")
    assert main(["restore", str(file), "--data", str(used)]) == REFUSED
    assert main(["restore", str(file), "--data", str(file)]) == REFUSED
    assert capsys.readouterr().err.count("is not an empty directory") == 2
    assert [path.name for path in used.iterdir()] == ["letter"]
    assert main(["restore", str(file), "--data", str(empty)]) == 0
    assert (empty / "latchgate.toml").read_text() == "[log]\nlevel = 'error'\n"


def test_an_archive_that_is_cut_off_anywhere_is_refused_whole(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for length in {0, 1, GZIP_HEAD_BYTES, len(whole) - 1, *range(20, len(whole), 997)}:
        assert is_restored(whole[:length], tmp_path) == BAD_INPUT
        err = capsys.readouterr().err
        assert "no whole backup" in err
        assert len(err.splitlines()) == 1


def _says_the_same(changed: bytes, whole: bytes) -> bool:
    try:
        return gzip.decompress(changed) == gzip.decompress(whole)
    except (OSError, EOFError, zlib.error):
        return False


def test_an_archive_with_one_byte_changed_anywhere_is_refused_whole(
    whole: bytes, tmp_path: Path
) -> None:
    for place in range(GZIP_HEAD_BYTES, len(whole), 499):
        changed = bytearray(whole)
        changed[place] ^= 1
        if _says_the_same(bytes(changed), whole):
            continue  # a zero may be copied from any other
        assert is_restored(bytes(changed), tmp_path) == BAD_INPUT


def _changed_file(members: list[Member]) -> list[Member]:
    return [
        (info, bytes(reversed(content)) if info.name == "pepper" else content)
        for info, content in members
    ]


def _manifest(members: list[Member], **changes: object) -> list[Member]:
    said = json.loads(members[-1][1])
    return [*members[:-1], member("manifest.json", json.dumps({**said, **changes}).encode())]


def _without(name: str) -> Callable[[list[Member]], list[Member]]:
    def leave_out(members: list[Member]) -> list[Member]:
        return [one for one in members if one[0].name != name]

    return leave_out


def _also(*args: object) -> Callable[[list[Member]], list[Member]]:
    return lambda members: [member(*args), *members]  # type: ignore[arg-type]


def _without_everywhere(name: str) -> Callable[[list[Member]], list[Member]]:
    def leave_out(members: list[Member]) -> list[Member]:
        said = json.loads(members[-1][1])["files"]
        del said[name]
        return _without(name)(_manifest(members, files=said))

    return leave_out


FORGERIES: dict[str, tuple[Callable[[list[Member]], list[Member]], str]] = {
    "another pepper": (_changed_file, "'pepper' in it is not what its manifest says"),
    "a file that is missing": (_without("pepper"), "'pepper' in it is not what"),
    "a file that no manifest knows": (
        _also("journal/epo_x.journal", b"x"),
        "'journal/epo_x.journal' in it is not what",
    ),
    "a file twice": (_also("pepper", b"x"), "'pepper' in it has no place"),
    "a way out of the folder": (_also("../evil", b"x"), "'../evil' in it has no place"),
    "a longer way out": (_also("journal/../../evil.journal", b"x"), "has no place"),
    "a place of its own": (_also("/etc/evil", b"x"), "'/etc/evil' in it has no place"),
    "a file that we would take": (_also("control.sock", b"x"), "has no place"),
    "a symbolic link": (_also("pepper", b"", tarfile.SYMTYPE), "is not a plain file"),
    "a hard link": (_also("latchgate.db", b"", tarfile.LNKTYPE), "is not a plain file"),
    "a folder": (_also("journal", b"", tarfile.DIRTYPE), "is not a plain file"),
    "a pipe": (_also("pepper", b"", tarfile.FIFOTYPE), "is not a plain file"),
    "a device": (_also("pepper", b"", tarfile.CHRTYPE), "is not a plain file"),
    "a name of any length": (_also("journal/" + "x" * 200, b"x"), "is not a plain file"),
    "no manifest": (_without("manifest.json"), "no manifest"),
    "a manifest that makes no sense": (
        lambda members: [*members[:-1], member("manifest.json", b"{}")],
        "its manifest makes no sense",
    ),
    "a format to come": (lambda members: _manifest(members, format=2), "its format is 2"),
    "a schema to come": (
        lambda members: _manifest(members, schema_revision="9999", latchgate="7.0"),
        "newer Latchgate, 7.0: its schema is 9999",
    ),
    "a schema that is not the database's": (
        lambda members: _manifest(members, schema_revision="0001"),
        "of another revision than the backup says",
    ),
    "no secret": (_without_everywhere("vault.key"), "no whole vault.key"),
    "no database": (_without_everywhere("latchgate.db"), "database is damaged"),
    "something behind the manifest": (lambda m: [*m, member("pepper", b"x")], "behind its end"),
}


@pytest.mark.parametrize(("forge", "why"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_archive_is_refused_whole(
    forge: Callable[[list[Member]], list[Member]],
    why: str,
    whole: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert is_restored(archive_of(forge(members_of(whole))), tmp_path) == BAD_INPUT
    err = capsys.readouterr().err
    assert why in err
    assert len(err.splitlines()) == 1


def test_an_archive_that_tar_has_packed_again_comes_back(whole: bytes, tmp_path: Path) -> None:
    # The end that tar writes is longer than ours, and its blocks are in other places.
    assert is_restored(archive_of(members_of(whole)), tmp_path) == 0


def test_headers_that_say_more_than_a_file_needs_are_refused(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = members_of(whole)
    members[0][0].pax_headers = {"comment": "x" * 100_000}
    assert is_restored(archive_of(members, tarfile.PAX_FORMAT), tmp_path) == BAD_INPUT
    assert "is not a plain file" in capsys.readouterr().err


def test_a_file_for_which_there_is_no_room_is_refused_before_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info, _ = member("latchgate.db")
    info.size = 2**60
    archive = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert is_restored(archive, tmp_path) == BAD_INPUT
    assert "no room for latchgate.db" in capsys.readouterr().err


def test_a_backup_of_one_engine_is_not_brought_into_another(
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    postgres = archive_of(_manifest(members_of(whole), engine="postgresql"))
    assert is_restored(postgres, tmp_path) == REFUSED
    assert "LATCHGATE_STORAGE_URL" in capsys.readouterr().err
    monkeypatch.setenv("LATCHGATE_STORAGE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert is_restored(whole, tmp_path) == REFUSED
    assert "without storage.url" in capsys.readouterr().err


def test_a_configuration_that_names_another_database_is_put_aside(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "other.toml"
    config.write_text("[storage]\nurl = 'postgresql://latchgate@127.0.0.1:1/original'\n")
    file = tmp_path / "backup"
    # As where a variable has said otherwise.
    os.environ["LATCHGATE_STORAGE_URL"] = ""
    try:
        assert main(["backup", str(file), "--data", str(data), "--config", str(config)]) == 0
    finally:
        del os.environ["LATCHGATE_STORAGE_URL"]
    target = tmp_path / "target"
    assert main(["restore", str(file), "--data", str(target)]) == 0
    assert "put aside" in capsys.readouterr().err
    assert (target / "latchgate.toml.from-backup").read_bytes() == config.read_bytes()
    assert not (target / "latchgate.toml").exists()


def test_books_that_disagree_come_back_and_are_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    assert main(["backup", str(first / "b"), "--data", str(data)]) == 0
    assert main(["restore", str(first / "b"), "--data", str(first / "d")]) == 0
    with closing(sqlite3.connect(first / "d" / "latchgate.db")) as conn, conn:
        conn.execute("UPDATE ledger_accounts SET balance_nanos = 5 WHERE id = 'revenue'")
    assert main(["backup", str(second / "b"), "--data", str(first / "d")]) == 0
    capsys.readouterr()
    assert main(["restore", str(second / "b"), "--data", str(second / "d")]) == REFUSED
    assert "its balance is 5" in capsys.readouterr().out
    assert (second / "d" / "latchgate.db").exists()
