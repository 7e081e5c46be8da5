"""A small real world on disk, closed: what the audit's tests spoil and then audit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from latchgate.domain.windows import Window
from latchgate.services.audit import AuditReport, audit
from latchgate.services.catalog import ModelTerms
from latchgate.storage.budgets import get_credit_budget
from latchgate.storage.leases import open_epoch, take_lease
from latchgate.storage.store import Store
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.model_server import Received, answers, send_json, usage_of

#: 0.10, 0.02 and 0.40 USD per million tokens: 100, 20 and 400 nano-USD a token.
TERMS = ModelTerms(100_000, 20_000, 400_000)
OTHER = "acct_other"
#: 12 tokens in and 5 out, which is what the model server says unless told otherwise.
CHARGE = 12 * 100 + 5 * 400
#: Names of rows that the public functions do not tell.
LOOK_UP = {
    "posting": "SELECT posting_id FROM usage_events WHERE request_id = :call",
    "gift": "SELECT id FROM postings WHERE kind = 'gift' AND account_id = 'acct_test'",
    "overrun": "SELECT id FROM postings WHERE kind = 'overrun'",
    "price": "SELECT id FROM prices WHERE version = 1 AND service_tier = 'default'",
    "new_price": "SELECT id FROM prices WHERE version = 2 AND service_tier = 'default'",
}


@dataclass
class Books:
    """An installation's files, closed, and the names of what is in them."""

    folder: Path
    names: dict[str, str]

    @property
    def journal(self) -> Path:
        """The journal of the epoch that has ended."""
        return self.folder / "journal" / f"{self.names['ended']}.journal"

    def change(self, *statements: str) -> None:
        """Run statements on the closed file, as no part of ours would; ``:name`` is a name."""
        with closing(sqlite3.connect(self.folder / "latchgate.db")) as conn:
            conn.execute("PRAGMA ignore_check_constraints = ON")
            with conn:
                changed = [conn.execute(sql, self.names).rowcount for sql in statements]
        assert 0 not in changed, "a corruption that changes nothing proves nothing"

    def audit(self) -> AuditReport:
        """What the audit says of these files."""

        async def run() -> AuditReport:
            store = Store(self.folder / "latchgate.db")
            try:
                return await store.read(audit, journal_folder=self.folder / "journal")
            finally:
                store.close()

        return asyncio.run(run())


async def _fail(_request: Received, writer: asyncio.StreamWriter) -> None:
    await send_json(writer, 500, {})


async def _live_a_little(gateway: Gateway) -> dict[str, str]:
    """Two accounts and calls of every kind, each posted alone; the calls' names."""
    other = await gateway.add_account(OTHER, USD)
    names: dict[str, str] = {}

    async def call(name: str, run: Callable[[], Awaitable[object]]) -> None:
        await run()
        account_id = OTHER if name == "other" else ACCOUNT
        names[name] = (await gateway.events(account_id))[0].request_id

    await call("call", gateway.chat)
    await call("stream", lambda: gateway.chat(stream=True))
    await call("other", lambda: gateway.chat(key=other.secret))
    gateway.model_server.behaviour = _fail
    await call("free", gateway.chat)
    gateway.model_server.behaviour = answers(usage=usage_of(7000, 900))
    await call("over", lambda: gateway.chat(max_tokens=10))
    gateway.model_server.behaviour = answers()
    await gateway.prices.set_price("m", terms=ModelTerms(200_000, 40_000, 800_000))
    replacement = await gateway.api_keys.create(
        ACCOUNT, "second", caller=CALLER, replace=True, at_once=True
    )
    await call("dear", lambda: gateway.chat(key=replacement.secret))
    assert gateway.key is not None
    keys = {"old_key": gateway.key.view.id, "key": replacement.view.id, "other_key": other.view.id}
    return {**names, **keys, "ended": gateway.engine.epoch_id}


async def build(folder: Path) -> dict[str, str]:
    """A first epoch that ended well, and a second one that has a lease out."""
    async with running_gateway(folder, terms=TERMS) as gateway:
        names = await _live_a_little(gateway)
    store = Store(folder / "latchgate.db")
    for account_id, name in ((ACCOUNT, "budget"), (OTHER, "other_budget")):
        names[name] = await store.read(get_credit_budget, account_id)
    names["living"] = "epo_living"
    await store.write(open_epoch, epoch_id=names["living"], now_us=2**50)
    window = Window(names["budget"], 0)
    lease = {"epoch_id": names["living"], "window": window, "wanted_nanos": 1000}
    assert await store.write(take_lease, **lease, needed_nanos=1000) == 1000
    store.close()
    with closing(sqlite3.connect(folder / "latchgate.db")) as conn:
        for name, query in LOOK_UP.items():
            ((names[name],),) = conn.execute(query, names).fetchall()
    return names
