"""Guards keys at the gateway's door, over raw sockets: when they end, and what refusals tell."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from latchgate.config.settings import MailSettings
from latchgate.domain.people import Identity
from latchgate.domain.secrets import masked, mint_key
from latchgate.gateway import engine
from latchgate.services.audit_log import AuditLog
from latchgate.services.closings import Closings
from latchgate.services.mail import Mail
from latchgate.services.notices import Notices
from tests.fault.lines import Lines, chat_of, hang, head_of, lines_to, settled, until
from tests.support.gateway import ACCOUNT, CALLER, USD, Gateway, Reply, read_reply, running_gateway
from tests.support.model_server import answers

pytestmark = pytest.mark.anyio


# ── a key that ends ─────────────────────────────────────────────────────────────────────────────
async def _revoke(gateway: Gateway) -> None:
    assert gateway.key is not None
    await gateway.api_keys.revoke(ACCOUNT, gateway.key.view.id, CALLER)


async def _replace(gateway: Gateway) -> None:
    await gateway.api_keys.create(ACCOUNT, "new", caller=CALLER, replace=True, at_once=True)


async def _suspend(gateway: Gateway) -> None:
    sql = f"UPDATE accounts SET state = 'suspended' WHERE id = '{ACCOUNT}'"
    await gateway.store.write(lambda conn: conn.execute(text(sql)))
    gateway.directory.on_account_changed(ACCOUNT)


async def _close(gateway: Gateway) -> None:
    """As its owner does on his profile's page."""
    mail = Mail(MailSettings(), gateway.journal_folder.parent / "outbox", gateway.clock)
    closings = Closings(
        gateway.store,
        gateway.clock,
        gateway.billing,
        Notices(mail, gateway.clock, "http://localhost"),
        gateway.directory.on_account_changed,
    )
    owner = Identity("usr_ada", "ada@example.com", False, ACCOUNT, "active", "ses_1")
    await closings.close(owner, "ada@example.com", CALLER)
    await mail.close()


@pytest.mark.parametrize(
    ("end", "refusal"),
    [
        (_close, (401, "invalid_api_key")),
        (_revoke, (401, "invalid_api_key")),
        (_replace, (401, "invalid_api_key")),
        (_suspend, (403, "account_suspended")),
    ],
)
async def test_an_ended_key_cuts_its_streams_charges_what_arrived_and_calls_no_more(
    tmp_path: Path, end: Callable[[Gateway], Awaitable[None]], refusal: tuple[int, str]
) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        gateway.model_server.behaviour = hang
        other = await gateway.add_account("acct_other", USD)
        streams = [await lines.stream(gateway.secret) for _ in range(2)]
        theirs = await lines.stream(other.secret)
        await end(gateway)
        reply = await gateway.chat()
        assert (reply.status, reply.error["code"]) == refusal
        for line in streams:
            rest = await line.reader.read()
            assert b'"code":"invalid_api_key"' in rest
            assert not rest.endswith(b"0\r\n\r\n"), "no part may pass for the whole"
        events = await gateway.events()
        for event in events:
            assert (event.outcome, event.output_tokens, event.counted_by) == ("cut", 3, "gateway")
            assert event.charge_nanos == event.input_tokens * 100 + 3 * 400
        assert len(events) == 2
        assert gateway.directory.running_calls == 1, "another account's stream goes on"
        theirs.writer.close()
        await settled(gateway)
        assert (await gateway.audit()).findings == ()


async def test_a_revoked_keys_whole_answer_is_cut_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        gateway.model_server.behaviour = hang
        line = await lines.dial(b"".join(chat_of(gateway.secret)))
        await until(lambda: gateway.model_server.received)
        await _revoke(gateway)
        reply = await read_reply(line.reader)
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
        (event,) = await gateway.events()
        assert (event.outcome, event.charge_nanos) == ("cut", event.input_tokens * 100)


