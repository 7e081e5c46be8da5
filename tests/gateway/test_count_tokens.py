"""Counting tokens: the upstream's own count where it has one, else ours; never a charge."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from latchgate.gateway.counting import ANSWER_BYTES_MAX
from latchgate.gateway.rates import RateTerms
from tests.support.gateway import ACCOUNT, CALLER, Gateway, Reply, running_gateway
from tests.support.messages import add_messages_model, error_of, sends, speaks_messages
from tests.support.model_server import Received

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "How many tokens are there in this sentence?"}]
#: Our own rule: a token for every four bytes of the prompt as it goes upstream.
OURS = -(-len(json.dumps(MESSAGES, separators=(",", ":"))) // 4)


async def _count(gateway: Gateway, model: str = "claude-x", **more: Any) -> Reply:
    body = {"model": model, "messages": MESSAGES}
    return await gateway.request("POST", "/v1/messages/count_tokens", body, **more)


async def _hangs(request: Received, _writer: asyncio.StreamWriter) -> None:
    await request.hang_up()


async def _begun(gateway: Gateway) -> None:
    while not gateway.directory.running_calls:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.002)


async def _quiet(gateway: Gateway) -> None:
    """Nothing runs, nothing was charged, no connection is on loan."""
    while gateway.directory.running_calls:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.002)
    assert await gateway.events() == []
    assert (await gateway.balances()).spent_nanos == 0
    pool = gateway.engine.pool
    assert pool._count == sum(len(place.idle) for place in pool._places.values())


async def test_an_upstream_that_counts_is_asked(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        reply = await _count(gateway, headers={"anthropic-beta": "x-1"})
        assert (reply.status, reply.json) == (200, {"input_tokens": 42})
        assert reply.headers["request-id"] == reply.headers["x-request-id"]
        (received,) = gateway.model_server.received
        assert received.path == "/v1/messages/count_tokens"
        assert received.body == {"model": "up-model", "messages": MESSAGES}
        assert received.headers["anthropic-beta"] == "x-1"
        await _quiet(gateway)


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_one_that_does_not_count_gets_our_count(tmp_path: Path, status: int) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = sends({"error": {}}, status)
        assert (await _count(gateway)).json == {"input_tokens": OURS}
        await _quiet(gateway)


async def test_one_that_speaks_only_chat_is_not_asked(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert (await _count(gateway, "m")).json == {"input_tokens": OURS}
        assert gateway.model_server.received == []
        await _quiet(gateway)


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        {"input_tokens": -1},
        {"input_tokens": 1.5},
        {"input_tokens": True},
        {"input_tokens": 10**30},
        {"input_tokens": 5, "x": "x" * ANSWER_BYTES_MAX},
        b"junk",
    ],
    ids=lambda said: str(said)[:30],
)
async def test_a_count_that_is_none_is_an_upstream_that_failed(tmp_path: Path, said: Any) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = sends(said)
        reply = await _count(gateway)
        assert reply.status == 502
        assert error_of(reply)["type"] == "api_error"
        await _quiet(gateway)


async def test_a_question_ends_with_its_client(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = _hangs
        asking = asyncio.create_task(_count(gateway))
        await _begun(gateway)
        asking.cancel()
        await asyncio.wait_for(gateway.model_server.heard_hang_up.wait(), 60)
        await _quiet(gateway)


async def test_a_question_ends_with_its_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = _hangs
        asking = asyncio.create_task(_count(gateway))
        await _begun(gateway)
        assert gateway.key is not None
        await gateway.api_keys.revoke(ACCOUNT, gateway.key.view.id, CALLER)
        reply = await asyncio.wait_for(asking, 60)
        assert reply.status == 401
        assert error_of(reply)["type"] == "authentication_error"
        await _quiet(gateway)


async def test_questions_count_against_what_a_key_may_run_at_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, running_per_key_max=1) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = _hangs
        asking = asyncio.create_task(_count(gateway))
        await _begun(gateway)
        reply = await _count(gateway)
        assert reply.status == 429
        assert error_of(reply)["details"] == {"error_code": "concurrency_limit_exceeded"}
        asking.cancel()
        await _quiet(gateway)


async def test_a_question_is_a_request_but_reads_no_tokens(tmp_path: Path) -> None:
    rates = RateTerms(requests_per_minute=2, tokens_per_minute=1000)
    async with running_gateway(tmp_path, rates=rates) as gateway:
        first, second, third = [await _count(gateway, "m") for _ in range(3)]
        assert (first.status, second.status, third.status) == (200, 200, 429)
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert second.headers["x-ratelimit-remaining-tokens"] == "1000"
        assert error_of(third)["type"] == "rate_limit_error"
