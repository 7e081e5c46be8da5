"""Guards calls without a key: the playground's go the way of all calls, and exceed no limit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from latchgate.domain.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    LatchgateError,
    NotFound,
    QuotaExceeded,
    RateLimited,
    UpstreamFailed,
)
from latchgate.domain.ids import new_id
from latchgate.gateway.directory import PLAYGROUND_CALLS_MAX
from latchgate.gateway.inside import WAITING_BYTES_MAX
from latchgate.gateway.rates import RateTerms
from latchgate.services.catalog import ModelTerms
from latchgate.services.playground import Playground, Question, RunningAnswer, Turn
from latchgate.storage import accounts as account_rows
from latchgate.storage import api_keys as key_rows
from tests.gateway.test_limits import TERMS, TOKEN
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, running_gateway
from tests.support.model_server import (
    Received,
    answers,
    chunk,
    send_chunk,
    send_json,
    start_events,
    usage_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("either_engine")]


def question(text: str = "Say hi", **chosen: Any) -> Question:
    """What somebody asks the model on offer."""
    return Question(**{"model": "m", "turns": (Turn("user", text),), **chosen})


async def begun(gateway: Gateway, asked: Question | None = None) -> RunningAnswer:
    """An answer whose first piece is here. Raises what the call was refused with."""
    playground = Playground(
        gateway.store, gateway.clock, gateway.catalog, gateway.engine.call_from_inside
    )
    request_id = new_id("req", gateway.clock.now_us())
    answer = await playground.ask(ACCOUNT, asked or question(), request_id=request_id, ip="::1")
    await answer.begin()
    return answer


async def ask(gateway: Gateway, asked: Question | None = None) -> list[Any]:
    """All events of an answer."""
    answer = await begun(gateway, asked)
    data = b"".join([piece async for piece in answer.pieces()])
    payloads = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    return [
        "[DONE]" if payload == b"[DONE]" else msgspec.json.decode(payload) for payload in payloads
    ]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def settled(gateway: Gateway) -> None:
    """Wait until all calls are over and noted; then nothing may be held."""
    journal = gateway.engine.journal
    await until(lambda: not (gateway.directory.running_calls or journal._waiting))
    assert gateway.engine.purse.held_nanos_all() == 0


def stalls(pieces: int) -> Callable[[Received, asyncio.StreamWriter], Any]:
    """A model server that writes a few pieces and then nothing, until it is hung up on."""

    async def behave(request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        for number in range(pieces):
            await send_chunk(writer, chunk({"content": f"word{number} "}))
        await request.hang_up()

    return behave


async def test_a_call_is_answered_charged_and_noted_without_a_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert gateway.key is not None
        await gateway.api_keys.revoke(ACCOUNT, gateway.key.view.id, CALLER)
        asked = question(
            system="Be short.", temperature=0.5, top_p=0.9, max_tokens=7, turns=(
                Turn("user", "One?"), Turn("assistant", "Two."), Turn("user", "Three?"),
            ),
        )  # fmt: skip
        *events, usage, end = await ask(gateway, asked)
        text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
        assert (text, end) == ("word0 word1 word2 word3 ", "[DONE]")
        assert usage["usage"]["cost_nanos"] == 12 * 100 + 5 * 400
        sent = gateway.model_server.received[0].body
        assert sent["messages"] == [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
        ]
        assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.5, 0.9, 7)
        (event,) = await gateway.events()
        assert (event.app, event.outcome) == ("Playground", "answered")
        assert (event.input_tokens, event.output_tokens, event.charge_nanos) == (12, 5, 3200)
        assert (await gateway.balances()).spent_nanos == 3200
        assert gateway.engine.purse.held_nanos_all() == 0
        assert (await gateway.audit()).findings == ()


async def test_its_row_is_no_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await ask(gateway)
        await ask(gateway)
        row = await gateway.store.read(key_rows.find_playground, ACCOUNT)
        assert row is not None
        listed = await gateway.api_keys.list_keys(ACCOUNT)
        assert [key.name for key in listed] == ["test"]
        with pytest.raises(NotFound):
            await gateway.api_keys.confirm(ACCOUNT, row.id, CALLER)
        with pytest.raises(NotFound):
            await gateway.api_keys.revoke(ACCOUNT, row.id, CALLER)
        for text in (row.public_id, row.id, f"sk-lg-{row.public_id}", f"playground of {ACCOUNT}"):
            assert (await gateway.chat(key=text)).status == 401
        assert (await gateway.chat()).status == 200, "the live key goes on"


@pytest.mark.parametrize("period", ["day", "week", "month"])
async def test_the_accounts_limit_binds(tmp_path: Path, period: str) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.limits.set_limit(ACCOUNT, "account_limit", period, 0, CALLER)
        with pytest.raises(QuotaExceeded) as refused:
            await ask(gateway)
        assert refused.value.code == "organization_spend_limit_exceeded"
        await gateway.limits.set_limit(ACCOUNT, "account_limit", period, USD, CALLER)
        await ask(gateway)
        await gateway.limits.set_limit(ACCOUNT, "account_limit", period, 0, CALLER)
        with pytest.raises(QuotaExceeded):
            await ask(gateway)
        assert len(await gateway.events()) == 1


async def test_without_credit_it_is_refused_and_nothing_is_noted(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=0) as gateway:
        with pytest.raises(QuotaExceeded) as refused:
            await ask(gateway)
        assert refused.value.code == "credit_balance_exhausted"
        assert await gateway.events() == []


@pytest.mark.parametrize("is_set_first", [True, False], ids=["before", "after"])
async def test_a_keys_limit_neither_binds_it_nor_counts_it(
    tmp_path: Path, *, is_set_first: bool
) -> None:
    async with running_gateway(tmp_path, terms=TERMS) as gateway:
        gateway.model_server.behaviour = answers(usage=usage_of(10, 2))
        if is_set_first:
            await gateway.limits.set_limit(ACCOUNT, "key_limit", "day", 3 * TOKEN, CALLER)
        for _ in range(3):
            await ask(gateway, question(max_tokens=2))
        assert (await gateway.chat(max_tokens=2)).status == 200
        if not is_set_first:
            await gateway.limits.set_limit(ACCOUNT, "key_limit", "day", 3 * TOKEN, CALLER)
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "day", 30 * TOKEN, CALLER)
        standing = await gateway.limits.standing(ACCOUNT)
        found = {(view.kind, view.spent_nanos // TOKEN) for view in standing.limits}
        assert found == {("credit", 8), ("account_limit", 8), ("key_limit", 2)}
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1))
        assert (await gateway.chat(max_tokens=1)).status == 200
        assert (await gateway.chat(max_tokens=1)).status == 429
        await ask(gateway, question(max_tokens=1))
        assert (await gateway.audit()).findings == ()


async def test_calls_with_and_without_a_key_never_exceed_the_accounts_limit_together(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path, terms=TERMS, running_per_key_max=1000) as gateway:
        await gateway.limits.set_limit(ACCOUNT, "account_limit", "month", 40 * TOKEN, CALLER)
        gateway.model_server.behaviour = answers(usage=usage_of(10, 1), pieces=1)
        statuses: Counter[int] = Counter()

        async def play() -> None:
            for _ in range(15):
                try:
                    await ask(gateway, question(max_tokens=1))
                    statuses[200] += 1
                except QuotaExceeded as error:
                    statuses[error.status] += 1

        async def call() -> None:
            for _ in range(15):
                statuses[(await gateway.chat(max_tokens=1)).status] += 1

        await asyncio.gather(
            *(both() for _ in range(PLAYGROUND_CALLS_MAX) for both in (play, call))
        )
        assert statuses == {200: 40, 429: 15 * 2 * PLAYGROUND_CALLS_MAX - 40}
        assert len(gateway.model_server.received) == 40
        standing = await gateway.limits.standing(ACCOUNT)
        limit = standing.find("account_limit", "month")
        assert limit is not None
        assert (limit.spent_nanos, limit.held_nanos) == (40 * TOKEN, 0)
        assert {event.app for event in await gateway.events()} == {"Playground", "unknown"}
        assert (await gateway.audit()).findings == ()


async def test_whoever_hangs_up_pays_for_what_has_come(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(3)
        answer = await begun(gateway)
        pieces = answer.pieces()
        await anext(pieces)
        await until(lambda: len(gateway.model_server.received) == 1)
        await pieces.aclose()  # type: ignore[attr-defined] - it is a generator
        await settled(gateway)
        (event,) = await gateway.events()
        assert event.outcome == "hung_up"
        assert 1 <= event.output_tokens <= 3
        assert (await gateway.audit()).findings == ()


async def test_hanging_up_before_the_answer_begins_ends_the_call(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(0)
        asking = asyncio.create_task(begun(gateway))
        await until(lambda: len(gateway.model_server.received) == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await settled(gateway)
        assert [event.outcome for event in await gateway.events()] == ["hung_up"]


async def test_a_suspended_account_is_cut_off_and_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(2)
        answer = await begun(gateway)
        await gateway.store.write(account_rows.set_account, ACCOUNT, state="suspended")
        gateway.directory.on_account_changed(ACCOUNT)
        data = b"".join([piece async for piece in answer.pieces()])
        assert data.endswith(b"\n\n")
        assert msgspec.json.decode(data.split(b"\n\n")[-2][6:])["error"]["code"] == "conflict"
        assert [event.outcome for event in await gateway.events()] == ["cut"]
        with pytest.raises(Forbidden) as refused:
            await ask(gateway)
        assert refused.value.code == "account_suspended"


async def test_the_accounts_premium_switch_decides_and_not_its_keys(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.catalog.add_model(
            "dear", upstream="fake", upstream_model="up-model", tier="premium",
            context_tokens=8192, output_tokens_max=1000, terms=ModelTerms(1000, 1000, 1000),
        )  # fmt: skip
        playground = Playground(gateway.store, gateway.clock, gateway.catalog, None)

        async def listed() -> list[str]:
            return [model.name for model in await playground.list_models(ACCOUNT)]

        assert await listed() == ["m"]
        with pytest.raises(NotFound):
            await ask(gateway, question(model="dear"))
        await gateway.limits.set_premium(ACCOUNT, "key", is_on=False, caller=CALLER)
        await gateway.limits.set_premium(ACCOUNT, "account", is_on=True, caller=CALLER)
        assert await listed() == ["dear", "m"]
        await ask(gateway, question(model="dear"))
        await gateway.limits.set_premium(ACCOUNT, "account", is_on=False, caller=CALLER)
        with pytest.raises(NotFound):
            await ask(gateway, question(model="dear"))


async def test_only_models_that_chat_are_listed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.catalog.add_upstream(
            "other", base_url=gateway.model_server.base_url, api_key=None, speaks=("messages",)
        )
        for name, upstream, kind in (("vectors", "fake", "embeddings"), ("c", "other", "chat")):
            await gateway.catalog.add_model(
                name, upstream=upstream, upstream_model=None, tier="standard", kind=kind,
                context_tokens=8192, output_tokens_max=1000 * (kind == "chat"),
                terms=ModelTerms(1, 1, int(kind == "chat")),
            )  # fmt: skip
        playground = Playground(gateway.store, gateway.clock, gateway.catalog, None)
        assert [model.name for model in await playground.list_models(ACCOUNT)] == ["m"]
        with pytest.raises(Conflict):
            await playground.ask(ACCOUNT, question(), request_id="req_1", ip="")


async def test_rates_are_shared_with_the_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, rates=RateTerms(2, 0)) as gateway:
        assert (await gateway.chat()).status == 200
        await ask(gateway)
        with pytest.raises(RateLimited):
            await ask(gateway)
        assert (await gateway.chat()).status == 429


async def test_so_many_run_at_once_and_no_more(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(1)
        running = [await begun(gateway) for _ in range(PLAYGROUND_CALLS_MAX)]
        with pytest.raises(RateLimited) as refused:
            await begun(gateway)
        assert refused.value.public.startswith("The playground has 4 calls running")
        for answer in running:
            answer.hang_up()
        await settled(gateway)
        gateway.model_server.behaviour = answers()
        await ask(gateway)
        rates = {"requests_per_minute": None, "tokens_per_minute": None}
        await gateway.limits.set_rates(ACCOUNT, **rates, calls_at_once=1, caller=CALLER)
        gateway.model_server.behaviour = stalls(1)
        only = await begun(gateway)
        with pytest.raises(RateLimited):
            await begun(gateway)
        only.hang_up()


async def test_a_slow_reader_slows_the_model_server(tmp_path: Path) -> None:
    sent = 0

    async def flood(_request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await start_events(writer)
        for _ in range(900):
            await send_chunk(writer, chunk({"content": "x" * 40_000}))
            sent += 1

    async with running_gateway(tmp_path, credit_nanos=5000 * USD) as gateway:
        gateway.model_server.behaviour = flood
        answer = await begun(gateway)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        assert WAITING_BYTES_MAX // 40_000 < sent < 900
        answer.hang_up()
        await settled(gateway)


async def test_a_model_server_that_fails_is_told_and_free(tmp_path: Path) -> None:
    async def fail(_request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, 500, {})

    async def break_off(_request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"content": "half a "}))
        writer.close()

    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = fail
        with pytest.raises(UpstreamFailed):
            await ask(gateway)
        gateway.model_server.behaviour = break_off
        *_, last = await ask(gateway)
        assert last["error"]["code"] == "upstream_error"
        outcomes = [(event.outcome, event.charge_nanos > 0) for event in await gateway.events()]
        assert outcomes == [("failed", True), ("failed", False)]
        assert (await gateway.audit()).findings == ()


@pytest.mark.parametrize(
    "asked",
    [
        question(" \n"),
        Question("m", ()),
        Question("m", (Turn("user", "a"), Turn("assistant", "b"))),
        Question("m", (Turn("system", "a"), Turn("user", "b"))),
        Question("m", (Turn("user", "a"),) * 65),
        question("x" * 32_001),
        question("half a character: \ud83d"),
        question(temperature=3.0),
        question(top_p=0.0),
        question(max_tokens=0),
    ],
    ids=lambda asked: f"{len(asked.turns)} turns, {asked.temperature}",
)
async def test_what_is_no_question_is_refused_and_noted_nowhere(
    tmp_path: Path, asked: Question
) -> None:
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(InvalidRequest):
            await ask(gateway, asked)
        assert gateway.model_server.received == []
        assert await gateway.events() == []


async def test_a_reason_for_the_end_is_told_to_the_reader(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.model_server.behaviour = stalls(1)
        answer = await begun(gateway)
        answer.hang_up(LatchgateError("Enough.", code="enough"))
        answer.hang_up(LatchgateError("Once more.", code="twice"))
        data = b"".join([piece async for piece in answer.pieces()])
        assert b'"code":"enough"' in data
        assert b"twice" not in data
        await settled(gateway)
        assert [event.outcome for event in await gateway.events()] == ["hung_up"]
