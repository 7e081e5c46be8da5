"""Guards a key's terms at the gateway's door: each refusal, over one connection, and at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from latchgate.clock import DAY_US, SECOND_US
from latchgate.domain.errors import Conflict, NotFound
from latchgate.services.audit_log import AuditLog
from latchgate.services.catalog import ModelTerms
from latchgate.services.key_terms import TermsAsked
from tests.fault.lines import hang, head_of, lines_to, settled, until
from tests.gateway.test_known_heads import ask, call_of
from tests.support.gateway import ACCOUNT, CALLER, Gateway, read_reply, running_gateway

pytestmark = pytest.mark.anyio
START_US = 1_800_000_000 * SECOND_US
SOON_US = START_US + DAY_US
#: START_US and a day, as one writes it.
SOON = "2027-01-16T08:00:00Z"


class SetClock:
    """A clock that stands where it was set."""

    def __init__(self) -> None:
        self.at_us = START_US

    def now_us(self) -> int:
        """The time that was set."""
        return self.at_us


async def bind(gateway: Gateway, **terms: Any) -> None:
    """Give the account's key these terms."""
    assert gateway.key is not None
    await gateway.key_terms.change(ACCOUNT, gateway.key.view.id, TermsAsked(**terms), CALLER)


async def refusal(gateway: Gateway, method: str, path: str, **more: Any) -> tuple[int, str]:
    """How a request is refused."""
    reply = await gateway.request(method, path, **more)
    return reply.status, reply.error["code"]


# ── expiry ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_key_that_expires_is_refused_like_any_ended_key_and_its_streams_are_cut(
    tmp_path: Path,
) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway, lines_to(gateway) as lines:
        await bind(gateway, expires_at=SOON)
        clock.at_us = SOON_US - 1
        line = await lines.dial(b"")
        call = call_of(gateway.secret, "hi")
        assert [(await ask(line, call)).status for _ in range(2)] == [200, 200]
        gateway.model_server.behaviour = hang
        stream = await lines.stream(gateway.secret)
        clock.at_us = SOON_US
        rest = await stream.reader.read()  # nobody calls: the clock alone ends it
        assert b'"code":"invalid_api_key"' in rest
        assert not rest.endswith(b"0\r\n\r\n"), "no part may pass for the whole"
        expired = await ask(line, call)
        assert gateway.key is not None
        other = await gateway.api_keys.create(ACCOUNT, "other", caller=CALLER)
        await gateway.api_keys.revoke(ACCOUNT, other.view.id, CALLER)
        revoked = await gateway.chat(key=other.secret)
        assert (expired.status, expired.error["code"]) == (401, "invalid_api_key")
        assert (
            expired.error["message"].partition("sk-lg-")[0]
            == (revoked.error["message"].partition("sk-lg-")[0])
        )
        await settled(gateway)
        assert "cut" in [event.outcome for event in await gateway.events()]
        assert (await gateway.audit()).findings == ()


