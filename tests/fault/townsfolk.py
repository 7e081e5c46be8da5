"""Who lives in a town whose server dies: three accounts, a model server, and long talkers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from latchgate.app import open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings
from latchgate.domain.people import CLI
from latchgate.services.catalog import ModelTerms
from tests.fault.crowd import Crowd, Seen, SlowModel, usage_for
from tests.support.model_server import (
    Received,
    chunk,
    end_events,
    send_chunk,
    start_events,
    usage_chunk,
)

PASSWORD = "seven quiet violet llamas"
RICH_NANOS = 5_000_000_000
#: Enough for some five calls.
POOR_NANOS = 40_000
#: The shy account has a limit for the day beside its credit, so that two windows bind its calls.
SHY_LIMIT_NANOS = 4_000_000_000
#: A stream of so many tokens holds its output in two slices.
LONG_TOKENS = 600


@dataclass
class Talker(SlowModel):
    """A model server that also writes long streams."""

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer at length when more is allowed than the others ask for, else as a slow model."""
        if request.body["max_tokens"] < LONG_TOKENS // 2 or not request.body.get("stream"):
            await super().__call__(request, writer)
            return
        number = int(request.body["messages"][0]["content"].split(" ")[1])
        await start_events(writer)
        for _ in range(4):
            await send_chunk(writer, chunk({"content": "long " * 80}))
            await self._pause(writer)
        await send_chunk(writer, chunk({}, finish="stop") + usage_chunk(usage_for(number)))
        await send_chunk(writer, b"data: [DONE]\n\n")
        await end_events(writer)


@dataclass
class LongCrowd(Crowd):
    """Clients that ask for long answers."""

    def _request(self, seen: Seen, word: str, *, is_stream: bool) -> bytes:
        head, _, body = super()._request(seen, word, is_stream=is_stream).partition(b"\r\n\r\n")
        longer = body.replace(b'"max_tokens": 20', b'"max_tokens": %d' % LONG_TOKENS)
        assert longer != body
        lengths = [b"content-length: %d" % len(data) for data in (body, longer)]
        return head.replace(*lengths) + b"\r\n\r\n" + longer


async def prepare(data: Path, port: int) -> tuple[str, str, str]:
    """Three accounts, a model and a key each, through the public functions; the keys' secrets."""
    world = await open_world(Settings(data_dir=data, embedded=EmbeddedSettings(enabled=False)))
    services = world.services
    await services.catalog.add_upstream(
        "fake", base_url=f"http://127.0.0.1:{port}/v1", api_key=None
    )
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
    for name, nanos in (("rich", RICH_NANOS), ("poor", POOR_NANOS), ("shy", RICH_NANOS)):
        account = await services.accounts.create(
            f"{name}@example.com", PASSWORD, is_operator=False, credit_nanos=nanos, actor=CLI.actor
        )
        key = await services.api_keys.create(account.account_id, "test", caller=CLI)
        secrets.append(key.secret)
    await services.limits.set_limit(
        account.account_id, "account_limit", "day", SHY_LIMIT_NANOS, CLI
    )
    await world.close()
    return secrets[0], secrets[1], secrets[2]
