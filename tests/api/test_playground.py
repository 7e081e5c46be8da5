"""Guards the playground's door: our own pages' only, a session's only, and nothing said is kept."""

from __future__ import annotations

import asyncio
import html
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.model_server import (
    ModelServerThread,
    Received,
    chunk,
    end_events,
    send_chunk,
    send_json,
    start_events,
    usage_chunk,
    usage_of,
)
from tests.support.server import ServerProcess, environment

PASSWORD = "seven quiet violet llamas"
SAID = "my cat is called Marmalade"
OURS = {"sec-fetch-site": "same-origin"}
#: Each test's person comes from an address of his own, as behind a proxy.
SETTINGS = {"LATCHGATE_EMBEDDED_ENABLED": "false", "LATCHGATE_SERVER_TRUSTED_PROXIES": "127.0.0.1"}


async def _answer(request: Received, writer: asyncio.StreamWriter) -> None:
    """Say what was asked, or nothing more after the first words when asked to stall."""
    asked = request.body["messages"][-1]["content"]
    if not request.body.get("stream"):
        whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
        await send_json(writer, 200, {**whole, "usage": usage_of(12, 5)})
        return
    await start_events(writer)
    await send_chunk(writer, chunk({"role": "assistant", "content": ""}))
    await send_chunk(writer, chunk({"content": f"You said: {asked}"}))
    if "stall" in asked:
        await request.hang_up()
    await send_chunk(writer, chunk({}, finish="stop"))
    await send_chunk(writer, usage_chunk(usage_of(12, 5)))
    await send_chunk(writer, b"data: [DONE]\n\n")
    await end_events(writer)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server in front of a scripted model."""
    data = tmp_path_factory.mktemp("playground") / "data"
    with (
        ModelServerThread(_answer) as upstream,
        ServerProcess(data, **SETTINGS) as running,
    ):
        running.cli("upstream", "add", "lab", "--base-url", upstream.base_url)
        running.cli(
            *("model", "add", "parrot", "--upstream", "lab", "--context", "8192"),
            *("--input-price", "0.10", "--cached-price", "0.02", "--output-price", "0.40"),
        )
        running.cli(  # five tokens of it are about all of a new account's credit
            *("model", "add", "gold", "--upstream", "lab", "--context", "8192"),
            *("--input-price", "0", "--cached-price", "0", "--output-price", "999999"),
        )
        yield running


_people = iter(range(1000))


@pytest.fixture
def email() -> str:
    """An address that nobody has yet."""
    return f"p{next(_people)}@example.com"


@pytest.fixture
def browser(server: ServerProcess, email: str) -> Iterator[httpx.Client]:
    """A browser of our own pages in which somebody has just signed up."""
    address = f"10.0.0.{email.partition('@')[0][1:]}"
    headers = {**OURS, "x-forwarded-for": address}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        signed_up = client.post("/api/signup", json={"email": email, "password": PASSWORD})
        assert signed_up.status_code == 200, signed_up.text
        yield client


def _question(text: str = SAID, **more: Any) -> dict[str, Any]:
    return {"model": "parrot", "turns": [{"role": "user", "content": text}], **more}


def _form(text: str = SAID, **more: str) -> dict[str, str]:
    chosen = {"temperature": "0.7", "top_p": "1", "max_tokens": "64", "system": ""}
    return {"model": "parrot", "prompt": text, "conversation": "[]", **chosen, **more}


def _events(answer: httpx.Response) -> list[Any]:
    payloads = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [payload if payload == "[DONE]" else json.loads(payload) for payload in payloads]


def _calls(browser: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.get("/api/usage").json()["data"]
    return found


def _until_noted(browser: httpx.Client, outcome: str) -> dict[str, Any]:
    """The account's only call, once it has ended so."""
    for _ in range(1200):
        if calls := _calls(browser):
            assert [call["outcome"] for call in calls] == [outcome]
            return calls[0]
        time.sleep(0.05)
    raise AssertionError("the call is not noted")


def test_an_answer_streams_and_its_receipt_has_the_answers_id(
    server: ServerProcess, browser: httpx.Client
) -> None:
    answer = browser.post("/api/playground", json=_question(max_tokens=20, temperature=1))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers
    *events, usage, end = _events(answer)
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    assert (said, end) == (f"You said: {SAID}", "[DONE]")
    receipt = browser.get(f"/api/usage/{answer.headers['x-request-id']}").json()
    assert receipt["charge_nanos"] == usage["usage"]["cost_nanos"] == 12 * 100 + 5 * 400
    assert (receipt["app"], receipt["model"]) == ("Playground", "parrot")
    page = browser.get("/usage").text
    assert "Playground" in page
    assert "Playground" not in browser.get("/api-keys").text.partition("<main")[2]
    assert browser.get("/api/keys").json()["data"] == []
    assert server.cli("audit")["findings"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "", "origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site", "origin": "null"},
    ],
    ids=str,
)
def test_another_sites_page_is_refused(browser: httpx.Client, headers: dict[str, str]) -> None:
    for path, body in (
        ("/api/playground", {"json": _question()}),
        ("/playground", {"data": _form()}),
        ("/playground/code", {"data": _form()}),
    ):
        answer = browser.post(path, headers=headers, **body)  # type: ignore[arg-type]
        assert answer.status_code == 403, path
    assert _calls(browser) == []


