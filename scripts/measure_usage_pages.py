"""Measure what pages of usage cost a server whose account has a million calls.

    .venv/bin/python scripts/measure_usage_pages.py [calls] [time zone]

It makes an installation in a folder of its own, writes the history that the tests use into its
operator's account, settles its memory as a server does, asks for each page through the application,
without a socket, and prints for two hundred of each: processor time in the middle, time in the
middle, at the 99th percentile and at most, and what the page weighs. Its client runs in the same
process, and is counted with it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from latchgate.server import settle_memory
from tests.api.test_management_codes import operator_of
from tests.support.gateway import CALLER
from tests.support.history import KEYS, RARE_APP, write_history
from tests.support.management import running_console

ROUNDS, DAYS = 200, 90
PAGES = (
    "/home",
    "/usage",
    "/usage?period=today",
    "/usage?period=7d&per=hour",
    "/usage?period=last_month&split=model&show=tokens",
    "/usage?period=last_month&model=large&split=key",
    f"/usage?period=last_month&app={RARE_APP.replace(' ', '+')}",
    "/api/usage/summary?period=last_month",
    "/api/usage?period=last_month&app=curl",
    "/api-keys",
    "/limits",
    "/billing",
    "/statements",
    "/playground",
    "/prices",
    "/profile",
    "/security",
    "/security/activity",
    "/operator/accounts",
    "/operator/billing",
    "/operator/models",
    "/operator/books",
)


async def _measure(folder: Path, calls: int, zone: str) -> None:
    async with running_console(folder) as console:
        browser = await operator_of(console)
        account_id = (await browser.get("/api/session")).json()["account_id"]
        now_us = console.world.clock.now_us()
        write = {"calls": calls, "days": DAYS, "account_id": account_id, "end_us": now_us}
        await console.world.store.write(write_history, **write)
        await console.world.services.limits.set_time_zone(account_id, zone, CALLER)
        listed = (await browser.get("/api/usage?period=last_month")).json()
        older = f"/usage?period=last_month&before={listed['data'][-1]['request_id']}"
        receipt = f"/usage/{listed['data'][0]['request_id']}"
        account = f"/operator/accounts/{account_id}"
        settle_memory()
        for path in (*PAGES, older, receipt, f"/api-keys/{KEYS[1]}", account):
            took, worked = [], []
            for _ in range(ROUNDS):
                began, working = time.perf_counter(), time.process_time()
                answer = await browser.get(path)
                took.append((time.perf_counter() - began) * 1000)
                worked.append((time.process_time() - working) * 1000)
            sys.stdout.write(
                f"{answer.status_code} {statistics.median(worked):6.1f} ms of work,"
                f" {statistics.median(took):6.1f} ms, {_p99(took):6.1f} ms p99,"
                f" {max(took):6.1f} ms at most,"
                f" {len(answer.content) / 1000:5.0f} KB  {path}\n"
            )
        began, size = time.perf_counter(), 0
        async with browser.stream("GET", "/api/usage/export.csv?period=last_month") as file:
            async for piece in file.aiter_bytes():
                size += len(piece)
        seconds = time.perf_counter() - began
        sys.stdout.write(f"export of {size / 1e6:.1f} MB in {seconds:.1f} s\n")


def _p99(took: list[float]) -> float:
    """What 99 of a hundred do not exceed."""
    return sorted(took)[len(took) * 99 // 100 - 1]


def main() -> None:
    """Print the figures."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    zone = sys.argv[2] if len(sys.argv) > 2 else "Europe/Berlin"  # noqa: PLR2004 - a word each
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), calls, zone))


if __name__ == "__main__":
    main()
