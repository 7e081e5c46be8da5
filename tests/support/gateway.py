"""A real gateway on a real socket over a real database, in front of a scripted model server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import Connection

from latchgate.clock import Clock, SystemClock
from latchgate.domain.people import Caller
from latchgate.gateway.directory import Directory, KeyEntry
from latchgate.gateway.engine import Engine, EngineSettings
from latchgate.gateway.kept import Retention
from latchgate.gateway.rates import RateTerms
from latchgate.services.api_keys import APIKeys, NewKey
from latchgate.services.audit import AuditReport, audit
from latchgate.services.billing import Balances, Billing, InFlight
from latchgate.services.catalog import Catalog, ModelTerms
from latchgate.services.key_terms import TermsOfKeys
from latchgate.services.limits import Limits
from latchgate.services.prices import Prices
from latchgate.services.recovery import recover
from latchgate.services.reports import Reports
from latchgate.services.usage import UsageService
from latchgate.services.usage_views import UsageView
from latchgate.services.vault import Vault
from latchgate.storage.accounts import insert_account
from latchgate.storage.ledger import open_account_books, open_platform_books
from latchgate.storage.schema import migrate
from latchgate.storage.store import Store
from latchgate.upstream.connection import Deadlines
from tests.support.model_server import ModelServer
from tests.support.sqlite import copy_empty_database

PEPPER = b"p" * 32
CALLER = Caller(actor="test")
USD = 1_000_000_000
ACCOUNT = "acct_test"


@dataclass
class Reply:
    """An answer off the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error envelope's inside; all four keys must be there."""
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    @property
    def events(self) -> list[str]:
        """The payloads of a stream's events."""
        return [
            line.removeprefix("data: ")
            for line in self.body.decode().split("\n")
            if line.startswith("data: ")
        ]


@dataclass
class Gateway:
    """A running gateway with one account, and the means to look behind it."""

    store: Store
    clock: Clock
    engine: Engine
    directory: Directory
    api_keys: APIKeys
    key_terms: TermsOfKeys
    billing: Billing
    usage: UsageService
    limits: Limits
    catalog: Catalog
    prices: Prices
    model_server: ModelServer
    journal_folder: Path
    port: int = 0
    secret: str = ""
    key: NewKey | None = None

    async def add_account(self, account_id: str, credit_nanos: int) -> NewKey:
        """An account with credit and one live key."""

        def transaction(conn: Connection) -> None:
            now_us = self.clock.now_us()
            insert_account(
                conn,
                id=account_id,
                name=account_id,
                state="active",
                is_premium_on=0,
                time_zone="UTC",
                credit_line_nanos=0,
                created_us=now_us,
            )
            open_account_books(conn, account_id=account_id, now_us=now_us)

        await self.store.write(transaction)
        if credit_nanos:
            await self.billing.add_credit(account_id, credit_nanos, caller=CALLER, kind="gift")
        return await self.api_keys.create(account_id, "test", caller=CALLER)

    async def balances(self, account_id: str = ACCOUNT) -> Balances:
        """The account's exact figures."""
        return await self.billing.balances(account_id)

    async def events(self, account_id: str = ACCOUNT) -> list[UsageView]:
        """The account's calls, newest first."""
        found, _ = await self.usage.list_events(account_id, limit=200)
        return found

    async def audit(self) -> AuditReport:
        """The offline audit over what has been posted."""
        await self.engine.drain.flush()
        return await self.store.read(audit, journal_folder=self.journal_folder)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        *,
        headers: dict[str, str] | None = None,
        key: str | None = None,
    ) -> Reply:
        """One request on a connection of its own."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        lines = {"host": "localhost", "connection": "close"}
        if key != "":
            lines["authorization"] = f"Bearer {key or self.secret}"
        if data is not None:
            lines |= {"content-type": "application/json", "content-length": str(len(data))}
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        raw = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (data or b"")
        return await self.raw(raw)

    async def raw(self, data: bytes) -> Reply:
        """Send bytes, and read one answer until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return await read_reply(reader)
        finally:
            writer.close()

    async def chat(self, text: str = "Say hi", **fields: Any) -> Reply:
        """One chat call with the account's key; ``key`` and ``headers`` go to the request."""
        key, headers = fields.pop("key", None), fields.pop("headers", None)
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
        return await self.request("POST", "/v1/chat/completions", body, key=key, headers=headers)


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """Read one answer: by its length, by its chunks, or up to the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    headers = {}
    for line in lines[1:]:
        if line:
            name, value = line.split(": ", 1)
            headers[name.lower()] = value
    status = int(lines[0].split(" ")[1])
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.read()
    return Reply(status, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body; one that is cut off ends with ``!CUT``."""
    pieces = []
    try:
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
    except asyncio.IncompleteReadError:
        pieces.append(b"!CUT")
    return b"".join(pieces)


def default_database_url() -> str:
    """The database of a gateway whose test names none: SQLite, in its folder."""
    return ""