@pytest.mark.parametrize("is_known", [True, False])
async def test_the_very_next_call_after_the_expiry_is_refused(
    tmp_path: Path, *, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before the gateway has looked whose time is over."""
    clock = SetClock()
    monkeypatch.setattr("latchgate.gateway.directory.Directory.end_expired", lambda _self: None)
    async with running_gateway(tmp_path, clock=clock) as gateway, lines_to(gateway) as lines:
        await bind(gateway, expires_at=SOON)
        line = await lines.dial(b"")
        call = call_of(gateway.secret, "hi")
        if is_known:
            assert [(await ask(line, call)).status for _ in range(2)] == [200, 200]
        clock.at_us = SOON_US
        refused = [await ask(line, call) for _ in range(3)]
        assert [reply.error["code"] for reply in refused] == ["invalid_api_key"] * 3
        events = await AuditLog(gateway.store).list_recent(ACCOUNT)
        assert [e.action for e in events].count("key.used_after_revoke") == 1


async def test_an_expired_key_takes_no_place_and_a_later_date_keeps_a_key(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        assert gateway.key is not None
        await bind(gateway, expires_at=SOON)
        with pytest.raises(Conflict):
            await gateway.api_keys.create(ACCOUNT, "new", caller=CALLER)
        clock.at_us = SOON_US
        (shown,) = await gateway.api_keys.list_keys(ACCOUNT)
        assert (shown.state, shown.ended_us, shown.is_usable) == ("expired", SOON_US, False)
        for change in (
            gateway.key_terms.change(ACCOUNT, shown.id, TermsAsked(expires_at=""), CALLER),
            gateway.api_keys.revoke(ACCOUNT, shown.id, CALLER),
            gateway.api_keys.confirm(ACCOUNT, shown.id, CALLER),
        ):
            with pytest.raises(NotFound):  # what has ended stays so
                await change
        clock.at_us += DAY_US
        new = await gateway.api_keys.create(ACCOUNT, "new", caller=CALLER)
        assert (new.view.state, new.replaces) == ("live", None)
        assert (await gateway.chat(key=new.secret)).status == 200
        listed = await gateway.api_keys.list_keys(ACCOUNT)
        assert [(key.state, key.ended_us) for key in listed] == [
            ("live", None),
            ("expired", SOON_US),
        ]


async def test_a_date_that_is_moved_counts_and_the_one_before_it_does_not(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        await bind(gateway, expires_at=SOON)
        assert (await gateway.chat()).status == 200
        await bind(gateway, expires_at="2027-02-01")
        clock.at_us = SOON_US
        await asyncio.sleep(0)
        assert (await gateway.chat()).status == 200
        await bind(gateway, expires_at="")
        clock.at_us = START_US + 3000 * DAY_US
        assert (await gateway.chat()).status == 200


async def test_a_waiting_key_that_expired_is_let_go(tmp_path: Path) -> None:
    clock = SetClock()
    async with running_gateway(tmp_path, clock=clock) as gateway:
        terms = gateway.key_terms.first(TermsAsked(expires_at=SOON))
        late = await gateway.api_keys.create(
            ACCOUNT, "late", caller=CALLER, replace=True, terms=terms
        )
        clock.at_us = SOON_US
        assert (await gateway.chat(key=late.secret)).status == 401
        assert (await gateway.chat()).status == 200, "it has replaced nothing"
        again = await gateway.api_keys.create(ACCOUNT, "again", caller=CALLER, replace=True)
        assert (await gateway.chat(key=again.secret)).status == 200


# ── models ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_model_that_is_not_permitted_is_an_unknown_one(tmp_path: Path) -> None:
    """Row 12."""
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        for name, tier in (("n", "standard"), ("p", "premium")):
            await gateway.catalog.add_model(
                name,
                upstream="fake",
                upstream_model=name,
                tier=tier,
                context_tokens=8192,
                output_tokens_max=1000,
                terms=ModelTerms(100_000, 20_000, 400_000),
            )
        line = await lines.dial(b"")
        call = call_of(gateway.secret, "hi")
        assert [(await ask(line, call)).status for _ in range(2)] == [200, 200]
        await bind(gateway, models=["n"])
        forbidden = await ask(line, call)
        unknown = await gateway.chat(model="no-such")
        premium = await gateway.chat(model="p")
        assert (forbidden.status, forbidden.error["code"]) == (404, "model_not_found")
        assert forbidden.error["message"] == unknown.error["message"].replace("no-such", "m")
        assert premium.error["message"] == unknown.error["message"].replace("no-such", "p")
        assert (await gateway.chat(model="n")).status == 200
        listed = await gateway.request("GET", "/v1/models")
        assert [model["id"] for model in listed.json["data"]] == ["n"]
        one = await gateway.request("GET", "/v1/models/m")
        assert (one.status, one.error["code"]) == (404, "model_not_found")
        await bind(gateway, models=[])
        assert (await ask(line, call)).status == 200
        assert len(gateway.model_server.received) == 4


# ── scopes ──────────────────────────────────────────────────────────────────────────────────────
CALLS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/responses/resp_1"),
    ("DELETE", "/v1/responses/resp_1"),
]
REPORTS = [
    ("GET", "/v1/key"),
    ("GET", "/v1/generation?id=x"),
    ("GET", "/v1/organization/usage/completions"),
    ("GET", "/v1/organization/costs"),
]


@pytest.mark.parametrize(
    ("scope", "refused", "taken"), [("inference", REPORTS, CALLS), ("read_only", CALLS, REPORTS)]
)
async def test_a_scope_covers_what_it_says_and_the_list_of_models(
    tmp_path: Path, scope: str, refused: list[tuple[str, str]], taken: list[tuple[str, str]]
) -> None:
    """Row 11."""
    async with running_gateway(tmp_path) as gateway:
        await bind(gateway, scope=scope)
        for method, path in refused:
            reply = await gateway.request(method, path, {} if method == "POST" else None)
            error = reply.json["error"]
            assert reply.status == 403, path
            assert error.get("code", "missing_scope") == "missing_scope"
            assert "scope" in error["message"]
        for method, path in taken:
            reply = await gateway.request(method, path, {} if method == "POST" else None)
            assert reply.status != 403, path
        assert (await gateway.request("GET", "/v1/models")).status == 200
        assert (await gateway.request("GET", "/v1/models/m")).status == 200
        assert gateway.model_server.received == []


async def test_every_header_that_carries_a_key_meets_its_scope(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await bind(gateway, scope="read_only")
        for header in ("x-api-key", "api-key"):
            reply = await gateway.chat(key="", headers={header: gateway.secret})
            assert (reply.status, reply.error["code"]) == (403, "missing_scope")


async def test_heads_of_one_connection_are_each_checked(tmp_path: Path) -> None:
    """A head that is new on a connection knows its key, and is checked for itself."""
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        await bind(gateway, scope="inference")
        line = await lines.dial(b"")
        call, report = call_of(gateway.secret, "hi"), head_of("GET", "/v1/key", gateway.secret)
        told = [(await ask(line, data)).status for data in (call, report, report, call, report)]
        assert told == [200, 403, 403, 200, 403]


async def test_a_scope_that_changes_binds_the_next_call_over_the_same_connection(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        line = await lines.dial(b"")
        call = call_of(gateway.secret, "hi")
        told = []
        for scope in ("all", "read_only", "inference", "read_only", "all"):
            await bind(gateway, scope=scope)
            told.append([(await ask(line, call)).status for _ in range(2)])
        assert told == [[200, 200], [403, 403], [200, 200], [403, 403], [200, 200]]


# ── addresses ───────────────────────────────────────────────────────────────────────────────────
async def test_a_call_from_elsewhere_is_refused_and_told_from_where_it_came(
    tmp_path: Path,
) -> None:
    """Row 13; and the address is the peer's, whatever its headers say."""
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        line = await lines.dial(b"")
        call = call_of(gateway.secret, "hi", "x-forwarded-for: 192.0.2.7")
        assert [(await ask(line, call)).status for _ in range(2)] == [200, 200]
        await bind(gateway, addresses=["192.0.2.0/24", "2001:db8::/32"])
        for _ in range(2):
            reply = await ask(line, call)
            assert (reply.status, reply.error["code"]) == (403, "ip_not_authorized")
            assert "127.0.0.1" in reply.error["message"]
            assert "192.0.2" not in reply.error["message"], "where it works is its owner's to know"
        assert (await refusal(gateway, "GET", "/v1/models"))[1] == "ip_not_authorized"
        await bind(gateway, addresses=["192.0.2.0/24", "127.0.0.0/8"])
        assert (await ask(line, call)).status == 200
        assert len(gateway.model_server.received) == 3


async def test_a_proxy_that_is_trusted_brings_each_caller_with_his_own_address(
    tmp_path: Path,
) -> None:
    async with (
        running_gateway(tmp_path, trusted_proxies=frozenset({"127.0.0.1"})) as gateway,
        lines_to(gateway) as lines,
    ):
        await bind(gateway, addresses=["192.0.2.7"])
        line = await lines.dial(b"")
        told = []
        for ip in ("192.0.2.7", "203.0.113.9", "192.0.2.7", "garbage", "192.0.2.7"):
            call = call_of(gateway.secret, "hi", f"x-forwarded-for: {ip}")
            told.append((await ask(line, call)).status)
        assert told == [200, 403, 200, 403, 200]


async def test_a_fresh_key_that_is_refused_for_its_terms_replaces_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        terms = gateway.key_terms.first(TermsAsked(addresses=["192.0.2.7"]))
        new = await gateway.api_keys.create(
            ACCOUNT, "new", caller=CALLER, replace=True, terms=terms
        )
        assert (await gateway.chat(key=new.secret)).error["code"] == "ip_not_authorized"
        assert (await gateway.chat()).status == 200, "the old one still works"
        await gateway.key_terms.change(ACCOUNT, new.view.id, TermsAsked(addresses=()), CALLER)
        assert (await gateway.chat(key=new.secret)).status == 200
        assert (await gateway.chat()).status == 401


# ── while a call is on its way ──────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("terms", "status"),
    [
        ({"addresses": ["192.0.2.7"]}, 403),
        ({"scope": "read_only"}, 403),
        ({"models": ["n"]}, 404),
        ({"expires_at": SOON}, 200),
    ],
)
async def test_terms_that_change_between_head_and_body_bind_the_call(
    tmp_path: Path, terms: dict[str, Any], status: int
) -> None:
    async with running_gateway(tmp_path, clock=SetClock()) as gateway, lines_to(gateway) as lines:
        await gateway.catalog.add_model(
            "n",
            upstream="fake",
            upstream_model="n",
            tier="standard",
            context_tokens=8192,
            output_tokens_max=1000,
            terms=ModelTerms(100_000, 20_000, 400_000),
        )
        line, body = await lines.let_in(gateway.secret)
        await bind(gateway, **terms)
        line.writer.write(body)
        assert (await read_reply(line.reader)).status == status
        await settled(gateway)
        assert (await gateway.balances()).held_nanos == 0
        assert len(gateway.model_server.received) == (status == 200)


