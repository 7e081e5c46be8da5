"""A log file that cannot grow without end: the file and one older half."""

from __future__ import annotations

import io
import os
from pathlib import Path


class BoundedLog:
    """Appends bytes; at ``bytes_max`` the file becomes ``….old`` and a new one begins."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self.path = path
        self._bytes_max = bytes_max
        self._file = _open(path)

    def write(self, chunk: bytes) -> None:
        """Append; a full disk loses the noise, not the server."""
        try:
            if self._file.tell() + len(chunk) > self._bytes_max:
                self._file.close()
                self.path.replace(self.path.with_suffix(self.path.suffix + ".old"))
                self._file = _open(self.path)
            self._file.write(chunk)
        except OSError:
            return

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _open(path: Path) -> io.FileIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return io.FileIO(descriptor, "a")
