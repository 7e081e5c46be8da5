"""A retry that its client declares is run once and charged once; what declares nothing is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from latchgate.gateway import call as call_module
from latchgate.gateway import repeats
from tests.support.gateway import USD, Gateway, Reply, running_gateway
from tests.support.model_server import Received, answers, completion, send_json, usage_of

pytestmark = pytest.mark.anyio
RETRY, FIRST = {"x-stainless-retry-count": "1"}, {"x-stainless-retry-count": "0"}
KEYED = {"idempotency-key": "letter-17"}


class Door:
    """A model server that answers when it is told to."""

    def __init__(self) -> None:
        self.opens = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self, _request: Received, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self.opens.wait()
        await send_json(writer, 200, completion(usage=usage_of(10, 5)))


async def _ask(gateway: Gateway, headers: dict[str, str], **more: Any) -> Reply:
    body = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}], **more}
    return await gateway.request("POST", "/v1/chat/completions", body, headers=headers)


async def _charges(gateway: Gateway) -> list[int]:
    return [event.charge_nanos for event in await gateway.events()]


@pytest.mark.parametrize("headers", [KEYED, RETRY])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_what_was_answered_is_given_again_and_not_charged(
    tmp_path: Path, headers: dict[str, str], *, is_stream: bool
) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5))
        first = await _ask(gateway, headers, stream=is_stream)
        again = await _ask(gateway, headers, stream=is_stream)
        assert (first.status, again.status) == (200, 200)
        assert first.body == again.body
        assert "x-latchgate-replayed" not in first.headers
        assert again.headers["x-latchgate-replayed"] == "true"
        assert len(gateway.model_server.received) == 1
        assert len(await _charges(gateway)) == 1
        assert (await gateway.audit()).findings == ()


@pytest.mark.parametrize("headers", [KEYED, RETRY])
async def test_a_retry_joins_the_call_that_still_runs(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with running_gateway(tmp_path) as gateway:
        door = gateway.model_server.behaviour = Door()
        first = asyncio.create_task(_ask(gateway, headers))
        await door.asked.wait()
        retries = [asyncio.create_task(_ask(gateway, headers)) for _ in range(3)]
        await asyncio.sleep(0.05)
        door.opens.set()
        replies = await asyncio.gather(first, *retries)
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body for reply in replies}) == 1
        assert len(gateway.model_server.received) == 1
        assert len(await _charges(gateway)) == 1


async def test_calls_alike_that_declare_nothing_stay_separate(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5))
        for headers in ({}, FIRST):
            replies = await asyncio.gather(*(_ask(gateway, headers) for _ in range(4)))
            assert {reply.status for reply in replies} == {200}
        assert len(await _charges(gateway)) == 8


async def test_an_upstream_that_fails_twice_and_then_answers_is_charged_once(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        good = answers(usage=usage_of(10, 5))
        left = 2

        async def stumbles(request: Received, writer: asyncio.StreamWriter) -> None:
            nonlocal left
            if left:
                left -= 1
                await send_json(writer, 500, {})
            else:
                await good(request, writer)

        gateway.model_server.behaviour = stumbles
        replies = [
            await _ask(gateway, {"x-stainless-retry-count": str(n), **KEYED}) for n in range(5)
        ]
        assert [reply.status for reply in replies] == [502, 502, 200, 200, 200]
        assert [nanos > 0 for nanos in await _charges(gateway)] == [True, False, False]
        balances = await gateway.balances()
        assert balances.spent_nanos == max(await _charges(gateway))
        assert balances.held_nanos == 0


async def test_a_call_whose_client_timed_out_is_joined_by_its_retry(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        door = gateway.model_server.behaviour = Door()
        first = asyncio.create_task(_ask(gateway, FIRST))
        await door.asked.wait()
        first.cancel()
        await asyncio.sleep(0.05)
        retry = asyncio.create_task(_ask(gateway, RETRY))
        await asyncio.sleep(0.05)
        door.opens.set()
        assert (await retry).status == 200
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens) == ("answered", 5)
        assert len(gateway.model_server.received) == 1


async def test_a_call_whose_client_does_not_come_back_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_module, "GRACE_S", 0.05)
    async with running_gateway(tmp_path) as gateway:
        door = gateway.model_server.behaviour = Door()
        first = asyncio.create_task(_ask(gateway, FIRST))
        await door.asked.wait()
        first.cancel()
        while not await gateway.events():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens) == ("hung_up", 0)
        assert (await gateway.balances()).held_nanos == 0


async def test_a_key_that_was_used_with_another_body_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5))
        assert (await _ask(gateway, KEYED)).status == 200
        other = await _ask(gateway, KEYED, temperature=0)
        assert (other.status, other.error["code"]) == (409, "idempotency_key_reused")
        assert len(await _charges(gateway)) == 1


async def test_a_key_that_is_too_long_is_refused_by_name(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        long = await _ask(gateway, {"idempotency-key": "k" * 256})
        assert (long.status, long.error["code"]) == (400, "string_above_max_length")
        assert long.error["param"] == "Idempotency-Key"
        assert gateway.model_server.received == []


async def test_another_accounts_answer_is_never_given(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 5))
        other = await gateway.add_account("acct_other", USD)
        assert (await _ask(gateway, KEYED)).status == 200
        body = {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}
        reply = await gateway.request(
            "POST", "/v1/chat/completions", body, headers=KEYED, key=other.secret
        )
        assert "x-latchgate-replayed" not in reply.headers
        assert len(await gateway.events("acct_other")) == 1


def test_answers_are_kept_within_bounds_of_number_size_and_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repeats, "CALLS_MAX", 3)
    monkeypatch.setattr(repeats, "ANSWERS_BYTES_MAX", 250)
    kept = repeats.Repeats()
    answer = repeats.Answer(b"x" * 100, (), is_stream=False)

    def call(number: int, now_s: float = 0.0) -> repeats.Repeat:
        headers = {b"idempotency-key": b"%d" % number}
        found = kept.find("a", "/p", headers, b"body", now_s)
        assert found is not None
        return found

    for number in range(4):
        kept.finish(call(number), answer)
    assert call(3).answer == answer
    assert call(0).answer is None, "the oldest has made room"
    assert call(3, repeats.KEPT_S + 1).answer is None
