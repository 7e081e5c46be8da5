"""Responses that are kept: for their own account only, for a while, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latchgate.clock import MINUTE_US, SystemClock
from latchgate.gateway.kept import Retention
from tests.support.gateway import USD, Gateway, running_gateway
from tests.support.model_server import answers as chat_answers
from tests.support.responses import add_native_model, answers, read_events, respond

pytestmark = pytest.mark.anyio


class _LaterClock:
    """The machine's clock, and so many minutes later."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.minutes = 0

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        return self._clock.now_us() + self.minutes * MINUTE_US


def _said(gateway: Gateway) -> list[tuple[str, Any]]:
    """Who says what in the last call that the model server got."""
    items = gateway.model_server.received[-1].body["input"]
    return [
        (item["role"], content if isinstance(content := item["content"], str) else "parts")
        for item in items
    ]


async def test_a_response_is_gone_on_from_without_its_model(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_native_model(gateway)
        gateway.model_server.behaviour = answers(("Hello",))
        first = (await respond(gateway, "One", instructions="Be brief.")).json
        assert first["store"] is True
        streamed = read_events(
            await respond(gateway, "Two", model=None, previous_response_id=first["id"], stream=True)
        )
        second = streamed[-1]["response"]
        assert (second["model"], second["previous_response_id"]) == ("r", first["id"])
        assert _said(gateway) == [("user", "One"), ("assistant", "parts"), ("user", "Two")]
        received = gateway.model_server.received[-1].body
        assert "instructions" not in received  # they are the first call's own
        assert "previous_response_id" not in received
        third = await respond(gateway, "Three", model=None, previous_response_id=second["id"])
        assert third.status == 200
        assert len(_said(gateway)) == 5


async def test_function_calls_are_gone_on_from_in_chat_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
        first = (await respond(gateway, [{"role": "user", "content": "One"}, call], model="m")).json
        output = {"type": "function_call_output", "call_id": "c1", "output": "sun"}
        gateway.model_server.behaviour = chat_answers("Fine.")
        reply = await respond(gateway, [output], model=None, previous_response_id=first["id"])
        assert reply.status == 200
        roles = [m["role"] for m in gateway.model_server.received[-1].body["messages"]]
        assert roles == ["user", "assistant", "assistant", "tool"]


async def test_another_accounts_response_is_not_there(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        first = (await respond(gateway, model="m")).json
        stranger = (await gateway.add_account("acct_other", USD)).secret
        for name in (first["id"], "resp_none"):
            for key in (stranger, gateway.secret if name == "resp_none" else stranger):
                reply = await respond(gateway, model="m", previous_response_id=name, key=key)
                assert (reply.status, reply.error["code"]) == (404, "not_found")
                assert reply.error["param"] == "previous_response_id"
                for method in ("GET", "DELETE"):
                    reply = await gateway.request(method, f"/v1/responses/{name}", key=key)
                    assert (reply.status, reply.error["code"]) == (404, "not_found")
        assert (await gateway.request("GET", f"/v1/responses/{first['id']}")).json == first


async def test_a_kept_response_can_be_read_and_deleted(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = (await respond(gateway, model="m")).json
        path = f"/v1/responses/{answer['id']}"
        assert (await gateway.request("GET", path)).json == answer
        assert (await gateway.request("GET", path.removeprefix("/v1"))).json == answer
        deleted = await gateway.request("DELETE", path)
        assert deleted.json == {"id": answer["id"], "object": "response", "deleted": True}
        assert (await gateway.request("GET", path)).status == 404
        assert (await gateway.request("DELETE", path)).status == 404
        reply = await gateway.request("POST", path, {})
        assert (reply.status, reply.headers["allow"]) == (405, "GET, DELETE, OPTIONS")


async def test_what_is_not_to_be_stored_is_not_kept(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for is_stream in (False, True):
            reply = await respond(gateway, model="m", store=False, stream=is_stream)
            answer = read_events(reply)[-1]["response"] if is_stream else reply.json
            assert answer["store"] is False
            kept = await gateway.request("GET", f"/v1/responses/{answer['id']}")
            assert kept.status == 404


async def test_nothing_is_kept_where_retention_is_off(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, retention=Retention(minutes=0)) as gateway:
        answer = (await respond(gateway, model="m")).json
        assert answer["store"] is False
        reply = await respond(gateway, previous_response_id=answer["id"], model="m")
        assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_a_response_is_forgotten_when_its_time_is_over(tmp_path: Path) -> None:
    clock = _LaterClock()
    async with running_gateway(tmp_path, clock=clock, retention=Retention(minutes=5)) as gateway:
        answer = (await respond(gateway, model="m")).json
        path = f"/v1/responses/{answer['id']}"
        clock.minutes = 4
        assert (await gateway.request("GET", path)).status == 200
        clock.minutes = 6
        assert (await gateway.request("GET", path)).status == 404


async def test_a_failed_response_is_not_kept(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=0) as gateway:
        reply = await respond(gateway, model="m")
        assert reply.status == 429
        assert gateway.model_server.received == []
