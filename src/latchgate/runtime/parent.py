"""The parent, as a model server's process sees it: orders come in, the address goes out.

The child reads one JSON line of orders on stdin (the credential is in it, so that no process list
shows it), prints one JSON line with its address on stdout, and dies when its stdin closes. A pipe
closes whatever kills the parent, so the child never outlives it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any


class Parent:
    """The two ends of the pipe to whoever started us. Made first of all, and once."""

    def __init__(self) -> None:
        self.orders: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
        # Native code may write to stdout; the address must stand there alone.
        self._answer = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._is_gone = threading.Thread(target=_exit_with_parent, daemon=True)
        self._is_gone.start()

    def tell(self, address: str) -> None:
        """Say where we answer: ``http://127.0.0.1:PORT``."""
        self._answer.write(json.dumps({"address": address}) + "\n")
        self._answer.close()

    def wait(self) -> None:
        """Wait for the end, which comes in another thread."""
        self._is_gone.join()


def _exit_with_parent() -> None:
    # Below the buffer, so that nobody waits for more than there is.
    while os.read(0, 4096):
        pass
    # At once, without waiting for calls in flight: who wanted their answers is gone.
    os._exit(0)
