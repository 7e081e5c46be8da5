"""The child process that writes: llama.cpp's own server, in a process of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from latchgate.runtime.parent import Parent

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


def main() -> None:
    """Serve until the parent is gone."""
    parent = Parent()
    server = _serve(Orders(**parent.orders))
    parent.tell(server.listening_address)
    parent.wait()


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
    # One core is left to everything else: threads that wait for one another at every step would
    # all wait for the one that shares its core, which costs far more than the core brings.
    params.cpuparams.n_threads = orders.threads or max(1, (os.cpu_count() or 1) - 1)
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