async def test_a_key_revoked_between_head_and_body_calls_no_more(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        line, body = await lines.let_in(gateway.secret)
        await _revoke(gateway)
        line.writer.write(body)
        assert (await read_reply(line.reader)).status == 401
        assert gateway.model_server.received == []


# ── two phases ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("is_done_pressed", [True, False], ids=["Done", "first use"])
async def test_the_old_key_works_until_the_new_one_is_taken_into_use(
    tmp_path: Path, *, is_done_pressed: bool
) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        new = await gateway.api_keys.create(ACCOUNT, "new", caller=CALLER, replace=True)
        assert [(await gateway.chat()).status for _ in range(3)] == [200] * 3
        gateway.model_server.behaviour = hang
        old_stream = await lines.stream(gateway.secret)
        gateway.model_server.behaviour = answers()
        if is_done_pressed:
            await gateway.api_keys.confirm(ACCOUNT, new.view.id, CALLER)
        else:
            assert (await gateway.request("GET", "/v1/models", key=new.secret)).status == 200
        assert (await gateway.chat()).status == 401
        assert b"invalid_api_key" in await old_stream.reader.read()
        assert (await gateway.chat(key=new.secret)).status == 200
        listed = await gateway.api_keys.list_keys(ACCOUNT)
        assert [key.state for key in listed] == ["live", "replaced"]


async def test_parallel_first_uses_are_all_answered(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        new = await gateway.api_keys.create(ACCOUNT, "new", caller=CALLER, replace=True)
        replies = await asyncio.gather(*(gateway.chat(key=new.secret) for _ in range(20)))
        assert {reply.status for reply in replies} == {200}
        assert (await gateway.chat()).status == 401


async def test_a_replacement_that_was_replaced_itself_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        lost = await gateway.api_keys.create(ACCOUNT, "lost", caller=CALLER, replace=True)
        await gateway.api_keys.create(ACCOUNT, "new", caller=CALLER, replace=True)
        assert (await gateway.chat(key=lost.secret)).status == 401
        assert (await gateway.chat()).status == 200


async def test_a_replacement_discarded_during_its_first_use_is_refused_as_any_ended_key(
    tmp_path: Path,
) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def hold_the_writer(_conn: Connection) -> bool:
        has_begun.set()
        return may_end.wait(30)

    async with running_gateway(tmp_path) as gateway:
        lost = await gateway.api_keys.create(ACCOUNT, "lost", caller=CALLER, replace=True)
        holding = asyncio.create_task(gateway.store.write(hold_the_writer))
        assert await asyncio.to_thread(has_begun.wait, 30)
        again = gateway.api_keys.create(ACCOUNT, "new", caller=CALLER, replace=True)
        waiting = [asyncio.create_task(again)]
        await asyncio.sleep(0)  # the discarding write is in line, then that of the first use
        waiting.append(asyncio.create_task(gateway.chat(key=lost.secret)))
        await until(lambda: gateway.store._write_threads._work_queue.qsize() == 2)
        may_end.set()
        _, _, reply = await asyncio.gather(holding, *waiting)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")


# ── how many at once ────────────────────────────────────────────────────────────────────────────
async def test_a_key_runs_no_more_calls_at_once_than_its_limit(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, running_per_key_max=2) as gateway,
        lines_to(gateway) as lines,
    ):
        other = await gateway.add_account("acct_other", USD)
        gateway.model_server.behaviour = hang
        streams = [await lines.stream(gateway.secret) for _ in range(2)]
        gateway.model_server.behaviour = answers()
        refused = await gateway.chat()
        assert (refused.status, refused.error["code"]) == (429, "concurrency_limit_exceeded")
        assert refused.headers["retry-after"] == "1"
        assert (await gateway.chat(key=other.secret)).status == 200
        streams[0].writer.close()
        await until(lambda: gateway.directory.running_calls == 1)
        assert (await gateway.chat()).status == 200


async def test_bodies_that_come_late_do_not_slip_past_the_limit(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, running_per_key_max=1) as gateway,
        lines_to(gateway) as lines,
    ):
        gateway.model_server.behaviour = hang
        calls = [await lines.let_in(gateway.secret) for _ in range(2)]
        statuses = []
        for line, body in calls:
            line.writer.write(body)
            statuses.append((await line.reader.readuntil(b"\r\n"))[9:12])
        assert statuses == [b"200", b"429"]


