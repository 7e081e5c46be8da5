"""An app of ``examples/`` as its user would start it: a process of its own on a free port."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.server import ROOT, START_TIMEOUT_S, environment, free_port


class ExampleApp:
    """``python -m module``, run in the app's folder."""

    def __init__(self, folder: str, module: str, log: Path, *options: str, **more: str) -> None:
        self.port = free_port()
        self.log = log
        self._folder = ROOT / "examples" / folder
        self._module = module
        self._options = options
        self._environment = {**environment(), "PYTHONPATH": str(self._folder), **more}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, as a browser would write it."""
        return f"http://localhost:{self.port}"

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", self._module, *self._options),
                    *("--port", str(self.port)),
                ],
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
            )
        waiting_until = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > waiting_until:
                raise AssertionError(f"{self._module} did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, whatever happened."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)
