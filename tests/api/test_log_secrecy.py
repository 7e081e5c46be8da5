"""Guards the log of a busy server: every request can be found in it, and nothing that was said."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.model_server import (
    ModelServerThread,
    Received,
    chunk,
    send_chunk,
    send_json,
    sends,
    start_events,
)
from tests.support.server import ServerProcess

PROMPT, ANSWER = "unmistakable-prompt-zebra", "unmistakable-answer-okapi"
PASSWORD = "seven quiet violet llamas"
UPSTREAM_KEY = "upstream-credential-9f3e5a"


class Moody:
    """A model server that answers each call in another way, most of them bad, all quoting it."""

    def __init__(self) -> None:
        self._moods = itertools.cycle(
            [self._well, self._well, self._refuse, self._refuse_oddly, self._break, self._rave]
        )

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        """Answer by the next mood."""
        await next(self._moods)(request, writer)

    async def _well(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await sends(f"{ANSWER} {_quoted(request)}", [ANSWER, _quoted(request)])(request, writer)

    async def _refuse(self, request: Received, writer: asyncio.StreamWriter) -> None:
        message = f"Invalid input: {_quoted(request)}"
        error = {"message": message, "type": "bad_request", "code": "no_such_thing"}
        await send_json(writer, 422, {"error": error})

    async def _refuse_oddly(self, request: Received, writer: asyncio.StreamWriter) -> None:
        error = {"code": _quoted(request), "type": {"a": _quoted(request)}, "param": "x y"}
        await send_json(writer, 500, {"error": error})

    async def _break(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await start_events(writer)
        await send_chunk(writer, chunk({"content": ANSWER}))
        await send_chunk(writer, b'data: {"choices": [{"' + _quoted(request).encode() + b"\n\n")
        writer.close()

    async def _rave(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, 200, f"{{{ANSWER} {_quoted(request)}".encode())


def _quoted(request: Received) -> str:
    return json.dumps(request.body)[:2000]


@dataclass
class Busy:
    """A server that all kinds of requests were sent to, and what may not be in its log."""

    server: ServerProcess
    secrets: dict[str, str] = field(default_factory=dict)
    request_ids: dict[str, int] = field(default_factory=dict)

    def send(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """One request; its id is remembered."""
        connection = http.client.HTTPConnection("localhost", self.server.port, timeout=60)
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, lines)
        answer = connection.getresponse()
        try:
            answer.read()
        except http.client.HTTPException:
            pass  # the model server broke off
        finally:
            connection.close()
        if request_id := answer.headers.get("x-request-id"):
            self.request_ids[request_id] = answer.status
        return answer

    def post(self, path: str, body: dict[str, Any] | bytes, key: str = "") -> None:
        """One call with the account's key, or another."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(
            "POST",
            path,
            data,
            authorization=f"Bearer {key or self.secrets['key']}",
            content_type="application/json",
            idempotency_key=f"{PROMPT}-{len(self.request_ids)}",
            user_agent=f"app {PROMPT[:3]}",
        )


def _call_all(busy: Busy) -> None:
    said = [{"role": "user", "content": PROMPT}]
    for number in range(12):
        is_stream = number % 3 == 0
        busy.post("/v1/chat/completions", {"model": "m", "messages": said, "stream": is_stream})
        busy.post("/v1/completions", {"model": "m", "prompt": PROMPT, "stream": is_stream})
        busy.post("/v1/responses", {"model": "m", "input": PROMPT, "stream": is_stream})
        body = {"model": "m", "max_tokens": 9, "messages": said, "stream": is_stream}
        busy.post("/v1/messages", body)
    for body in (
        {"model": PROMPT, "messages": said},
        {"model": "m", "messages": [{"role": PROMPT, "content": PROMPT}]},
        {"model": "m", "messages": said, PROMPT: PROMPT},
        {"model": "m", "messages": PROMPT},
        {"model": "m", "messages": said, "temperature": PROMPT},
        {"model": "m", "messages": said, "response_format": {"type": PROMPT}},
    ):
        busy.post("/v1/chat/completions", body)
        busy.post("/v1/responses", body)
        busy.post("/v1/messages", body)
    for raw in (PROMPT.encode(), b'{"model": "m", "' + PROMPT.encode(), b"\xff" + PROMPT.encode()):
        busy.post("/v1/chat/completions", raw)
        busy.post("/api/keys", raw)
    busy.post("/v1/chat/completions", {"model": "m", "messages": said}, key="sk-lg-nonsense" * 3)
    busy.post("/v1/embeddings", {"model": "m", "input": PROMPT})
    busy.send("GET", f"/v1/models?key={busy.secrets['key']}&q={PROMPT}")
    busy.send("GET", f"/v1/{PROMPT}?q={PROMPT}", authorization=f"Bearer {busy.secrets['key']}")