def test_a_form_that_says_not_where_it_comes_from_is_refused(browser: httpx.Client) -> None:
    del browser.headers["sec-fetch-site"]
    assert browser.post("/playground", data=_form()).status_code == 403
    posing = {"content-type": "text/plain"}
    sent = browser.post("/api/playground", content=json.dumps(_question()), headers=posing)
    assert sent.status_code == 403
    assert _calls(browser) == []


def test_nobody_is_answered_without_a_session(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url, headers=OURS) as nobody:
        refused = nobody.post("/api/playground", json=_question())
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "session_expired")
        sent = nobody.post("/playground", data=_form())
        assert (sent.status_code, sent.headers["location"]) == (303, "/login")
        shown = nobody.get("/playground")
        assert shown.headers["location"] == "/login?next=/playground"


def test_a_session_calls_nothing_of_the_api(browser: httpx.Client) -> None:
    browser.post("/api/playground", json=_question())
    token = browser.cookies["latchgate"]
    body = {"model": "parrot", "messages": [{"role": "user", "content": "hi"}]}
    for headers in ({}, {"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        for path in ("/v1/chat/completions", "/chat/completions", "/v1/messages"):
            assert browser.post(path, json=body, headers=headers).status_code == 401
        assert browser.get("/v1/models", headers=headers).status_code == 401
    assert len(_calls(browser)) == 1


def test_whoever_leaves_pays_for_what_has_come(
    server: ServerProcess, browser: httpx.Client
) -> None:
    with browser.stream("POST", "/api/playground", json=_question("stall")) as answer:
        next(answer.iter_bytes())
        call_id = answer.headers["x-request-id"]
    call = _until_noted(browser, "hung_up")
    assert call["request_id"] == call_id
    assert 0 < call["charge_nanos"] < 10_000
    assert server.cli("audit")["findings"] == []


def test_an_ended_session_cuts_the_answer_off(browser: httpx.Client, email: str) -> None:
    with browser.stream("POST", "/api/playground", json=_question("stall")) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        assert browser.delete("/api/session").status_code == 204
        text += "".join(pieces)
    assert json.loads(text.split("\n\n")[-2][6:])["error"]["code"] == "session_expired"
    browser.post("/api/session", json={"email": email, "password": PASSWORD})
    _until_noted(browser, "hung_up")


def test_a_suspended_account_is_cut_off_and_told_so(
    server: ServerProcess, browser: httpx.Client, email: str
) -> None:
    with browser.stream("POST", "/api/playground", json=_question("stall")) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        server.cli("account", "suspend", email)
        text += "".join(pieces)
    assert '"error"' in text
    _until_noted(browser, "cut")
    refused = browser.post("/api/playground", json=_question())
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "account_suspended")
    page = browser.post("/playground", data=_form())
    assert page.status_code == 403
    assert SAID in page.text, "what was typed stays"


def test_nothing_that_is_said_is_written_down(server: ServerProcess, browser: httpx.Client) -> None:
    browser.post("/api/playground", json=_question(system="the secret is Rumpelstiltskin"))
    browser.post("/playground", data=_form())
    browser.post("/api/playground", json=_question(model="no such model"))
    with browser.stream("POST", "/api/playground", json=_question(SAID + ", stall")) as answer:
        next(answer.iter_bytes())
    server.cli("audit")
    files = [server.log, *(path for path in server.data.rglob("*") if path.is_file())]
    for path in files:
        data = path.read_bytes()
        assert b"Marmalade" not in data, path
        assert b"Rumpelstiltskin" not in data, path


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"turns": []}, "invalid_value"),
        ({"turns": [{"role": "system", "content": "x"}]}, "invalid_value"),
        ({"turns": [{"role": "assistant", "content": "x"}]}, "invalid_value"),
        ({"turns": [{"role": "user", "content": "x", "name": "y"}]}, None),
        ({"turns": [{"role": "user", "content": "\ud83d"}]}, None),
        ({"temperature": 2.1}, "invalid_value"),
        ({"temperature": "1"}, "invalid_type"),
        ({"top_p": 0}, "invalid_value"),
        ({"max_tokens": 1.5}, None),
        ({"max_tokens": 2**60}, "invalid_value"),
        ({"model": "nothing"}, "model_not_found"),
        ({"stream": False}, None),
    ],
    ids=str,
)
def test_what_is_no_question_is_refused_in_the_apis_shape(
    browser: httpx.Client, fields: dict[str, Any], code: str | None
) -> None:
    body = json.dumps({**_question(), **fields})
    answer = browser.post(
        "/api/playground", content=body, headers={"content-type": "application/json"}
    )
    assert 400 <= answer.status_code < 500
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code in (None, error["code"])
    assert _calls(browser) == []


