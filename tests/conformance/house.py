"""A running Latchgate with both kinds of model behind it, and the door that clients use."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conformance.player import PARTS, play
from tests.support.model_server import ModelServer
from tests.support.server import ServerProcess

EMBEDDED = "smollm2-135m"
EMBEDDED_VECTORS = "all-minilm-l6-v2"
PASSWORD = "plum river lantern"
#: What every model here costs, in USD per million tokens: input, cached input, output.
PRICES = ("1.30", "0.17", "4.90")
#: The same for one token, in nano-USD.
NANOS = (1_300, 170, 4_900)
SETTLED_TIMEOUT_S = 20.0
#: How many calls a test may look back on: a page of the management API.
CALLS_MAX = 100


class Outside:
    """What is outside the machine: the scripted upstream, and a door that counts requests.

    Both run on a loop of their own, beside the tests. The door passes bytes on as they are.
    """

    def __init__(self) -> None:
        self.model_server = ModelServer(behaviour=play)
        self.door_port = 0
        self.requests = 0
        self._behind_port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self, behind_port: int) -> None:
        """Begin to listen; the door leads to a port of loopback."""
        self._behind_port = behind_port
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        """End the loop and what runs on it."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        await self.model_server.start()
        self._door = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.door_port = self._door.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._door.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._door.wait_closed()
        await self.model_server.stop()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", self._behind_port)
        ways = [
            asyncio.create_task(self._carry(reader, behind[1], counts=True)),
            asyncio.create_task(self._carry(behind[0], writer, counts=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, behind[1]):
                end.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                if counts and data.startswith((b"POST ", b"GET ")):
                    self.requests += 1
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass


@dataclass
class Customer:
    """An account with a live key."""

    email: str
    secret: str
    cookie: str


class House:
    """The server, what is outside, and the accounts that clients call for."""

    def __init__(self, folder: Path) -> None:
        self.server = ServerProcess(
            folder / "data",
            LATCHGATE_EMBEDDED_INPUT_PRICE=PRICES[0],
            LATCHGATE_EMBEDDED_CACHED_PRICE=PRICES[1],
            LATCHGATE_EMBEDDED_OUTPUT_PRICE=PRICES[2],
            LATCHGATE_EMBEDDED_EMBEDDINGS_INPUT_PRICE=PRICES[0],
        )
        self.outside = Outside()
        self._customers: dict[str, Customer] = {}

    @property
    def base_url(self) -> str:
        """The API's address, without ``/v1``, through the door."""
        return f"http://127.0.0.1:{self.outside.door_port}"

    def __enter__(self) -> Self:
        """Start everything, and put the models on offer."""
        self.server.start()
        self.outside.start(self.server.port)
        self._add_upstream()
        for name in ("player", *PARTS):
            self._add_model(name, "--images")
        self._add_model("thinker", "--thinks")
        cli = ("model", "add", "vectors", "--upstream", "stage", "--kind", "embeddings")
        self.server.cli(*cli, "--input-price", PRICES[0], "--context", "8192")
        return self

    def _add_upstream(self) -> None:
        base_url = f"http://127.0.0.1:{self.outside.model_server.port}/v1"
        words = ("upstream", "add", "stage", "--base-url", base_url)
        self.server.cli(*words, "--api-key-stdin", stdin="a-secret-of-the-operator")

    def _add_model(self, name: str, *options: str) -> None:
        per_million = zip(
            ("--input-price", "--cached-price", "--output-price"), PRICES, strict=True
        )
        prices = [word for pair in per_million for word in pair]
        words = ("model", "add", name, "--upstream", "stage", "--context", "32768")
        self.server.cli(*words, "--max-output", "4096", *prices, *options)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; the books must be right after all that was done to them."""
        found = self.server.cli("audit") if error is None else {}
        self.server.stop()
        self.outside.stop()
        assert not found.get("findings"), found

    # ── accounts ────────────────────────────────────────────────────────────────────────────────
    def customer(self, name: str, *, credit: str = "5.00") -> Customer:
        """The account of that name, with a live key; made when it is first asked for."""
        if name not in self._customers:
            email = f"{name}@example.com"
            words = ("account", "create", email, "--password-stdin", "--credit", credit)
            self.server.cli(*words, stdin=PASSWORD)
            secret = self.server.cli("key", "create", email, "--name", name)["secret"]
            self._customers[name] = Customer(email, secret, self._log_in(email))
        return self._customers[name]

    def _log_in(self, email: str) -> str:
        body = json.dumps({"email": email, "password": PASSWORD}).encode()
        with self._api("/api/session", body) as answer:
            cookie: str = answer.headers["set-cookie"].partition(";")[0]
            return cookie

    def _api(self, path: str, body: bytes | None = None, cookie: str = "") -> Any:
        request = urllib.request.Request(f"{self.server.url}{path}", data=body)
        request.add_header("sec-fetch-site", "same-origin")
        request.add_header("content-type", "application/json")
        if cookie:
            request.add_header("cookie", cookie)
        return urllib.request.urlopen(request, timeout=30)

    def calls(self, customer: Customer) -> list[dict[str, Any]]:
        """The account's calls, newest first, as its owner sees them; at most a page of them."""
        with self._api(f"/api/usage?limit={CALLS_MAX}", cookie=customer.cookie) as answer:
            page = json.load(answer)
        calls: list[dict[str, Any]] = page["data"]
        return calls

    def totals(self, customer: Customer) -> dict[str, int]:
        """The sum of all of the account's calls."""
        with self._api("/api/usage?limit=1", cookie=customer.cookie) as answer:
            totals: dict[str, int] = json.load(answer)["totals"]
            return totals

    def calls_after(self, customer: Customer, known: int, wanted: int = 1) -> list[dict[str, Any]]:
        """The calls since there were so many, newest first, once they are as many as wanted."""
        waiting_until = time.monotonic() + SETTLED_TIMEOUT_S
        while True:
            calls = self.calls(customer)
            new = calls[: len(calls) - known]
            if len(new) >= wanted:
                return new
            assert time.monotonic() < waiting_until, f"{len(new)} of {wanted} calls were charged"
            time.sleep(0.05)
