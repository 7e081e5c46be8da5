"""A disk that fails under the journal and nothing else, and what a crash would leave of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from latchgate.domain.errors import LedgerUnavailable
from latchgate.gateway.engine import EngineSettings
from latchgate.gateway.journal import Journal
from latchgate.services.audit import audit
from latchgate.services.catalog import ModelTerms
from latchgate.services.recovery import recover
from latchgate.storage.journal_file import CloseRecord, scan
from latchgate.storage.store import Store
from tests.support import gateway as support
from tests.support.fibers import settled
from tests.support.gateway import Gateway, Reply
from tests.support.server import ROOT, environment

#: 100, 20 and 400 nano-USD a token; what the usual answer costs.
TERMS = ModelTerms(100_000, 20_000, 400_000)
CHARGE = 12 * 100 + 5 * 400


class FaultyDisk:
    """The system's calls for files of one folder: they fail while the disk does.

    What the system could not sync it may have dropped, so a file whose sync has failed must be left
    alone: ``touched_again`` names those that were not.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder = folder
        self._fdatasync, self._write = os.fdatasync, os.write
        self._syncs_fail = self._writes_fail = False
        self.failures = 0
        self._given_up: set[Path] = set()
        self.touched_again: list[Path] = []
        monkeypatch.setattr(os, "fdatasync", self._on_fdatasync)
        monkeypatch.setattr(os, "write", self._on_write)

    def fail(self, kind: str) -> None:
        """From now on syncs fail (``EIO``), or writes do, in the middle (``ENOSPC``), or both."""
        self._syncs_fail = kind in ("sync", "both")
        self._writes_fail = kind in ("write", "both")

    def mend(self) -> None:
        """The disk is as good as new."""
        self._syncs_fail = self._writes_fail = False

    def _is_ours(self, file: int) -> bool:
        """Whether a file is in the folder; a journal's segments never have each other's names."""
        path = Path(f"/proc/self/fd/{file}").readlink()
        if path in self._given_up:
            self.touched_again.append(path)
        return path.is_relative_to(self._folder)

    def _on_fdatasync(self, file: int) -> None:
        if self._is_ours(file) and self._syncs_fail:
            self.failures += 1
            self._given_up.add(Path(f"/proc/self/fd/{file}").readlink())
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._fdatasync(file)

    def _on_write(self, file: int, data: bytes) -> int:
        if self._is_ours(file) and self._writes_fail:
            self.failures += 1
            if len(data) > 1:
                return self._write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(file, data)


def use_interval(monkeypatch: pytest.MonkeyPatch, interval_ms: int | None) -> None:
    """Let the next gateway sync so often; None is before every answer."""

    def settings(**values: object) -> EngineSettings:
        return EngineSettings(**{**values, "journal_interval_ms": interval_ms})  # type: ignore[arg-type]

    monkeypatch.setattr(support, "EngineSettings", settings)


async def call_until_paid(gateway: Gateway) -> Reply:
    """Call until a paid call is answered again; those before must be refused."""
    while (reply := await gateway.chat()).status != 200:
        check_unavailable(reply)
        await asyncio.sleep(0.05)
    return reply


def check_unavailable(reply: Reply) -> None:
    """A refusal because charges can't be made durable, without a cost."""
    assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
    assert reply.headers["retry-after"] == "5"
    assert "x-latchgate-cost-nanos" not in reply.headers


async def check_free_of_holds(gateway: Gateway, *, spent: int) -> None:
    """Nothing is held or owed, so much is spent, and the books agree."""
    await gateway.engine.drain.flush()
    assert gateway.engine.drain.waiting_calls == 0
    for piece in gateway.engine.purse._slices.values():
        assert (piece.held_nanos, piece.charged_nanos) == (0, 0)
    balances = await gateway.balances()
    assert (balances.spent_nanos, balances.held_nanos) == (spent, 0)
    assert (await gateway.audit()).findings == ()


@dataclass
class Rest:
    """What a crash would leave at this moment, recovered: each call's outcome and charge."""

    calls: dict[str, tuple[str, int]]
    findings: tuple[str, ...]

    @property
    def charges(self) -> dict[str, int]:
        """Calls that are charged."""
        return {name: nanos for name, (_, nanos) in self.calls.items() if nanos}


async def crash(gateway: Gateway, folder: Path) -> Rest:
    """Take the files as they are, as if the process died now, and recover them elsewhere."""
    folder.mkdir()
    with (
        closing(sqlite3.connect(gateway.journal_folder.parent / "latchgate.db")) as source,
        closing(sqlite3.connect(folder / "latchgate.db")) as copy,
    ):
        source.backup(copy)
    shutil.copytree(gateway.journal_folder, folder / "journal")
    return await recovered(folder)


async def recovered(folder: Path) -> Rest:
    """Recover what stands in a folder."""
    store = Store(folder / "latchgate.db")
    journal_folder = folder / "journal"
    try:
        await store.write(recover, journal_folder=journal_folder, now_us=2**50)
        report = await store.read(audit, journal_folder=journal_folder)
    finally:
        store.close()
    query = "SELECT request_id, outcome, charge_nanos FROM usage_events"
    with closing(sqlite3.connect(folder / "latchgate.db")) as conn:
        rows = conn.execute(query).fetchall()
    return Rest({row[0]: (row[1], row[2]) for row in rows}, report.findings)


# ── a disk that is really full ──────────────────────────────────────────────────────────────────
def check_small_files(folder: Path) -> None:
    """Let another process fill files that may not grow: just what was safe is in the journal."""
    call = "from tests.gateway.faulty_disk import fill_small_files as f; "
    done = subprocess.run(
        [sys.executable, "-c", f"{call}f({str(folder)!r}, 4096, 100)"],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=environment(),
    )
    found = json.loads(done.stdout.splitlines()[-1])
    records = [record for _, record in scan(folder, "epo_full")]
    assert [r.request_id for r in records if isinstance(r, CloseRecord)] == found["safe"]
    assert len(found["void"]) > 1


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 256 KiB at a folder. False: mounting is not allowed here."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill_small_files(folder: str, bytes_max: int, charges: int) -> None:
    """Write charges where no file may be larger; print which are safe and which are void.

    For a process of its own, because the limit holds for all that it writes.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    found = asyncio.run(_fill(Path(folder), charges))
    sys.stdout.write("\n" + json.dumps(found))


async def _fill(folder: Path, charges: int) -> dict[str, list[str]]:
    journal = Journal(folder, "epo_full", asyncio.get_running_loop(), interval_ms=None)
    safe, void = [], []
    for number in range(charges):
        record = _charge(f"req_{number}")
        if journal.failure is not None:
            await journal.reopen()
        try:
            await settled(journal.safe(journal.close_call(record)))
            safe.append(record.request_id)
        except LedgerUnavailable:
            void.append(record.request_id)
    await journal.close()
    return {"safe": safe, "void": void}


def _charge(request_id: str) -> CloseRecord:
    return CloseRecord(
        request_id=request_id,
        account_id="acct_test",
        api_key_id="key_test",
        price_id="prc_test",
        model="m",
        app="test",
        hold_nanos=CHARGE,
        is_stream=False,
        started_us=0,
        ip="127.0.0.1",
        windows=(("bgt_test", 0),),
        input_tokens=12,
        cached_tokens=0,
        output_tokens=5,
        charge_nanos=CHARGE,
        overrun_nanos=0,
        outcome="answered",
        counted_by="upstream",
        http_status=200,
        first_byte_us=None,
        ended_us=1,
    )