@asynccontextmanager
async def running_gateway(
    folder: Path,
    *,
    credit_nanos: int = 5 * USD,
    terms: ModelTerms | None = None,
    running_per_key_max: int = 100,
    idle_s: float = 60.0,
    clock: Clock | None = None,
    rates: RateTerms | None = None,
    database_url: str | None = None,
    retention: Retention | None = None,
    calls_at_once: int | None = None,
    queued_calls_max: int = 100,
    trusted_proxies: frozenset[str] = frozenset(),
) -> AsyncIterator[Gateway]:
    """A gateway with one account (``acct_test``), one model (``m``) and its model server."""
    model_server = ModelServer()
    await model_server.start()
    gateway = await _build(
        folder,
        model_server,
        running_per_key_max,
        idle_s,
        clock or SystemClock(),
        rates or RateTerms(),
        default_database_url() if database_url is None else database_url,
        retention=retention or Retention(),
        queued_calls_max=queued_calls_max,
        trusted_proxies=trusted_proxies,
    )
    server = await _listen(gateway)
    try:
        await gateway.catalog.add_upstream(
            "fake",
            base_url=model_server.base_url,
            api_key="up-key",
            calls_at_once=calls_at_once,
        )
        await gateway.catalog.add_model(
            "m",
            upstream="fake",
            upstream_model="up-model",
            tier="standard",
            context_tokens=8192,
            output_tokens_max=1000,
            terms=terms or ModelTerms(100_000, 20_000, 400_000),
        )
        gateway.key = await gateway.add_account(ACCOUNT, credit_nanos)
        gateway.secret = gateway.key.secret
        yield gateway
    finally:
        server.should_exit = True
        await server.task
        await model_server.stop()
        await gateway.engine.close()
        gateway.store.close()


async def _build(
    folder: Path,
    model_server: ModelServer,
    running_per_key_max: int,
    idle_s: float,
    clock: Clock,
    rates: RateTerms,
    database_url: str,
    *,
    retention: Retention,
    queued_calls_max: int,
    trusted_proxies: frozenset[str],
) -> Gateway:
    database = folder / "latchgate.db"
    if not database_url and not database.exists():
        await copy_empty_database(database)
    store = Store(database, database_url)
    journal_folder = folder / "journal"
    journal_folder.mkdir(exist_ok=True)
    await store.write(migrate)
    await store.write(open_platform_books)
    await store.write(recover, journal_folder=journal_folder, now_us=clock.now_us())
    vault = Vault(b"v" * 32)
    directory = Directory(store, clock, PEPPER, vault.open)
    settings = EngineSettings(
        journal_folder=journal_folder,
        journal_interval_ms=None,
        deadlines=Deadlines(connect_s=10.0, first_byte_s=idle_s, idle_s=idle_s),
        connections_max=1000,
        queued_calls_max=queued_calls_max,
        running_per_key_max=running_per_key_max,
        hold_wait_s=1.0,
        rates=rates,
        header_bytes_max=32 * 1024,
        body_bytes_max=1024 * 1024,
        answer_bytes_max=4 * 1024 * 1024,
        trusted_proxies=trusted_proxies,
        retention=retention,
    )
    engine = Engine(store, clock, directory, settings)
    api_keys = APIKeys(store, clock, PEPPER, directory.on_key_changed)

    async def activate(entry: KeyEntry) -> None:
        await api_keys.confirm(entry.account_id, entry.id, Caller(actor=entry.id))

    async def settle() -> None:
        await engine.drain.flush()

    in_flight = InFlight(settle=settle, held_nanos=engine.held_nanos)
    usage = UsageService(store, clock, in_flight)
    limits = Limits(store, clock, in_flight, engine.on_limits_changed)
    directory.on_ended_key_used = api_keys.note_use_after_end
    await engine.start(
        activate=activate, report=Reports(store, clock, in_flight, usage, limits).get
    )
    return Gateway(
        store=store,
        clock=clock,
        engine=engine,
        directory=directory,
        api_keys=api_keys,
        key_terms=TermsOfKeys(store, clock, directory.on_terms_changed),
        billing=Billing(store, clock, in_flight, engine.purse.on_credit, engine.on_limits_changed),
        limits=limits,
        usage=usage,
        catalog=Catalog(store, clock, vault, directory.load_models),
        prices=Prices(store, clock, directory.load_models),
        model_server=model_server,
        journal_folder=journal_folder,
    )


class _Server(uvicorn.Server):
    """uvicorn, without its hold on the process's signals."""

    task: asyncio.Task[None]

    def capture_signals(self) -> Any:
        """Leave signals to the test runner."""
        return nullcontext()


async def _not_found(scope: Any, _receive: Any, send: Any) -> None:
    """Stands where the console would be."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"console"})


async def _listen(gateway: Gateway) -> _Server:
    config = uvicorn.Config(
        _not_found,
        host="127.0.0.1",
        port=0,
        http=gateway.engine.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = _Server(config)
    server.task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    gateway.port = server.servers[0].sockets[0].getsockname()[1]
    return server
