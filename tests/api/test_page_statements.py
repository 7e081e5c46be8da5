"""No page asks the database more often than a few times, nor the more often the more there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from latchgate.clock import DAY_US
from latchgate.domain.usage import Usage
from tests.support.management import running_console
from tests.support.months import Call, charge
from tests.support.routes import ROUTES, address_of, operator_with_all

pytestmark = pytest.mark.anyio
#: Who it is, what binds, what was used: home and an account's page for operators ask the most.
STATEMENTS_MAX = 30


@contextmanager
def _counted() -> Iterator[list[str]]:
    """Every statement that is run meanwhile."""
    said: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_every_page_asks_a_bounded_number_of_times(tmp_path: Path) -> None:
    async with running_console(tmp_path) as console:
        operator, ids = await operator_with_all(console)
        few: dict[str, int] = {}
        for path in ROUTES:
            with _counted() as said:
                await operator.get(address_of(path, ids))
            few[path] = len(said)
            assert len(said) <= STATEMENTS_MAX, (path, len(said))
        began_us = console.world.clock.now_us() - 60 * DAY_US
        calls = [
            (began_us + day * DAY_US, [Call("m", Usage(day, 0, 1), app=f"app {day}")])
            for day in range(60)
        ]
        await charge(console.world.store, ids["account_id"], ids["key_id"], calls)
        for path in ROUTES:
            with _counted() as said:
                await operator.get(address_of(path, ids))
            # A little may happen beside it, such as noting that the session was seen.
            assert len(said) <= few[path] + 3, (path, said)
