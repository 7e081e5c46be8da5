"""A model server of our own, as its parent sees it: a child process at an address that answers.

child = ModelChild(spec, data_dir=…)
address = await child.start()      weights verified, child started, model loaded
…                                  a child that dies is started again, on a new port
await child.stop()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

import latchgate
from latchgate.runtime.bounded_log import BoundedLog
from latchgate.runtime.weights import ModelUnavailable

LOG_BYTES_MAX = 1024 * 1024
LOAD_TIMEOUT_S = 300
HEALTH_TIMEOUT_S = 5
STOP_TIMEOUT_S = 5
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 30.0
#: A child that ran for so long was well: the next wait starts small again.
WELL_AFTER_S = 60

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChildAddress:
    """Where the child answers, and the credential that it asks for."""

    base_url: str
    api_key: str

    def __repr__(self) -> str:
        return f"ChildAddress({self.base_url})"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What sets one model server apart from another."""

    #: What it is called in the log: "embedded model".
    title: str
    #: The module that the child runs.
    module: str
    #: Its own log, in the data directory.
    log_name: str
    #: Verifies the weights and gives the child's orders, less the credential; runs in a thread.
    #: Raises ModelUnavailable.
    prepare: Callable[[], Mapping[str, object]]


class ModelChild:
    """One child: started, watched, started again when it dies, and stopped."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        data_dir: Path,
        on_address_changed: Callable[[ChildAddress], None] | None = None,
    ) -> None:
        self._spec = spec
        self._on_address_changed = on_address_changed
        self._api_key = secrets.token_urlsafe(32)
        self._log = BoundedLog(data_dir / spec.log_name, bytes_max=LOG_BYTES_MAX)
        self._orders: Mapping[str, object] = {}
        self._child: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_up = asyncio.Event()
        self.address: ChildAddress | None = None
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The child's process id, when one runs."""
        return self._child.pid if self._child and self._child.returncode is None else None

    @property
    def is_up(self) -> bool:
        """Whether it runs and has loaded its weights."""
        return self._is_up.is_set() and self.pid is not None

    async def start(self) -> ChildAddress:
        """Verify the weights, start the child and wait until it has loaded them.

        Raises ModelUnavailable when weights are missing or damaged, or the child does not start.
        """
        self._orders = await asyncio.to_thread(self._spec.prepare)
        address = await self._launch()
        self._watching = asyncio.create_task(self._watch(), name=self._spec.title)
        return address

    async def wait_ready(self, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """Wait until the child says that it is healthy; else raises ModelUnavailable."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_up.wait()
                while not await self.is_healthy():  # noqa: ASYNC110 (another process has no Event)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise ModelUnavailable(
                f"The {self._spec.title} is not up after {timeout_s} s."
            ) from None

    async def is_healthy(self) -> bool:
        """Ask the child's ``/health``."""
        if self.address is None or self.pid is None:
            return False
        port = int(self.address.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                return await _answers_200(port)
        except OSError:  # a TimeoutError is one
            return False

    async def stop(self) -> None:
        """End the child; it is gone when this returns."""
        if self._watching:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self._end_child()
        self._log.close()

    async def _launch(self) -> ChildAddress:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._spec.module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            # Ctrl-C in a terminal is for us: the child ends when we have finished with it.
            start_new_session=True,
        )
        self._child = child
        self._reading = asyncio.create_task(self._keep_log(child))
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                url = await self._give_orders(child)
        except (TimeoutError, asyncio.CancelledError):
            await self._end_child()
            raise
        if url is None:
            await self._end_child()
            raise ModelUnavailable(f"The {self._spec.title} did not start: see {self._log.path}.")
        self.address = ChildAddress(f"{url.rstrip('/')}/v1", self._api_key)
        self._is_up.set()
        return self.address

    async def _give_orders(self, child: asyncio.subprocess.Process) -> str | None:
        """Send the orders; the child's address, or None when it died first."""
        assert child.stdin is not None  # noqa: S101 (asked for above)
        assert child.stdout is not None  # noqa: S101
        orders = json.dumps({**self._orders, "api_key": self._api_key}).encode() + b"\n"
        with contextlib.suppress(ConnectionError):
            child.stdin.write(orders)
            await child.stdin.drain()
        line = await child.stdout.readline()
        return str(json.loads(line)["address"]) if line else None

    async def _keep_log(self, child: asyncio.subprocess.Process) -> None:
        assert child.stderr is not None  # noqa: S101 (asked for in _launch)
        while chunk := await child.stderr.read(16_384):
            self._log.write(chunk)

    async def _watch(self) -> None:
        title, wait_s = self._spec.title, BACKOFF_FIRST_S
        while True:
            started_s = time.monotonic()
            if self._child is not None:
                code = await self._child.wait()
                self._is_up.clear()
                log.warning("a model server died and is started again", what=title, exit_code=code)
            await self._end_child()
            if time.monotonic() - started_s > WELL_AFTER_S:
                wait_s = BACKOFF_FIRST_S
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, BACKOFF_MAX_S)
            self.restarts += 1
            try:
                address = await self._launch()
            except (LookupError, OSError, ValueError, ModelUnavailable) as failure:
                log.warning("a model server did not start", what=title, reason=str(failure))
                continue
            log.info("a model server is up again", what=title, base_url=address.base_url)
            if self._on_address_changed:
                self._on_address_changed(address)

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        self._is_up.clear()
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if self._reading:
            await self._reading


def _environment() -> dict[str, str]:
    """Ours, less our settings (a mail password may be among them), and the way to our code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LATCHGATE_")}
    source = str(Path(latchgate.__file__).parents[1])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [source, kept.get("PYTHONPATH", "")]))
    return kept


async def _answers_200(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        await writer.drain()
        return b" 200 " in await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