async def test_a_stream_goes_on_under_new_terms_and_still_ends_with_its_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, lines_to(gateway) as lines:
        gateway.model_server.behaviour = hang
        stream = await lines.stream(gateway.secret)
        await bind(gateway, scope="read_only", addresses=["192.0.2.7"])
        await asyncio.sleep(0.05)
        assert gateway.directory.running_calls == 1
        assert gateway.key is not None
        await gateway.api_keys.revoke(ACCOUNT, gateway.key.view.id, CALLER)
        assert b"invalid_api_key" in await stream.reader.read()
        await until(lambda: gateway.directory.running_calls == 0)


# ── what a key says of itself ───────────────────────────────────────────────────────────────────
async def test_a_key_reads_its_own_terms(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, clock=SetClock()) as gateway:
        plain = (await gateway.request("GET", "/v1/key")).json["data"]
        assert [plain[name] for name in ("expires_at", "scope", "models", "addresses")] == [
            None,
            "all",
            [],
            [],
        ]
        await bind(gateway, expires_at=SOON, models=["m"], addresses=["127.0.0.1", "10.0.0.0/8"])
        bound = (await gateway.request("GET", "/v1/key")).json["data"]
        assert [bound[name] for name in ("expires_at", "scope", "models", "addresses")] == [
            SOON,
            "all",
            ["m"],
            ["127.0.0.1", "10.0.0.0/8"],
        ]