def _log_in_and_out(busy: Busy) -> None:
    form = {"content_type": "application/x-www-form-urlencoded", "sec_fetch_site": "same-origin"}
    for password in (PASSWORD + " wrong", PASSWORD):
        fields = urlencode({"email": "ada@example.com", "password": password})
        answer = busy.send("POST", "/login", fields, **form)
    cookie = (answer.headers.get("set-cookie") or "").partition(";")[0]
    busy.secrets["session"] = cookie.partition("=")[2]
    assert len(busy.secrets["session"]) > 20
    busy.send("GET", f"/usage?before={PROMPT}", cookie=cookie)
    busy.send("GET", "/keys", cookie=cookie)
    busy.send("POST", "/forgot", urlencode({"email": "ada@example.com"}), **form)
    busy.send(
        "POST", "/keys", urlencode({"name": PROMPT}), cookie=cookie, sec_fetch_site="cross-site"
    )


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Busy:
    """Everything has happened, and the server has stopped."""
    folder = tmp_path_factory.mktemp("busy")
    settings = {
        "LATCHGATE_LOG_LEVEL": "debug",
        "LATCHGATE_LOG_FORMAT": "json",
        "LATCHGATE_LOG_CALLS": "true",
    }
    server = ServerProcess(folder / "data", "--no-embedded-model", **settings)
    busy = Busy(server, {"password": PASSWORD, "upstream": UPSTREAM_KEY, "prompt": PROMPT})
    with ModelServerThread(Moody()) as model_server, server:
        server.cli(
            *("account", "create", "ada@example.com", "--password-stdin", "--credit", "5"),
            stdin=f"{PASSWORD}\n",
        )
        busy.secrets["key"] = server.cli("key", "create", "ada@example.com")["secret"]
        base_url = model_server.base_url
        server.cli(
            *("upstream", "add", "moody", "--base-url", base_url, "--api-key-stdin"),
            stdin=f"{UPSTREAM_KEY}\n",
        )
        prices = ("--input-price", "1", "--output-price", "1", "--context", "8192")
        server.cli("model", "add", "m", "--upstream", "moody", *prices)
        _call_all(busy)
        _log_in_and_out(busy)
    busy.secrets["answer"] = ANSWER
    return busy


def _lines(busy: Busy) -> list[dict[str, Any]]:
    text = busy.server.log.read_text()
    return [json.loads(line) for line in text.splitlines() if not line.startswith("Latchgate is")]


def test_no_secret_and_nothing_that_was_said_is_in_the_log(busy: Busy) -> None:
    text = busy.server.log.read_text()
    assert len(text.splitlines()) > 50, "it was to be a busy log"
    for what, secret in busy.secrets.items():
        assert secret not in text, what
        assert secret[-12:] not in text, f"the end of the {what}"
    for path in Path(busy.server.data).glob("*.log"):
        assert PROMPT not in path.read_text()


def test_every_line_is_json_with_a_time_a_level_and_a_name(busy: Busy) -> None:
    for line in _lines(busy):
        assert {"timestamp", "level", "event", "logger"} <= set(line), line
        assert "\n" not in line["event"]


def test_every_refusal_and_every_call_can_be_found_by_its_request_id(busy: Busy) -> None:
    lines = _lines(busy)
    for name in ("call.refused", "request.refused", "call.ended"):
        found = [line for line in lines if line["event"] == name]
        assert found, name
        for line in found:
            assert line["request_id"] in busy.request_ids, line
    ended = [line for line in lines if line["event"] == "call.ended"]
    assert len(ended) == 48, "one for each call that was let in"
    for line in ended:
        answered = busy.request_ids[line["request_id"]]
        assert line["status"] == answered or (line["is_stream"] and answered == 200)
        assert line["duration_ms"] >= 0
        assert re.fullmatch(r"acct_\w+", line["account"])


def test_an_upstreams_error_is_told_by_its_names_alone(busy: Busy) -> None:
    causes = {line.get("cause", "") for line in _lines(busy) if line["event"] == "call.refused"}
    assert any("status 422: code no_such_thing, type bad_request, " in cause for cause in causes)
    assert any(re.fullmatch(r"upstream status 500: \d+ bytes", cause) for cause in causes)
