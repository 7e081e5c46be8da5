"""The embedded models stand in the catalog as the configuration says, and answer where it says."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from latchgate.app import World, open_world
from latchgate.config import EmbeddedSettings, Settings
from latchgate.console.rendering import model_to_try
from latchgate.domain.errors import Conflict
from latchgate.embedded import Embedded, chat_offer, embeddings_offer
from latchgate.services.catalog import ModelTerms
from latchgate.services.embedded import EmbeddedOffer
from latchgate.upstream.target import Target

pytestmark = [pytest.mark.model, pytest.mark.anyio, pytest.mark.usefixtures("only_model")]

SETTINGS = EmbeddedSettings(parallel=1, context_tokens=256, threads=1, embeddings_threads=1)


@asynccontextmanager
async def _world(folder: Path, settings: EmbeddedSettings = SETTINGS) -> AsyncIterator[World]:
    world = await open_world(Settings(data_dir=folder / "data", embedded=settings))
    try:
        yield world
    finally:
        await world.close()


async def _offered(world: World, *offers: EmbeddedOffer) -> dict[str, tuple[str, int, int]]:
    """Name to kind, context and price version, after the offers were made."""
    await world.services.embedded.ensure(offers)
    models = await world.services.catalog.list_models()
    return {model.name: (model.kind, model.context_tokens, model.price_version) for model in models}


async def _ask(target: Target, path: str, **body: object) -> dict[str, object]:
    """One call as the gateway makes it."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    writer.write(target.request(path, json.dumps(body).encode(), "req_test"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    answer: dict[str, object] = json.loads(await reader.readexactly(int(fields[b"content-length"])))
    writer.close()
    await writer.wait_closed()
    return answer


async def test_both_are_offered_and_one_that_is_switched_off_goes(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        chat, embeddings = chat_offer(SETTINGS), embeddings_offer(SETTINGS)
        both = {"smollm2-135m": ("chat", 256, 1), "all-minilm-l6-v2": ("embeddings", 256, 1)}
        assert await _offered(world, chat, embeddings) == both
        assert await _offered(world, chat, embeddings) == both, "nothing is done twice"
        assert set(await _offered(world, chat)) == {"smollm2-135m"}
        speaks = {row.name: row.speaks for row in await world.services.catalog.list_upstreams()}
        assert speaks == {
            "embedded": ("chat", "completions", "messages"),
            "embedded-embeddings": ("embeddings",),
        }
        assert model_to_try(await world.services.catalog.list_models()) == "smollm2-135m"


async def test_a_price_of_the_configuration_is_a_new_version(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        offer = embeddings_offer(SETTINGS)
        await _offered(world, offer)
        dearer = embeddings_offer(dataclasses.replace(SETTINGS, embeddings_input_price="0.03"))
        assert dearer.terms == ModelTerms(30_000, 30_000, 0)
        assert await _offered(world, dearer) == {"all-minilm-l6-v2": ("embeddings", 256, 2)}
        raised = dataclasses.replace(dearer, priority_percent=300)
        assert await _offered(world, raised) == {"all-minilm-l6-v2": ("embeddings", 256, 3)}
        assert world.directory.models["all-minilm-l6-v2"].priority_price.input_picos == 90_000


async def test_the_catalog_says_how_many_calls_the_model_that_writes_runs_at_once(
    tmp_path: Path,
) -> None:
    async with _world(tmp_path) as world:
        for parallel in (4, 2):
            settings = dataclasses.replace(SETTINGS, parallel=parallel)
            await _offered(world, chat_offer(settings), embeddings_offer(settings))
            upstreams = await world.services.catalog.list_upstreams()
            bounds = {row.name: row.calls_at_once for row in upstreams}
            assert bounds == {"embedded": parallel, "embedded-embeddings": None}


async def test_an_upstream_of_the_operators_is_not_taken_for_ours(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        url = "https://models.example.com/v1"
        await world.services.catalog.add_upstream("embedded-embeddings", base_url=url, api_key="sk")
        with pytest.raises(Conflict, match="--no-embedded-model"):
            await world.services.embedded.ensure([embeddings_offer(SETTINGS)])
        assert await world.services.catalog.list_models() == []


async def test_both_answer_where_the_directory_says(tmp_path: Path) -> None:
    async with _world(tmp_path) as world:
        embedded = Embedded(world)
        await embedded.start()
        try:
            models = world.directory.models
            talk, vectors = models["smollm2-135m"], models["all-minilm-l6-v2"]
            assert talk.target.calls_at_once == SETTINGS.parallel
            assert vectors.target.calls_at_once is None
            message = {"role": "user", "content": "Say hello."}
            said = await _ask(
                talk.target, "/chat/completions", messages=[message], max_tokens=2, model="m"
            )
            assert said["choices"]
            found = await _ask(vectors.target, "/embeddings", model="m", input="hello")
            assert found["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
            assert (vectors.kind, vectors.target.speaks) == ("embeddings", {"embeddings"})
            assert talk.target.speaks == {"chat", "completions", "messages"}
        finally:
            await embedded.stop()


async def test_none_runs_when_the_configuration_says_so(tmp_path: Path) -> None:
    off = EmbeddedSettings(enabled=False)
    async with _world(tmp_path, off) as world:
        embedded = Embedded(world)
        await embedded.start()
        await embedded.stop()
        assert await world.services.catalog.list_models() == []
        assert not list((tmp_path / "data").glob("*.log"))