# ── the page without JavaScript ─────────────────────────────────────────────────────────────────
def _carried(page: str) -> str:
    found = re.search(r'name="conversation" value="([^"]*)"', page)
    assert found
    return html.unescape(found[1])


def test_a_form_carries_the_conversation_and_answers_with_all_of_it(browser: httpx.Client) -> None:
    first = browser.post("/playground", data=_form("first <b>words</b>\r\nand more"))
    assert first.status_code == 200
    assert "You said: first &lt;b&gt;words&lt;/b&gt;\nand more" in first.text
    assert "12 tokens in, 5 out: $0.0000032" in first.text
    second = browser.post("/playground", data=_form("second", conversation=_carried(first.text)))
    turns = json.loads(_carried(second.text))
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]
    assert turns[0]["content"] == "first <b>words</b>\nand more"
    assert turns[3]["content"] == "You said: second"


def test_a_refusal_stands_at_its_place_and_nothing_typed_is_lost(
    server: ServerProcess, browser: httpx.Client, email: str
) -> None:
    for fields, words in (
        ({"temperature": "hot"}, "Write a number from 0 to 2."),
        ({"top_p": "nan"}, "Write a number from 0.01 to 1."),
        ({"max_tokens": "1.5"}, "Write a whole number"),
        ({"model": "gone"}, "does not exist"),
        ({"prompt": "  "}, "Write something to send."),
    ):
        page = browser.post("/playground", data=_form(**{"system": "Be kind & brief", **fields}))
        assert 400 <= page.status_code < 500
        assert words in page.text, fields
        assert "Be kind &amp; brief" in page.text
    server.cli("limit", "set", email, "account", "month", "0")
    page = browser.post("/playground", data=_form())
    assert page.status_code == 429
    assert '<a href="/limits">Limits</a>' in page.text.partition('role="alert"')[2]
    server.cli("limit", "remove", email, "account", "month")
    assert (
        "$4.999995 ·" in browser.post("/playground", data=_form(model="gold", max_tokens="5")).text
    )
    page = browser.post("/playground", data=_form())
    assert '<a href="/billing">Add credit</a>' in page.text.partition('role="alert"')[2]
    assert SAID in page.text
    assert len(_calls(browser)) == 1


@pytest.mark.parametrize("conversation", ["{", "7", "[7]", '[{"role": "user"}]', "[" * 9000])
def test_a_damaged_form_is_refused(browser: httpx.Client, conversation: str) -> None:
    for path in ("/playground", "/playground/code"):
        page = browser.post(path, data=_form(conversation=conversation))
        assert page.status_code == 400
        assert "damaged" in page.text


def test_a_conversation_that_is_full_says_so(browser: httpx.Client) -> None:
    turns = [
        {"role": role, "content": "word " * 1000} for role in ("user", "assistant") for _ in "1234"
    ]
    page = browser.post("/playground", data=_form(conversation=json.dumps(turns)))
    assert page.status_code == 200
    assert "as long as it can get" in page.text


def test_the_code_runs_as_it_stands_and_has_no_secret(
    browser: httpx.Client, tmp_path: Path
) -> None:
    secret = browser.post("/api/keys", json={}).json()["secret"]
    tricky = 'It\'s "so" $HOME `id` \\ \n\u2028\u200d 日本 👩\U000e0067 end'
    page = browser.post("/playground/code", data=_form(tricky, system="Be 'brief'")).text
    assert secret not in page
    samples = {
        name: html.unescape(text)
        for name, text in re.findall(r'<code id="code-(\w+)">(.*?)</code>', page, re.DOTALL)
    }
    assert set(samples) == {"curl", "python", "javascript"}
    (tmp_path / "call.py").write_text(samples["python"])
    shell = samples["curl"].replace("sk-lg-…", secret).replace("curl ", "curl --silent ", 1)
    shell = shell.replace('"messages"', '"stream": true, "messages"')
    env = environment(LATCHGATE_KEY=secret, PYTHONIOENCODING="utf-8")
    for command in (["bash", "-c", shell], [sys.executable, str(tmp_path / "call.py")]):
        done = subprocess.run(command, capture_output=True, env=env, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        written = done.stdout.decode()
        if "data: " in written:
            pieces = [json.loads(line[6:]) for line in written.split("\n\n") if line[6:7] == "{"]
            written = "".join(
                choice["delta"].get("content") or "" for one in pieces for choice in one["choices"]
            )
        assert written == f"You said: {tricky}", command[0]
