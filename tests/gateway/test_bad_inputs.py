"""Every bad input gets a clear answer and changes nothing: the rows of ``bad_inputs.toml``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, running_gateway

ROWS = tomllib.loads(Path(__file__).with_name("bad_inputs.toml").read_text())["row"]
GENERATED: dict[str, dict[str, Any]] = {
    "logit_bias": {"logit_bias": {str(n): 1 for n in range(10_000)}},
    "tools": {"tools": [{"type": "function", "function": {"name": f"f{n}"}} for n in range(129)]},
}


def _body(row: dict[str, Any]) -> bytes:
    repeat = row.get("repeat", {})
    if repeat.get("body"):
        text = repeat.get("before", "") + repeat["piece"] * repeat["times"]
        return str(text).encode()
    if repeat.get("chunked"):
        piece = (repeat["piece"] * 100_000).encode()
        return (b"%x\r\n" % len(piece) + piece + b"\r\n") * (repeat["times"] // 100_000)
    if "body" in row:
        return str(row["body"]).encode()
    if "chat" in row or "generate" in row:
        fields = json.loads(row.get("chat", "{}")) | GENERATED.get(row.get("generate", ""), {})
        chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
        return json.dumps(chat).encode()
    if "response" in row:
        response = {"model": "m", "input": "hi", **json.loads(row["response"])}
        return json.dumps(response).encode()
    return b""


def _request(row: dict[str, Any], secret: str) -> bytes:
    key = row.get("key", "valid")
    body = _body(row)
    method = row.get("method", "POST")
    lines = {"host": "localhost", "connection": "close"}
    if key != "none":
        lines["authorization"] = f"Bearer {secret if key == 'valid' else key}"
    if method == "POST":
        lines["content-type"] = "application/json"
        if not row.get("repeat", {}).get("chunked"):
            lines["content-length"] = str(len(body))
    lines |= row.get("header", {})
    if name := row.get("repeat", {}).get("header"):
        lines[name] = row["repeat"]["piece"] * row["repeat"]["times"]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    usual = "/v1/responses" if "response" in row else "/v1/chat/completions"
    path, version = row.get("path", usual), row.get("version", "HTTP/1.1")
    return f"{method} {path} {version}\r\n{head}\r\n".encode() + body


async def _assert_refused(gateway: Gateway, row: dict[str, Any]) -> None:
    reply = await gateway.raw(_request(row, gateway.secret))
    name = row["name"]
    assert reply.status == row["status"], (name, reply.status, reply.body)
    assert reply.headers["x-request-id"].startswith("req_"), name
    assert reply.headers["cache-control"] == "no-store", name
    error = reply.error
    assert error["type"] == row.get("type", "invalid_request_error"), name
    assert error["code"] == row["code"], (name, error)
    assert error["param"] == row.get("param"), (name, error)
    assert row.get("says", "") in error["message"], (name, error)
    assert row.get("allow") == reply.headers.get("allow"), name
    if reply.status == 401:
        assert reply.headers["x-should-retry"] == "false", name
        assert reply.headers["www-authenticate"] == "Bearer", name
    assert gateway.secret not in reply.body.decode(), name


@pytest.mark.anyio
async def test_every_bad_input_gets_its_error_and_changes_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        before = await gateway.balances()
        for row in ROWS:
            await _assert_refused(gateway, row)
        assert await gateway.events() == []
        assert await gateway.balances() == before
        assert gateway.model_server.received == []
        reply = await gateway.chat()
        assert reply.status == 200  # and the server is none the worse for it


@pytest.mark.anyio
async def test_names_that_mean_something_to_other_languages_are_plain_data(tmp_path: Path) -> None:
    """Row 34."""
    async with running_gateway(tmp_path) as gateway:
        names = ("__proto__", "constructor", "__class__", "toString")
        reply = await gateway.chat(metadata=dict.fromkeys(names, "x"))
        assert reply.status == 200
        (event,) = await gateway.events()
        assert event.outcome == "answered"
