"""Lets a test, which runs in a task, wait for what fibers wait for."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from latchgate import fibers

T = TypeVar("T")


async def settled(wait: fibers.Wait[T]) -> T:
    """The wait's value, or what it fails with."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def fiber() -> None:
        try:
            future.set_result(await wait)
        except Exception as error:  # noqa: BLE001 - the test is to have it
            future.set_exception(error)

    fibers.run(fiber())
    return await future
