"""Guards calls over one connection: a known head makes no other call than a parsed one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from latchgate.gateway.head import KnownHead
from tests.fault.lines import Line, head_of, lines_to
from tests.support.gateway import ACCOUNT, CALLER, Gateway, Reply, read_reply, running_gateway

pytestmark = pytest.mark.anyio


def call_of(secret: str, text: str, *more: str) -> bytes:
    """A whole call, as an SDK sends it."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    lines = (f"content-length: {len(body)}", "content-type: application/json", *more)
    return head_of("POST", "/v1/chat/completions", secret, *lines) + body


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that came with a known head."""
    found: list[bytes] = []
    real = KnownHead.body_of

    def body_of(self: KnownHead, data: bytes) -> bytes | None:
        body = real(self, data)
        if body is not None:
            found.append(body)
        return body

    monkeypatch.setattr(KnownHead, "body_of", body_of)
    return found


async def ask(line: Line, data: bytes) -> Reply:
    """The answer to what is sent."""
    line.writer.write(data)
    return await read_reply(line.reader)


async def test_each_call_over_a_connection_gets_its_own_body_and_id(
    tmp_path: Path, known: list[bytes]
) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        line = await lines.dial(b"")
        texts = ["one", "another", "", "x" * 50_000, "é" * 30, "last"]
        replies = [await ask(line, call_of(gateway.secret, text)) for text in texts]
        assert [reply.status for reply in replies] == [200] * len(texts)
        assert len({reply.headers["x-request-id"] for reply in replies}) == len(texts)
        sent = [request.body["messages"][0]["content"] for request in gateway.model_server.received]
        assert sent == texts
        assert len(known) >= len(texts) - 2  # all but the first, and one that came in pieces
        assert (await gateway.audit()).findings == ()


async def test_a_call_in_pieces_or_two_in_one_breath_are_left_to_the_parser(
    tmp_path: Path, known: list[bytes]
) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        line = await lines.dial(b"")
        call = call_of(gateway.secret, "hi")
        assert (await ask(line, call)).status == 200
        for cut in (1, 40, len(call) - 5):
            line.writer.write(call[:cut])
            await asyncio.sleep(0.02)
            assert (await ask(line, call[cut:])).status == 200
        line.writer.write(call + call)
        assert [(await read_reply(line.reader)).status for _ in range(2)] == [200, 200]
        assert known == []
        assert (await ask(line, call)).status == 200
        assert len(known) == 1
        assert len(gateway.model_server.received) == 7


async def test_a_known_head_is_worth_nothing_once_its_key_has_ended(
    tmp_path: Path, known: list[bytes]
) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        line = await lines.dial(b"")
        call = call_of(gateway.secret, "hi")
        assert [(await ask(line, call)).status for _ in range(2)] == [200, 200]
        assert gateway.key is not None
        await gateway.api_keys.revoke(ACCOUNT, gateway.key.view.id, CALLER)
        refused = [await ask(line, call) for _ in range(2)]
        assert [reply.error["code"] for reply in refused] == ["invalid_api_key"] * 2
        assert len(known) == 3
        assert len(gateway.model_server.received) == 2


async def test_another_key_over_the_same_connection_is_another_caller(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        other = await gateway.add_account("acct_other", 0)
        line = await lines.dial(b"")
        for secret, status in ((gateway.secret, 200), (other.secret, 429)) * 3:
            assert (await ask(line, call_of(secret, "hi"))).status == status
        assert len(await events_of(gateway, ACCOUNT)) == 3
        assert await events_of(gateway, "acct_other") == []


async def events_of(gateway: Gateway, account_id: str) -> list[str]:
    """The calls that an account has been charged for."""
    return [event.request_id for event in await gateway.events(account_id)]


async def test_what_a_known_head_asks_for_is_refused_as_any_other(
    tmp_path: Path, known: list[bytes]
) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        line = await lines.dial(b"")
        head, _, body = call_of(gateway.secret, "hi").partition(b"\r\n\r\n")
        bad = b"x" * len(body)
        for data, status in ((body, 200), (bad, 400), (body, 200), (bad, 400)):
            assert (await ask(line, head + b"\r\n\r\n" + data)).status == status
        assert known == [bad, body, bad]
