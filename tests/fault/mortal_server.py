"""A server in a fork of its own, which may have a point where it dies."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

from latchgate.data_directory import DataDirectory
from tests.fault.serve_and_die import live
from tests.support.server import ServerProcess

#: Each server is a fresh fork of a process that has imported what it needs, and nothing else.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.fault.serve_and_die"])
#: Whoever waits longer than this for a death waits in vain.
PATIENCE_S = 90.0


class MortalServer(ServerProcess):
    """A server over one directory, as it is or with a point where it dies."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, "--no-embedded-model")
        self.socket = DataDirectory(data).control_socket
        self._life: BaseProcess | None = None

    def begin(self, order: str) -> bool:
        """Start it in a fork, a point armed if there is one; whether it lived to answer calls."""
        words = ["serve", "--no-embedded-model", "--data", str(self.data), "--port", str(self.port)]
        self._life = _FORKS.Process(target=live, args=(words, order, self.log))
        self._life.start()
        while not self.is_dead:
            if self.is_healthy():
                return True
            self._life.join(0.02)
        return False

    def see_it_die(self, order: str) -> None:
        """Wait for its death, and make sure that it died where it was told to."""
        assert self._life is not None
        self._life.join(PATIENCE_S)
        is_late = not self.is_dead
        self.kill()
        log = self.log.read_text()
        assert not is_late, f"it never passed {order}:\n{log}"
        assert self._life.exitcode == -signal.SIGKILL, log
        assert log.strip().splitlines()[-1] == f"dies at {order.partition(':')[0]}"

    @property
    def is_dead(self) -> bool:
        """Whether nothing runs."""
        return self._life is None or self._life.exitcode is not None

    def terminate(self) -> None:
        """Ask it to stop."""
        assert self._life is not None
        self._life.terminate()

    def kill(self) -> None:
        """End whatever runs."""
        if self._life is not None:
            self._life.kill()
            self._life.join()
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)
