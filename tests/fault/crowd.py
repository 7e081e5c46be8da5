"""Clients that call until the server dies, and remember what of each answer they have seen."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latchgate.app import open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings, StorageSettings
from latchgate.domain.people import CLI
from latchgate.services.catalog import ModelTerms
from tests.support.model_server import (
    Received,
    chunk,
    completion,
    end_events,
    send_chunk,
    send_json,
    start_events,
    usage_chunk,
    usage_of,
)

HANG = "hang"
#: 0.10 and 0.40 USD per million tokens, in nano-USD a token.
INPUT_NANOS, OUTPUT_NANOS = 100, 400
PASSWORD = "seven quiet violet llamas"
RICH_NANOS = 5_000_000_000
#: Enough for some ten calls: it runs dry in the middle of a storm.
POOR_NANOS = 80_000


@dataclass
class Seen:
    """What one client saw of its call."""

    number: int
    is_rich: bool
    request_id: str = ""
    status: int = 0
    pieces: int = 0
    is_complete: bool = False
    cost_nanos: int | None = None


def usage_for(number: int) -> dict[str, Any]:
    """What the model server states for a call: it differs from call to call."""
    return usage_of(10 + number % 50, 1 + number % 19)


def cost_for(number: int) -> int:
    """What that costs."""
    return (10 + number % 50) * INPUT_NANOS + (1 + number % 19) * OUTPUT_NANOS


@dataclass
class Crowd:
    """Many clients at one port, each with a connection for each call."""

    port: int
    rich: str
    poor: str
    seen: list[Seen] = field(default_factory=list)

    @property
    def complete(self) -> list[Seen]:
        """Calls whose answer has arrived in whole."""
        return [call for call in self.seen if call.is_complete]

    async def call(self, *, is_rich: bool, is_stream: bool, word: str = "say") -> Seen:
        """One call. Raises ConnectionError or IncompleteReadError when the server dies."""
        seen = Seen(len(self.seen), is_rich)
        self.seen.append(seen)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(self._request(seen, word, is_stream=is_stream))
            await _read_answer(reader, seen)
        finally:
            writer.close()
        return seen

    def _request(self, seen: Seen, word: str, *, is_stream: bool) -> bytes:
        body: dict[str, Any] = {
            "model": "m",
            "messages": [{"role": "user", "content": f"{word} {seen.number}"}],
            "max_tokens": 20,
        }
        if is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        data = json.dumps(body).encode()
        secret = self.rich if seen.is_rich else self.poor
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
            f"authorization: Bearer {secret}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    async def keep_calling(self, *, is_rich: bool, dice: random.Random) -> None:
        """Call again and again, streams and whole answers, until the server is gone."""
        while True:
            try:
                seen = await self.call(is_rich=is_rich, is_stream=dice.random() < 0.5)
            except (ConnectionError, asyncio.IncompleteReadError):
                return
            assert seen.status in {200, 429}
            if seen.status != 200:
                await asyncio.sleep(0.02)  # its credit is used up: it only asks again

    async def hang(self) -> None:
        """A stream that gets one piece and then waits for the server's death."""
        try:
            await self.call(is_rich=True, is_stream=True, word=HANG)
        except (ConnectionError, asyncio.IncompleteReadError):
            return


async def _read_answer(reader: asyncio.StreamReader, seen: Seen) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    seen.request_id = headers["x-request-id"]
    seen.status = int(head[0].split(" ")[1])
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
        cost = headers.get("x-latchgate-cost-nanos")
        seen.cost_nanos = None if cost is None else int(cost)
    else:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            _note_events((await reader.readexactly(size + 2)).decode(), seen)
        await reader.readexactly(2)
    seen.is_complete = seen.status == 200


def _note_events(events: str, seen: Seen) -> None:
    for line in events.split("\n"):
        data = line.removeprefix("data: ")
        if data in (line, "[DONE]"):
            continue
        seen.pieces += 1
        usage = json.loads(data).get("usage")
        if usage:
            seen.cost_nanos = usage["cost_nanos"]


@dataclass
class SlowModel:
    """A model server's behaviour: it takes its time, differently for each call."""

    dice: random.Random

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer as the prompt says: hang, stream, or answer in one piece."""
        word, number = request.body["messages"][0]["content"].split(" ")
        usage = usage_for(int(number))
        if not request.body.get("stream"):
            await self._pause(writer)
            await send_json(writer, 200, completion(usage=usage))
            return
        await start_events(writer)
        for _ in range(3):
            await send_chunk(writer, chunk({"content": "word "}))
            if word == HANG:
                await request.hang_up()
            await self._pause(writer)
        await send_chunk(writer, chunk({}, finish="stop") + usage_chunk(usage))
        await self._pause(writer)
        await send_chunk(writer, b"data: [DONE]\n\n")
        await end_events(writer)

    async def _pause(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.dice.random() * 0.02)
        if writer.is_closing():
            raise ConnectionError


async def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again, until it is so."""
    while not is_so():  # noqa: ASYNC110 - what another process does has no event
        await asyncio.sleep(0.002)


def dice_of(seed: int) -> random.Random:
    """Chance that falls the same way in every run."""
    return random.Random(seed)  # noqa: S311 - nothing is secret here


async def prepare(
    data: Path, base_url: str, storage_url: str = "", api_key: str | None = None
) -> tuple[str, str]:
    """Two accounts, a model and a key each, through the public functions; the keys' secrets."""
    world = await open_world(
        Settings(
            data_dir=data,
            storage=StorageSettings(url=storage_url),
            embedded=EmbeddedSettings(enabled=False),
        ),
    )
    services = world.services
    await services.catalog.add_upstream("fake", base_url=base_url, api_key=api_key)
    await services.catalog.add_model(
        "m",
        upstream="fake",
        upstream_model=None,
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=ModelTerms(100_000, 20_000, 400_000),
    )
    secrets = []
    for email, nanos in (("rich@example.com", RICH_NANOS), ("poor@example.com", POOR_NANOS)):
        account = await services.accounts.create(
            email, PASSWORD, is_operator=False, credit_nanos=nanos, actor=CLI.actor
        )
        key = await services.api_keys.create(account.account_id, "test", caller=CLI)
        secrets.append(key.secret)
    await world.close()
    return secrets[0], secrets[1]
