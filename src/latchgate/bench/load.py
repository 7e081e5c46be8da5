"""The load generator: a process of its own, so that it can have a core of its own.

It reads one job as a line of JSON, and prints one line of JSON. A closed loop calls again as soon
as it is answered, and measures how much goes through. An open loop calls at a fixed rate whatever
the answers do, and measures how long they take. A job that holds streams open says when they are,
and waits for the end of its input.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import deque
from time import perf_counter
from typing import Any, Literal

import msgspec
import uvloop

from latchgate.bench.client import Caller, Tally

#: How often the open loop looks what is due; a finer grid than uvloop's timers is not to be had.
TICK_S = 0.001
#: How long answers that are still under way at the end are waited for.
PATIENCE_S = 20.0
#: Streams that are opened at once, when thousands are.
OPENING_AT_ONCE = 50


class Job(msgspec.Struct):
    """What to send, where, and how."""

    mode: Literal["closed", "open", "hold"]
    port: int
    body: str
    headers: dict[str, str]
    path: str = "/v1/chat/completions"
    expect_status: int = 200
    connections: int = 64
    rate: float = 0
    seconds: float = 1.0
    #: How long to call before the figures begin.
    warm_s: float = 0.2
    is_stream: bool = False

    def request(self) -> bytes:
        """The whole request, the same for every call."""
        body = self.body.encode()
        lines = {
            "host": f"127.0.0.1:{self.port}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body


class Result(msgspec.Struct):
    """What came of a job."""

    calls: int
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    events_per_s: float
    #: Everything that was answered, the warm-up included: what the server's CPU time went into.
    calls_all: int
    events_all: int
    errors: int
    first_error: str
    #: How late calls were sent (open loop), at the 99th percentile.
    lag_p99_ms: float = 0.0


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie; 0 of none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Load:
    """Runs one job on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        self._loop = loop
        self._job = job
        self._request = job.request()
        self._idle: deque[Caller] = deque()
        self._callers: set[Caller] = set()
        self._running = 0
        self._lags_s: list[float] = []
        from_s = perf_counter() + job.warm_s
        self.tally = Tally(job.expect_status, job.is_stream, from_s, from_s + job.seconds)

    async def _connect(self) -> Caller:
        _, caller = await self._loop.create_connection(
            lambda: Caller(self._request, self.tally, self._on_free), "127.0.0.1", self._job.port
        )
        self._callers.add(caller)
        return caller

    def _begin(self) -> None:
        """Time runs once the connections are there."""
        self.tally.from_s = perf_counter() + self._job.warm_s
        self.tally.until_s = self.tally.from_s + self._job.seconds

    def _on_free(self, caller: Caller) -> None:
        self._running -= 1
        if not caller.is_open:
            self._callers.discard(caller)
        elif self._job.mode == "closed" and perf_counter() < self.tally.until_s:
            self._running += 1
            caller.call()
        else:
            self._idle.append(caller)

    # ── closed ──────────────────────────────────────────────────────────────────────────────────
    async def run_closed(self) -> None:
        """Keep every connection calling."""
        callers = [await self._connect() for _ in range(self._job.connections)]
        self._begin()
        for index, caller in enumerate(callers):  # spread, or paced streams would run in step
            self._running += 1
            self._loop.call_later(self._job.warm_s * index / len(callers), caller.call)
        while perf_counter() < self.tally.until_s:
            await asyncio.sleep(0.05)
            while len(self._callers) < self._job.connections:  # what an error has closed
                self._running += 1
                (await self._connect()).call()

    # ── open ────────────────────────────────────────────────────────────────────────────────────
    async def run_open(self) -> None:
        """Call at a fixed rate; a call that finds no idle connection opens one."""
        self._idle.extend([await self._connect() for _ in range(self._job.connections)])
        self._begin()
        began_s = perf_counter()
        sent = 0
        late: set[asyncio.Task[None]] = set()
        while (now_s := perf_counter()) < self.tally.until_s:
            due = int((now_s - began_s) * self._job.rate)
            while sent < due:
                sent += 1
                self._lags_s.append(now_s - began_s - sent / self._job.rate)
                self._running += 1
                if caller := self._find_idle():
                    caller.call()
                else:
                    late.add(task := self._loop.create_task(self._call_anew()))
                    task.add_done_callback(late.discard)
            await asyncio.sleep(TICK_S)

    def _find_idle(self) -> Caller | None:
        while self._idle:
            caller = self._idle.pop()
            if caller.is_open:
                return caller
            self._callers.discard(caller)
        return None

    async def _call_anew(self) -> None:
        try:
            caller = await self._connect()
        except OSError as error:
            self._running -= 1
            self.tally.on_error(f"connect: {error}")
        else:
            caller.call()

    # ── hold ────────────────────────────────────────────────────────────────────────────────────
    async def run_hold(self) -> None:
        """Open streams, a few at a time, and say how many have begun; then wait to be told."""
        self._begin()
        self.tally.until_s = float("inf")
        at_once = asyncio.Semaphore(OPENING_AT_ONCE)
        opened = await asyncio.gather(
            *(self._open_stream(at_once) for _ in range(self._job.connections))
        )
        _print({"open": sum(opened)})
        await asyncio.to_thread(sys.stdin.readline)

    async def _open_stream(self, at_once: asyncio.Semaphore) -> bool:
        async with at_once:
            try:
                caller = await self._connect()
            except OSError as error:
                self.tally.on_error(f"connect: {error}")
                return False
            begun = asyncio.Event()
            caller.on_event = begun.set
            self._running += 1
            caller.call()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await begun.wait()
            except TimeoutError:
                self.tally.on_error("a stream did not begin")
                return False
            return True

    # ── the end ─────────────────────────────────────────────────────────────────────────────────
    async def finish(self) -> Result:
        """Wait for answers that are under way, hang up, and sum up."""
        deadline_s = perf_counter() + PATIENCE_S
        while self._running and self._job.mode != "hold":
            if perf_counter() > deadline_s:
                self.tally.on_error("an answer did not come")
                break
            await asyncio.sleep(0.01)
        for caller in self._callers:
            caller.leave()
        await asyncio.sleep(0.05)
        tally, seconds = self.tally, self._job.seconds
        latencies = sorted(tally.latencies_s)
        return Result(
            calls=len(latencies),
            calls_per_s=len(latencies) / seconds,
            p50_ms=percentile(latencies, 0.50) * 1000,
            p99_ms=percentile(latencies, 0.99) * 1000,
            events_per_s=tally.events / seconds,
            calls_all=tally.calls_all,
            events_all=tally.events_all,
            errors=tally.errors,
            first_error=tally.first_error,
            lag_p99_ms=percentile(sorted(self._lags_s), 0.99) * 1000,
        )


async def run(job: Job) -> Result:
    """Do a job."""
    load = Load(asyncio.get_running_loop(), job)
    match job.mode:
        case "closed":
            await load.run_closed()
        case "open":
            await load.run_open()
        case "hold":
            await load.run_hold()
    return await load.finish()


def _print(answer: Any) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read a job, do it, print its result."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    gc.disable()  # it lives for seconds, and its pauses would be taken for the server's
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _print(runner.run(run(job)))


if __name__ == "__main__":
    main()
