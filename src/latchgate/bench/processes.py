"""Processes of a benchmark: started on a core, looked at, and ended whatever happens."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 40.0


class BenchFailed(Exception):
    """The benchmark cannot go on; the sentence says why."""


class Crew:
    """Processes that end together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int | None = None,
        environment: Mapping[str, str] | None = None,
        is_heard: bool = True,
    ) -> subprocess.Popen[bytes]:
        """Start a process on a core; what it says on stderr goes to ``NAME.log``.

        So does what it prints, unless it ``is_heard``.
        """
        with (self.folder / f"{name}.log").open("ab") as log, _affinity(core):
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if is_heard else log,
                stderr=log,
                env=clean_environment(environment or {}),
                start_new_session=True,  # Ctrl-C comes to us alone, and we end the others
            )
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ask a process to end, and wait; one that does not is killed."""
        if process in self._running:
            self._running.remove(process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # in case it was made to wait for its turn
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def said(self, name: str) -> str:
        """The end of a process's log."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End whatever still runs, the last one first."""
        for process in reversed(list(self._running)):
            self.end(process)


def read_line(process: subprocess.Popen[bytes], *, timeout_s: float = START_TIMEOUT_S) -> str:
    """The next line that a process prints. Raises BenchFailed when it ends or is too slow."""
    if process.stdout is None:
        raise BenchFailed("the process's output goes elsewhere")
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    line = process.stdout.readline().decode() if ready else ""
    if not line:
        raise BenchFailed("a process ended, or did not say that it is ready")
    return line.strip()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, so that it too ends every process."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """This environment, without anybody's settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LATCHGATE")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


@contextmanager
def _affinity(core: int | None) -> Iterator[None]:
    """A child inherits the cores of who starts it, in every thread, from its first instruction."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pick_cores() -> tuple[int | None, int | None]:
    """A core for what is measured, another for what measures it; None where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (None, None) if len(cores) == 1 else (cores[0], cores[1])


def raise_file_limit() -> int:
    """Let this process and its children open as many files as they may; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# ── what the kernel says ────────────────────────────────────────────────────────────────────────
def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that processes have used, in user and kernel."""
    return sum(_stat_ticks(Path(f"/proc/{pid}/stat")) for pid in pids) / os.sysconf("SC_CLK_TCK")


def _stat_ticks(stat: Path) -> int:
    # The name, in brackets, may hold spaces; utime and stime are the 14th and 15th field.
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def memory_bytes(pids: Iterable[int]) -> int:
    """Resident memory."""
    return sum(_resident_bytes(Path(f"/proc/{pid}/status")) for pid in pids)


def _resident_bytes(status: Path) -> int:
    for line in status.read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def busy_seconds() -> float:
    """Processor time that the whole machine has used for processes (interrupts are also ours)."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def own_seconds(running: Iterable[int]) -> float:
    """Processor time of this process, of its children that have ended, and of those that run."""
    times = os.times()
    ended = times.children_user + times.children_system
    return times.user + times.system + ended + cpu_seconds(running)


def wait_until(
    condition: Callable[[], bool], what: str, *, timeout_s: float = START_TIMEOUT_S
) -> None:
    """Ask again and again. Raises BenchFailed when it does not become true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise BenchFailed(what)
        time.sleep(0.05)