# ── what refusals tell ──────────────────────────────────────────────────────────────────────────
async def _refusal(lines: Lines, secret: str) -> bytes:
    """A refusal's bytes, but for its id, its time, and the key's own text."""
    line = await lines.dial(head_of("GET", "/v1/key", secret, "connection: close"))
    answer = (await line.reader.read()).replace(masked(secret).encode(), b"KEY")
    return re.sub(rb"(x-request-id|openai-processing-ms): \S+", rb"\1:", answer)


async def test_no_refusal_tells_why_a_key_does_not_work(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        old = gateway.secret
        new = await gateway.api_keys.create(
            ACCOUNT, "new", caller=CALLER, replace=True, at_once=True
        )
        secret, swapped = new.secret, "a" if new.secret[30] != "a" else "b"
        mistyped = f"{secret[:30]}{swapped}{secret[31:]}"
        assert (await _refusal(lines, secret)).startswith(b"HTTP/1.1 200 ")
        await gateway.api_keys.revoke(ACCOUNT, new.view.id, CALLER)
        ways = {
            "revoked": secret,
            "mistyped": mistyped,
            "replaced": old,
            "unknown": mint_key().text,
        }
        told = {name: await _refusal(lines, key) for name, key in ways.items()}
        assert set(told.values()) == {told["unknown"]}
        assert told["unknown"].startswith(b"HTTP/1.1 401 ")
        assert b'"code":"invalid_api_key"' in told["unknown"]


async def test_an_ended_key_that_is_tried_again_is_told_to_its_owner_and_to_nobody_else(
    tmp_path: Path,
) -> None:
    """Row 5: once, however often it is tried; a mistyped key is nobody's and told to nobody."""
    async with running_gateway(tmp_path) as gateway:
        assert gateway.key is not None
        await _revoke(gateway)
        for _ in range(3):
            assert (await gateway.chat()).status == 401
        await gateway.chat(key=mint_key().text)
        events = await AuditLog(gateway.store).list_recent(ACCOUNT)
        (told,) = [event for event in events if event.action == "key.used_after_revoke"]
        assert (told.target, told.details) == (gateway.key.view.id, {"name": "test"})


@pytest.mark.parametrize("header", ["x-api-key", "api-key"])
async def test_every_header_that_carries_a_key_meets_the_same_rules(
    tmp_path: Path, header: str
) -> None:
    async with running_gateway(tmp_path) as gateway:
        secret = gateway.secret

        async def call() -> Reply:
            return await gateway.chat(key="", headers={header: secret})

        assert (await call()).status == 200
        (event,) = await gateway.events()
        assert event.charge_nanos > 0
        await gateway.limits.set_limit(ACCOUNT, "key_limit", "day", 0, CALLER)
        reply = await call()
        assert (reply.status, reply.error["code"]) == (429, "project_spend_limit_exceeded")
        await _revoke(gateway)
        assert (await call()).status == 401


async def test_a_mistyped_key_costs_no_look_up(tmp_path: Path) -> None:
    """Row 3."""
    async with running_gateway(tmp_path) as gateway:
        reads: list[object] = []
        read = gateway.store.read

        async def counted(fn: Any, *args: Any, **named: Any) -> Any:
            reads.append(fn)
            return await read(fn, *args, **named)

        gateway.store.read = counted  # type: ignore[method-assign]
        secret = gateway.secret
        mistyped = secret[:40] + ("a" if secret[40] != "a" else "b") + secret[41:]
        reply = await gateway.chat(key=mistyped)
        assert (reply.status, reads) == (401, [])
        assert f"{mistyped[:8]}" in reply.error["message"]
        assert mistyped[9:-4] not in reply.error["message"]
        assert (await gateway.chat(key=mint_key().text)).status == 401
        assert len(reads) == 1


async def test_nobody_but_a_trusted_proxy_says_where_a_call_comes_from(tmp_path: Path) -> None:
    """Row 17."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.chat(headers={"x-forwarded-for": "203.0.113.9", "x-real-ip": "203.0.113.9"})
        (event,) = await gateway.events()
        assert event.ip == "127.0.0.1"


# ── the door itself ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/chat/completions"])
async def test_a_page_of_any_origin_may_ask_first_and_without_a_key(
    tmp_path: Path, path: str
) -> None:
    async with running_gateway(tmp_path) as gateway:
        asked = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-os",
        }
        reply = await gateway.request("OPTIONS", path, headers=asked, key="")
        assert (reply.status, reply.body) == (204, b"")
        allowed = {name[21:]: value for name, value in reply.headers.items() if "-allow-" in name}
        assert allowed == {
            "origin": "*",
            "methods": "GET, POST, DELETE, OPTIONS",
            "headers": asked["access-control-request-headers"],
        }
        assert reply.headers["vary"] == "access-control-request-headers"


async def test_a_page_may_read_every_answer_and_send_no_cookies(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, credit_nanos=0) as gateway:
        replies = [
            await gateway.request("GET", "/v1/models"),
            await gateway.request("GET", "/v1/models", key="wrong"),
            await gateway.request("GET", "/v1/nowhere"),
            await gateway.chat(),
            await gateway.raw(b"nonsense\r\n\r\n"),
        ]
        assert [reply.status for reply in replies] == [200, 401, 404, 429, 400]
        for reply in replies:
            assert reply.headers["access-control-allow-origin"] == "*"
            assert "x-request-id" in reply.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize("is_first", [True, False], ids=["first request", "second request"])
async def test_a_head_that_comes_too_slowly_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    monkeypatch.setattr(engine, "HEAD_TIMEOUT_S", 0.3)
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        whole = head_of("GET", "/v1/models", gateway.secret)
        line = await lines.dial(b"" if is_first else whole)
        if not is_first:
            assert (await read_reply(line.reader)).status == 200
        for byte in whole[:30]:
            line.writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        reply = await read_reply(line.reader)
        assert (reply.status, reply.error["code"]) == (408, "request_timeout")
        assert await line.reader.read() == b""


async def test_two_requests_in_one_breath_are_answered_in_order(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        asked = b"".join(chat_of(gateway.secret, stream=True))
        asked += head_of("GET", "/v1/key", "wrong") + head_of("GET", "/v1/models", gateway.secret)
        line = await lines.dial(asked)
        replies = [await read_reply(line.reader)]
        assert await line.reader.readexactly(2) == b"\r\n", "the end of the stream's last chunk"
        replies += [await read_reply(line.reader) for _ in range(2)]
        assert [reply.status for reply in replies] == [200, 401, 200]
        assert replies[0].events[-1] == "[DONE]"
        assert replies[2].json["data"][0]["id"] == "m"
        assert len({reply.headers["x-request-id"] for reply in replies}) == 3


async def test_an_offer_to_upgrade_is_answered_and_never_waited_for(tmp_path: Path) -> None:
    """Java's own HTTP client offers HTTP/2 this way on every plain connection."""
    async with running_gateway(tmp_path) as gateway:
        offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AA"}
        listed = await gateway.request("GET", "/v1/models", headers=offer)
        assert (listed.status, listed.headers["connection"]) == (200, "close")
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        called = await gateway.request("POST", "/v1/chat/completions", body, headers=offer)
        assert (called.status, called.headers["connection"]) == (400, "close")
        assert called.error["code"] == "invalid_http"
        assert "HTTP_1_1" in called.error["message"]
        assert gateway.model_server.received == []
