"""``latchgate backup`` and ``restore``.

The running server only copies its database. Everything else, which costs time on a processor, is
done here: packing, summing and writing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from latchgate import __version__
from latchgate.cli.output import print_error, print_json, print_line
from latchgate.cli.place import DATA_DEFAULT, Config, Data, Json, Place
from latchgate.domain.errors import Conflict, InvalidRequest

if TYPE_CHECKING:
    from latchgate.services.archives import Manifest
    from latchgate.services.backups import Restored

PIPE = "-"
#: Packing leaves the processor to a server that runs beside it; on Linux a thread has its own.
NICENESS = 15


def backup(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file to write, or - for standard output.")
    ],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Back up everything into one file, while the server runs or not.

    It has the database, the journals, the configuration file and the server's secrets: keep it as
    you keep passwords. A server that is told its settings by variables needs them again.
    """
    place = Place(data, config, as_json)
    place.must_exist()
    with _alone(place), _whole_file(file) as out:
        manifest = _take(place, out)
    size = sum(entry.bytes for entry in manifest.files.values())
    if as_json and file != PIPE:
        print_json({"file": file, **_facts(manifest)})
    elif file != PIPE:
        print_line(f"{file} has {len(manifest.files)} files of {size} bytes.")


def restore(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A backup's file, or - for standard input.")
    ],
    *,
    data: Data = DATA_DEFAULT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Bring a backup back into an empty data directory, and audit it; exit 1 if it disagrees.

    Calls that were answered and not posted yet are posted; calls that were running are interrupted
    and free. A backup of PostgreSQL fills the empty database that LATCHGATE_STORAGE_URL names.
    """
    from latchgate.clock import SystemClock  # noqa: PLC0415
    from latchgate.services.backups import restore as bring_back  # noqa: PLC0415

    os.umask(0o077)
    storage_url = Place(data, config, as_json).settings_and_logs().storage.url
    with sys.stdin.buffer if file == PIPE else Path(file).open("rb") as archive:
        restored = asyncio.run(
            bring_back(archive, data, storage_url=storage_url, now_us=SystemClock().now_us())
        )
    _say_restored(restored, data, as_json=as_json)
    if restored.report.findings:
        raise typer.Exit(1)


def _take(place: Place, out: IO[bytes]) -> Manifest:
    from latchgate.clock import SystemClock  # noqa: PLC0415
    from latchgate.commands.answers import iso  # noqa: PLC0415
    from latchgate.config.reading import FILE_NAME  # noqa: PLC0415
    from latchgate.data_directory import DataDirectory  # noqa: PLC0415
    from latchgate.services import backups  # noqa: PLC0415
    from latchgate.services.archives import write_archive  # noqa: PLC0415

    folder = DataDirectory(place.data_dir)
    made_at = iso(SystemClock().now_us()) or ""
    try:
        copy = place.reach("backup", {}, lambda: _copy_directly(place))
        config = place.config_file or place.data_dir / FILE_NAME
        sources = backups.list_sources(folder, set(copy["epochs"]), config)
        with (
            suppress(EOFError),  # a file that has shrunk, of which the check below speaks
            ThreadPoolExecutor(1, initializer=os.nice, initargs=(NICENESS,)) as thread,
        ):
            manifest = thread.submit(
                write_archive,
                out,
                sources,
                made_at=made_at,
                version=__version__,
                engine=copy["engine"],
                revision=copy["revision"],
            ).result()
        backups.check_unchanged(sources)
    finally:
        shutil.rmtree(folder.backup, ignore_errors=True)
    return manifest


def _copy_directly(place: Place) -> dict[str, Any]:
    from latchgate.services.backups import copy_alone  # noqa: PLC0415

    copy = asyncio.run(copy_alone(place.settings_and_logs()))
    return {"engine": copy.engine, "revision": copy.revision, "epochs": list(copy.epochs)}


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """One backup of a data directory at a time. Raises Conflict ``backup_running``."""
    handle = os.open(place.data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("Another backup is being made of it.", code="backup_running") from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _whole_file(name: str) -> Iterator[IO[bytes]]:
    """A file for its owner only that gets its name once it is whole and on the disk."""
    if name == PIPE:
        if sys.stdout.isatty():
            raise InvalidRequest("A backup is no text for a terminal: name a file, or pipe it on.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.exists() or path.is_symlink():
        raise Conflict(f"{path} is there already. Name another file.", code="file_exists")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink()
        raise


def _facts(manifest: Manifest) -> dict[str, Any]:
    return {
        "made_at": manifest.made_at,
        "latchgate": manifest.latchgate,
        "engine": manifest.engine,
        "schema_revision": manifest.schema_revision,
        "files": len(manifest.files),
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
    }


def _say_restored(restored: Restored, data: Path, *, as_json: bool) -> None:
    posted = sum(epoch.calls_posted for epoch in restored.recovered)
    interrupted = sum(epoch.calls_interrupted for epoch in restored.recovered)
    findings = restored.report.findings
    aside = None if restored.config_aside is None else str(restored.config_aside)
    if as_json:
        print_json(
            {
                "data_dir": str(data),
                **_facts(restored.manifest),
                "calls_posted": posted,
                "calls_interrupted": interrupted,
                "agrees": not findings,
                "findings": list(findings),
                "config_aside": aside,
            }
        )
        return
    print_line(f"{data} is as it was at {restored.manifest.made_at}.")
    print_line(f"From its journals: {posted} calls posted, {interrupted} interrupted.")
    for finding in findings:
        print_line(finding)
    counts = ", ".join(f"{count} {what}" for what, count in restored.report.checked.items())
    print_line(f"{'The books disagree' if findings else 'Everything agrees'}: {counts}.")
    if aside:
        print_error(f"the configuration names another database, and is put aside: {aside}.")
