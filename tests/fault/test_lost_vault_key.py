"""Guards a server that has lost ``vault.key``: its upstreams' keys are gone, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fault.crowd import Crowd, prepare
from tests.support.model_server import ModelServer, Received, answers, send_json
from tests.support.server import ServerProcess

pytestmark = pytest.mark.anyio
KEY = "upstream-key-0123456789"


async def _ask_for_key(request: Received, writer: asyncio.StreamWriter) -> None:
    if request.headers.get("authorization") == f"bearer {KEY}":
        await answers()(request, writer)
    else:
        await send_json(writer, 401, {})


async def test_a_lost_vault_key_costs_upstreams_keys_and_no_start(
    tmp_path: Path, model_server: ModelServer
) -> None:
    model_server.behaviour = _ask_for_key
    data = tmp_path / "data"
    secrets = await prepare(data, model_server.base_url, api_key=KEY)
    server = ServerProcess(data, "--no-embedded-model")
    crowd = Crowd(server.port, *secrets)
    await asyncio.to_thread(server.start)
    assert (await crowd.call(is_rich=True, is_stream=False)).status == 200
    await asyncio.to_thread(server.stop)
    (data / "vault.key").unlink()
    await asyncio.to_thread(server.start)
    assert (await crowd.call(is_rich=True, is_stream=False)).status == 502
    assert "upstream.key_unreadable" in server.log.read_text()
    assert (await asyncio.to_thread(server.cli, "audit"))["agrees"]
    await asyncio.to_thread(server.stop)
