"""Guards the books against a PostgreSQL that dies under load, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from latchgate.services.catalog import ModelTerms
from latchgate.storage.usage_events import find_event_ids
from tests.fault.crowd import dice_of
from tests.support.gateway import USD, Gateway, running_gateway
from tests.support.management import error_of, running_management
from tests.support.model_server import answers, usage_of
from tests.support.postgres import TEMPLATE, PostgresServer

pytestmark = pytest.mark.anyio

#: An output token costs 0.10 USD, so that a lease carries some twenty calls of one token.
TERMS = ModelTerms(0, 0, 100_000_000_000)
TOKEN = USD // 10
CALLERS = 8


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server that this test may kill."""
    server = PostgresServer()
    try:
        server.start()
        server.make_template()
        yield server
    finally:
        server.close()


@dataclass
class Customers:
    """Calls from all sides, and what came of each."""

    gateway: Gateway
    charged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    is_open: bool = True

    async def keep_calling(self) -> None:
        """Call again and again; each call is answered, or refused because of the books."""
        while self.is_open:
            reply = await self.gateway.chat(max_tokens=1)
            if reply.status == 200:
                assert reply.json["usage"]["cost_nanos"] == TOKEN
                self.charged.append(reply.headers["x-request-id"])
            else:
                assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
                self.refused.append(reply.headers["x-request-id"])
                await asyncio.sleep(0.02)

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait while they call."""
        async with asyncio.timeout(60):
            while not done():  # noqa: ASYNC110 - calls have no event for it
                await asyncio.sleep(0.01)


async def _check(gateway: Gateway, customers: Customers) -> None:
    """Every call that was answered is charged once, and nothing else is."""
    report = await gateway.audit()
    assert report.findings == ()
    posted = await gateway.store.read(find_event_ids, customers.charged)
    assert posted == set(customers.charged)
    assert not await gateway.store.read(find_event_ids, customers.refused)
    balances = await gateway.balances()
    assert balances.spent_nanos == len(customers.charged) * TOKEN


async def test_killed_under_load_it_loses_no_charge_and_calls_go_on_by_themselves(
    tmp_path: Path, mortal: PostgresServer
) -> None:
    dice = dice_of(30)
    with mortal.database(TEMPLATE) as url:
        async with running_gateway(
            tmp_path, terms=TERMS, credit_nanos=100_000 * USD, database_url=url
        ) as gateway:
            gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
            customers = Customers(gateway)
            callers = [asyncio.create_task(customers.keep_calling()) for _ in range(CALLERS)]
            for _ in range(4):
                enough = len(customers.charged) + dice.randint(30, 200)
                await customers.until(lambda least=enough: len(customers.charged) >= least)  # type: ignore[misc]
                refused = len(customers.refused)
                mortal.kill()
                await customers.until(lambda most=refused: len(customers.refused) > most + 20)  # type: ignore[misc]
                await asyncio.to_thread(mortal.start)
            enough = len(customers.charged) + 100
            await customers.until(lambda: len(customers.charged) >= enough)
            customers.is_open = False
            await asyncio.gather(*callers)
            await _check(gateway, customers)


async def test_keys_and_pages_are_refused_for_now_while_it_is_gone(
    tmp_path: Path, mortal: PostgresServer
) -> None:
    with mortal.database(TEMPLATE) as url:
        async with running_gateway(tmp_path, database_url=url) as gateway:
            mortal.kill()
            unknown = await gateway.chat()  # its key was not asked for yet
            assert (unknown.status, unknown.error["code"]) == (503, "ledger_unavailable")
            await asyncio.to_thread(mortal.start)
            assert (await gateway.chat()).status == 200
    with mortal.database() as url:
        async with running_management(tmp_path, database_url=url) as management:
            ada = await management.signed_up()
            mortal.kill()
            answer = await ada.get("/api/keys")
            assert (answer.status_code, error_of(answer)["code"]) == (503, "ledger_unavailable")
            await asyncio.to_thread(mortal.start)
            assert (await ada.get("/api/keys")).status_code == 200


@pytest.mark.usefixtures("either_engine")
async def test_a_posting_whose_end_nobody_heard_of_lands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=10 * USD) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        customers = Customers(gateway)
        database, write = gateway.store._database, gateway.store._database.write

        def lose_the_answer(fn: Callable[[Connection], Any]) -> None:
            write(fn)
            raise OperationalError("COMMIT", {}, ConnectionError("cut off"))

        for _ in range(3):
            await gateway.chat(max_tokens=1)
        monkeypatch.setattr(database, "write", lose_the_answer)
        reply = await gateway.chat(max_tokens=1)
        with pytest.raises(OperationalError):
            await gateway.engine.drain.flush()
        monkeypatch.setattr(database, "write", write)
        customers.charged.append(reply.headers["x-request-id"])
        await gateway.chat(max_tokens=1)
        report = await gateway.audit()
        assert report.findings == ()
        assert gateway.engine.drain.waiting_calls == 0
        assert (await gateway.balances()).spent_nanos == 5 * TOKEN
