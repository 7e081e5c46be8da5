"""A real server process over a data directory of its own, as an operator would start it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**more: str) -> dict[str, str]:
    """The environment of a command of ours: this one, without anybody's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LATCHGATE")}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), **more}


class ServerProcess:
    """``latchgate serve``, and the command line beside it."""

    def __init__(self, data: Path, *options: str, **settings: str) -> None:
        self.data = data
        self.port = free_port()
        self.log = data.parent / f"{data.name}.log"
        self._options = options
        self._settings = settings
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, as a browser would write it."""
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers calls."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "latchgate.cli", "serve", "--data", str(self.data)),
                    *("--port", str(self.port), *self._options),
                ],
                stdout=log,
                stderr=log,
                env=environment(**self._settings),
                cwd=ROOT,
            )
        waiting_until = time.monotonic() + START_TIMEOUT_S
        while not self.is_healthy():
            if self.process.poll() is not None or time.monotonic() > waiting_until:
                raise AssertionError(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def is_healthy(self) -> bool:
        """Whether ``/healthz`` says so."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, or with SIGKILL end it; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def cli(self, *words: str, stdin: str = "") -> Any:
        """Run a command on the same data directory, with the server's settings; its JSON."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "latchgate.cli", *words),
                *("--data", str(self.data), "--json"),
            ],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment(**self._settings),
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, whatever happened."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
