"""The data directory: one process at a time, readable by its owner only.

DATA/
├── latchgate.db        the database (with -wal and -shm beside it)
├── journal/            charges that may not be in the database yet, a file for each epoch
├── pepper, vault.key   the server's secrets, 0600, never in the database
├── control.sock        how the command line speaks to a running server, 0600
├── outbox/             mail, where no SMTP server is configured
├── backup/             the database's copy, while a backup is made of it
└── lock                held by the process that has the directory
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from latchgate.domain.errors import Conflict


class DataDirectory:
    """The directory's paths, and the lock on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "latchgate.db"
        self.journal = path / "journal"
        self.pepper = path / "pepper"
        self.vault_key = path / "vault.key"
        self.control_socket = path / "control.sock"
        self.outbox = path / "outbox"
        self.backup = path / "backup"
        self._lock: int | None = None

    def take(self) -> None:
        """Make the directory and lock it. Raises Conflict ``data_dir_in_use``."""
        os.umask(0o077)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.journal.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Conflict(
                f"Another process uses {self.path}.",
                code="data_dir_in_use",
            ) from None
        self._lock = lock

    def give_back(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
