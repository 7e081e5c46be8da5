"""The child process: llama.cpp's own server, in a process of its own.

It reads one JSON line of orders on stdin (the credential is in it, so that no process list shows
it), prints one JSON line with its address on stdout, and dies when its stdin closes. A pipe closes
whatever kills the parent, so the child never outlives it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any

#: Prompts that llama.cpp keeps for reuse, at most; its own default is 8 GiB.
PROMPT_CACHE_MIB = 256
#: Calls that wait in line each keep one of the server's HTTP threads.
WAITING_THREADS = 32


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parent asks for."""

    model_path: str
    model_name: str
    api_key: str
    parallel: int
    context_tokens: int
    threads: int

    def to_line(self) -> bytes:
        """The one line that goes to the child."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Serve until stdin closes."""
    orders = Orders(**json.loads(sys.stdin.buffer.readline()))
    # llama.cpp may write to stdout; the address must stand there alone.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    parent_is_gone = threading.Thread(target=_exit_with_parent, daemon=True)
    parent_is_gone.start()
    server = _serve(orders)
    answer.write(json.dumps({"address": server.listening_address}) + "\n")
    answer.close()
    parent_is_gone.join()


def _exit_with_parent() -> None:
    # Below the buffer, so that nobody waits for more than there is.
    while os.read(0, 4096):
        pass
    # At once, without waiting for calls in flight: who wanted their answers is gone.
    os._exit(0)


def _serve(orders: Orders) -> Any:
    import xllamacpp  # noqa: PLC0415 (loading llama.cpp belongs to running, not to importing)

    params = xllamacpp.CommonParams()
    params.model.path = orders.model_path
    params.model_alias = {orders.model_name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [orders.api_key]
    params.n_parallel = orders.parallel
    params.n_ctx = orders.context_tokens * orders.parallel
    params.fit_params = False
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.n_threads_http = orders.parallel + WAITING_THREADS
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.cpuparams.n_threads = orders.threads or os.cpu_count() or 1
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
