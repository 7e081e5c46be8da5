"""Money on the call's path: what is charged, held, refused, and what a call may not exceed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from latchgate.services.catalog import ModelTerms
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.model_server import (
    Received,
    answers,
    chunk,
    completion,
    end_events,
    send_chunk,
    send_json,
    start_events,
    usage_chunk,
    usage_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]

#: 0.10, 0.02 and 0.40 USD per million tokens: 100, 20 and 400 nano-USD a token.
TERMS = ModelTerms(100_000, 20_000, 400_000)


async def _settled(gateway: Gateway) -> None:
    """Wait until no call runs, nothing is held, and every charge is synced and posted."""
    drain = gateway.engine.drain
    for _ in range(6000):
        if gateway.engine.purse.held_nanos_all() == 0 and not _running(gateway):
            await drain.flush()
            if not drain.waiting_calls:
                return
        await asyncio.sleep(0.01)
    raise AssertionError("a hold was never resolved")


def _running(gateway: Gateway) -> int:
    return gateway.directory.running_calls


async def test_a_call_is_charged_its_tokens_at_its_price(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(1000, 50, cached=400))
        reply = await gateway.chat("x" * 2000)
        charge = 600 * 100 + 400 * 20 + 50 * 400
        assert reply.headers["x-latchgate-cost-nanos"] == str(charge)
        assert reply.json["usage"]["cost_nanos"] == charge
        (event,) = await gateway.events()
        counted = (event.input_tokens, event.cached_tokens, event.output_tokens)
        assert (*counted, event.charge_nanos, event.counted_by) == (
            1000,
            400,
            50,
            charge,
            "upstream",
        )
        balances = await gateway.balances()
        assert (balances.spent_nanos, balances.held_nanos) == (charge, 0)
        assert (await gateway.audit()).findings == ()


async def test_a_stream_is_metered_whether_or_not_the_client_asks(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        silent = await gateway.chat(stream=True)
        asked = await gateway.chat(stream=True, stream_options={"include_usage": True})
        assert not any('"usage"' in event for event in silent.events)
        assert all('"usage"' in event for event in asked.events[:-1])
        assert '"cost_nanos":3200' in asked.events[-2]
        assert silent.events[-1] == asked.events[-1] == "[DONE]"
        assert [event.charge_nanos for event in await gateway.events()] == [3200, 3200]


async def test_a_thousand_parallel_calls_never_overshoot(tmp_path: Path) -> None:
    # Each call's hold and cost is exactly 0.10 USD against 5.00 USD of credit.
    terms = ModelTerms(0, 0, 100_000_000_000)
    async with running_gateway(tmp_path, terms=terms, running_per_key_max=2000) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        slots = asyncio.Semaphore(100)

        async def call() -> int:
            async with slots:
                return (await gateway.chat(max_tokens=1)).status

        statuses = await asyncio.gather(*(call() for _ in range(1000)))
        assert (statuses.count(200), statuses.count(429)) == (50, 950)
        balances = await gateway.balances()
        assert (balances.spent_nanos, balances.available_nanos) == (5 * USD, 0)
        assert (await gateway.audit()).findings == ()


async def test_a_call_runs_smaller_when_less_is_affordable(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=100_000) as gateway:
        reply = await gateway.chat(max_tokens=900)
        sent = gateway.model_server.received[0].body["max_tokens"]
        assert reply.status == 200
        assert reply.headers["x-latchgate-clamped"] == f"max_tokens={sent}"
        assert 0 < sent < 900
        (event,) = await gateway.events()
        assert event.hold_nanos <= 100_000


async def test_strict_asks_for_refusal_instead_of_a_smaller_call(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=100_000) as gateway:
        reply = await gateway.chat(max_tokens=900, headers={"x-latchgate-strict": "1"})
        assert (reply.status, reply.error["code"]) == (429, "credit_balance_exhausted")
        assert await gateway.events() == []


async def test_no_credit_is_refused_with_what_is_needed_and_left(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS, credit_nanos=0) as gateway:
        reply = await gateway.chat()
        assert (reply.status, reply.error["type"]) == (429, "insufficient_quota")
        assert reply.error["code"] == "credit_balance_exhausted"
        assert reply.headers["x-should-retry"] == "false"
        assert "$0.00 of this account's credit is left" in reply.error["message"]
        assert gateway.model_server.received == []
        await gateway.billing.add_credit(ACCOUNT, USD, caller=CALLER)
        assert (await gateway.chat()).status == 200


async def test_a_free_model_is_never_refused_for_money(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=ModelTerms(0, 0, 0), credit_nanos=0) as gateway:
        assert (await gateway.chat()).status == 200
        (event,) = await gateway.events()
        assert (event.output_tokens, event.charge_nanos) == (5, 0)
        assert (await gateway.audit()).findings == ()


async def test_what_the_upstream_counts_beyond_the_hold_is_the_operators(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(7000, 900))
        await gateway.chat(max_tokens=10)
        (event,) = await gateway.events()
        assert event.charge_nanos == event.hold_nanos < 7000 * 100 + 900 * 400
        assert (await gateway.audit()).findings == ()


@pytest.mark.parametrize(
    "usage",
    [
        None,
        usage_of(-5, 3),
        usage_of(10, 10**12),
        usage_of(10, 3, cached=11),
        {"prompt_tokens": "many", "completion_tokens": 3},
        {"prompt_tokens": 1.5, "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 3},
        {},
    ],
)
async def test_missing_or_absurd_usage_gives_way_to_our_own_count(
    tmp_path: Path, usage: dict[str, object] | None
) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, 200, completion("four words of text.", usage=usage))

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        assert (await gateway.chat()).status == 200
        (event,) = await gateway.events()
        assert (event.counted_by, event.output_tokens) == ("gateway", 3)  # 19 bytes, 8 a token
        assert 0 < event.charge_nanos <= event.hold_nanos
        assert (await gateway.audit()).findings == ()


async def test_a_hang_up_cancels_the_upstream_and_pays_what_had_arrived(tmp_path: Path) -> None:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        for _ in range(3):
            await send_chunk(writer, chunk({"content": "word "}))
        await request.hang_up()

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\n"
            + f"authorization: Bearer {gateway.secret}\r\n".encode()
            + f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        for _ in range(3):
            await reader.readuntil(b"word ")
        writer.transport.abort()
        await _settled(gateway)
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens, event.counted_by) == ("hung_up", 3, "gateway")
        assert event.charge_nanos == event.input_tokens * 100 + 3 * 400
        await gateway.model_server.heard_hang_up.wait()
        assert (await gateway.audit()).findings == ()


async def test_a_hang_up_before_the_first_token_pays_the_prompt(tmp_path: Path) -> None:
    waiting = asyncio.Event()

    async def behave(request: Received, _writer: asyncio.StreamWriter) -> None:
        waiting.set()
        await request.hang_up()

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        task = asyncio.create_task(gateway.chat())
        await waiting.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await _settled(gateway)
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens) == ("hung_up", 0)
        assert event.charge_nanos == event.input_tokens * 100 > 0


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (401, b'{"error":"bad key up-key"}', 502, "upstream_auth_failed"),
        (403, b"no", 502, "upstream_auth_failed"),
        (429, b"{}", 503, "server_is_overloaded"),
        (500, b"Traceback: up-key", 502, "upstream_error"),
        (503, b"{}", 503, "server_is_overloaded"),
        (504, b"{}", 504, "upstream_timeout"),
        (302, b"", 502, "upstream_error"),
        (400, b'{"error":{"type":"exceed_context_size_error"}}', 400, "context_length_exceeded"),
        (400, b'{"error":"temperature up-key"}', 400, "invalid_value"),
        (200, b"not json", 502, "upstream_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstreams_refusal_is_free_and_leaks_nothing(
    tmp_path: Path, status: int, body: bytes, expected: int, code: str, *, stream: bool
) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, status, body)

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        reply = await gateway.chat(stream=stream)
        assert (reply.status, reply.error["code"]) == (expected, code)
        assert b"up-key" not in reply.body
        assert (await gateway.balances()).spent_nanos == 0
        (event,) = await gateway.events()
        assert (event.outcome, event.http_status) == ("failed", expected)
        assert (await gateway.audit()).findings == ()


async def test_an_upstream_that_breaks_off_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"content": "one "}))
        writer.transport.abort()

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        reply = await gateway.chat(stream=True)
        assert '"code":"upstream_error"' in reply.events[-1]
        assert "What had arrived is charged" in reply.events[-1]
        assert reply.body.endswith(b"!CUT")  # no part may pass for the whole
        (event,) = await gateway.events()
        assert (event.outcome, event.output_tokens) == ("failed", 1)
        assert (await gateway.audit()).findings == ()


async def test_a_silent_upstream_is_a_timeout(tmp_path: Path) -> None:
    async def behave(request: Received, _writer: asyncio.StreamWriter) -> None:
        await request.hang_up()

    async with running_gateway(tmp_path, terms=TERMS, idle_s=0.2) as gateway:
        gateway.model_server.behaviour = behave
        reply = await gateway.chat()
        assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
        assert (await gateway.balances()).spent_nanos == 0


async def test_time_in_which_the_gateway_itself_stood_still_is_not_the_upstreams(
    tmp_path: Path,
) -> None:
    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        time.sleep(1)  # noqa: ASYNC251 - the gateway runs in this loop, and stands still too
        await asyncio.sleep(0)  # all timers that are due ring before the answer
        await answers(usage=usage_of(12, 5))(request, writer)

    async with running_gateway(tmp_path, terms=TERMS, idle_s=0.3) as gateway:
        gateway.model_server.behaviour = behave
        assert (await gateway.chat()).status == 200
        assert [event.outcome for event in await gateway.events()] == ["answered"]


async def test_a_silent_upstream_is_a_timeout_in_a_loop_that_is_always_late_too(
    tmp_path: Path,
) -> None:
    async def behave(request: Received, _writer: asyncio.StreamWriter) -> None:
        await request.hang_up()

    async def be_late() -> None:
        while True:
            time.sleep(0.4)  # noqa: ASYNC251 - every timer rings too late
            await asyncio.sleep(0.001)

    async with running_gateway(tmp_path, terms=TERMS, idle_s=0.3) as gateway:
        gateway.model_server.behaviour = behave
        late = asyncio.create_task(be_late())
        reply = await asyncio.wait_for(gateway.chat(), 60)
        late.cancel()
        assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")


async def test_an_endless_line_is_an_error_and_not_memory(tmp_path: Path) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        for _ in range(50):
            await send_chunk(writer, b"data: " + b"x" * 1_000_000)

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        reply = await gateway.chat(stream=True)
        assert (reply.status, reply.error["code"]) == (502, "upstream_error")


async def test_a_price_change_binds_calls_admitted_after_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        await gateway.chat()
        await gateway.prices.set_price("m", terms=ModelTerms(200_000, 20_000, 800_000))
        await gateway.chat()
        assert [event.charge_nanos for event in await gateway.events()] == [6400, 3200]
        assert (await gateway.audit()).findings == ()


async def test_usage_twice_is_charged_once(tmp_path: Path) -> None:
    async def behave(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"content": "x"}))
        await send_chunk(writer, usage_chunk(usage_of(10, 1)))
        await send_chunk(writer, usage_chunk(usage_of(10, 2)))
        await send_chunk(writer, b"data: [DONE]\n\n")
        await end_events(writer)

    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = behave
        await gateway.chat(stream=True)
        (event,) = await gateway.events()
        assert event.output_tokens == 2
