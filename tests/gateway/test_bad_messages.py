"""Refusals of the Messages API have Anthropic's shape, and change nothing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from latchgate.gateway.rates import RateTerms
from latchgate.services.catalog import ModelTerms
from tests.support.gateway import Gateway, running_gateway
from tests.support.messages import add_messages_model, ask, error_of, sends, speaks_messages

pytestmark = pytest.mark.anyio
ROWS = tomllib.loads(Path(__file__).with_name("bad_messages.toml").read_text())["row"]


def _body(row: dict[str, Any]) -> bytes:
    if "repeat" in row:
        return b" " * int(row["repeat"])
    if "body" in row:
        return str(row["body"]).encode()
    call = {
        "model": "claude-x",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
        **json.loads(row.get("fields", "{}")),
    }
    call.pop(row.get("without", ""), None)
    return json.dumps(call).encode()


async def _assert_refused(gateway: Gateway, row: dict[str, Any]) -> None:
    reply = await gateway.request(
        row.get("method", "POST"),
        row.get("path", "/v1/messages"),
        _body(row),
        headers=row.get("header", {}),
        key="" if row.get("key") == "none" else None,
    )
    name = row["name"]
    assert reply.status == row.get("status", 400), (name, reply.body)
    error = error_of(reply)
    assert error["type"] == row.get("type", "invalid_request_error"), name
    details = {"error_code": row["code"]}
    if "param" in row:
        details["param"] = row["param"]
    assert error["details"] == details, (name, error)
    assert row.get("says", "") in error["message"], name


async def test_every_bad_input_gets_its_error_and_changes_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = speaks_messages()
        before = await gateway.balances()
        for row in ROWS:
            await _assert_refused(gateway, row)
        assert gateway.model_server.received == []
        assert await gateway.events() == []
        assert await gateway.balances() == before
        assert (await ask(gateway)).status == 200  # and the server is none the worse for it


async def test_money_says_402_and_that_trying_again_is_no_use(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=0) as gateway:
        await add_messages_model(gateway)
        reply = await ask(gateway)
        assert reply.status == 402
        assert reply.headers["x-should-retry"] == "false"
        error = error_of(reply)
        assert error["type"] == "billing_error"
        assert error["details"] == {"error_code": "credit_balance_exhausted"}
        assert "Add credit" in error["message"]


async def test_a_rate_says_429_and_when(tmp_path: Path) -> None:
    rates = RateTerms(requests_per_minute=1)
    async with running_gateway(tmp_path, rates=rates) as gateway:
        await add_messages_model(gateway, terms=ModelTerms(0, 0, 0))
        gateway.model_server.behaviour = speaks_messages()
        assert (await ask(gateway)).status == 200
        reply = await ask(gateway)
        assert reply.status == 429
        assert error_of(reply)["type"] == "rate_limit_error"
        assert 0 < int(reply.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("status", "ours", "kind", "code"),
    [
        (400, 400, "invalid_request_error", "invalid_value"),
        (401, 502, "api_error", "upstream_auth_failed"),
        (429, 529, "overloaded_error", "server_is_overloaded"),
        (500, 502, "api_error", "upstream_error"),
        (504, 504, "timeout_error", "upstream_timeout"),
        (529, 529, "overloaded_error", "server_is_overloaded"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_what_an_upstream_refuses_is_said_without_its_words(
    tmp_path: Path, path: str, status: int, ours: int, kind: str, code: str
) -> None:
    told = {"type": "error", "error": {"type": "x", "message": "up-secret"}}
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = sends(told, status)
        reply = await ask(gateway, path=path, **({"max_tokens": ...} if "count" in path else {}))
        assert reply.status == ours
        error = error_of(reply)
        assert (error["type"], error["details"]["error_code"]) == (kind, code)
        assert b"up-secret" not in reply.body
        assert (await gateway.balances()).spent_nanos == 0


@pytest.mark.parametrize("said", [[], {"type": "error", "error": {}}, b"<html>"], ids=str)
async def test_what_is_no_message_is_an_upstream_that_failed(tmp_path: Path, said: Any) -> None:
    async with running_gateway(tmp_path) as gateway:
        await add_messages_model(gateway)
        gateway.model_server.behaviour = sends(said)
        reply = await ask(gateway)
        assert reply.status == 502
        assert error_of(reply)["type"] == "api_error"
        assert (await gateway.balances()).spent_nanos == 0
