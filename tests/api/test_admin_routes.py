"""Every route of the admin API: it answers what its document says, to whoever has its scope."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from latchgate import commands
from latchgate.domain.admin_keys import SCOPES
from latchgate.http.admin import ADMIN_PREFIX, ROUTES
from tests.support.admin import make_key, program, program_with
from tests.support.management import EMAIL, PASSWORD, Management, error_of, running_management

pytestmark = pytest.mark.anyio
CREDENTIAL, OTHER_CREDENTIAL = "upstream-key-4711", "another-key-0815"
NEW = "new@example.com"
ACCOUNT = "/accounts/{account_id}"
SOON = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M")
#: What is in an answer that makes it, once, because it is of no use otherwise.
SHOWN_ONCE = {("POST", "/codes"), ("POST", "/invitations")}
#: Verbs that are no business of a program elsewhere.
NOT_OVER_HTTP = {
    "account.list": "/accounts lists them by pages",
    "admin-key.create": "a key that leaks must not make others",
    "admin-key.list": "as above",
    "admin-key.revoke": "as above",
    "key.create": "its answer would have an account's secret",
    "payment.auto": "the account's owner agrees to it, and switches it off",
    "payment.auto-off": "as above",
    "statement.close": "the server closes months by itself",
    "backup": "it writes files on the server",
    "doctor": "/health is the same of a running server",
    "status": "/health has the version",
}


@dataclass(frozen=True)
class Step:
    """One request of the walk over all routes, and its answer's status."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    status: int = 200
    #: Names in the answer that later paths use.
    keeps: dict[str, str] = field(default_factory=dict)


MODEL = {
    "name": "vendor/big-1",
    "upstream": "hosted/eu",
    "context_tokens": 8192,
    "input_price": "0.15",
    "output_price": "0.60",
}
WALK = (
    Step("GET", "/key"),
    Step("GET", "/health"),
    Step("POST", "/accounts", {"email": NEW, "password": PASSWORD}, 201),
    Step("GET", "/accounts?q=ADA&limit=1"),
    Step("GET", ACCOUNT),
    Step("POST", f"{ACCOUNT}/suspend"),
    Step("POST", f"{ACCOUNT}/resume"),
    Step("POST", f"{ACCOUNT}/log-out"),
    Step("POST", f"{ACCOUNT}/reset-factors"),
    Step("GET", f"{ACCOUNT}/events"),
    Step("GET", f"{ACCOUNT}/keys"),
    Step("PATCH", "/keys/{key_id}", {"scope": "inference", "addresses": ["192.0.2.0/24"]}),
    Step("DELETE", "/keys/{key_id}"),
    Step("PUT", f"{ACCOUNT}/limits/account/month", {"amount_usd": "10.00"}),
    Step("GET", f"{ACCOUNT}/limits"),
    Step("DELETE", f"{ACCOUNT}/limits/account/month"),
    Step("PUT", f"{ACCOUNT}/premium/account", {"on": True}),
    Step("PUT", f"{ACCOUNT}/time-zone", {"time_zone": "Europe/Berlin"}),
    Step(
        "PUT",
        f"{ACCOUNT}/rates",
        {"requests_per_minute": 60, "tokens_per_minute": None, "calls_at_once": 2},
    ),
    Step("PUT", f"{ACCOUNT}/mails/credit", {"on": False}),
    Step("GET", f"{ACCOUNT}/mails"),
    Step("POST", f"{ACCOUNT}/credit", {"amount_usd": "2.50", "note": "Thank you"}, 201),
    Step("POST", f"{ACCOUNT}/refunds", {"amount_usd": "0.10", "reason": "Slow"}, 201),
    Step("POST", f"{ACCOUNT}/corrections", {"take_usd": "0.10", "reason": "Twice"}, 201),
    Step("PUT", f"{ACCOUNT}/credit-line", {"amount_usd": "1.00"}),
    Step("GET", f"{ACCOUNT}/postings"),
    Step("GET", f"{ACCOUNT}/statements"),
    Step("GET", f"{ACCOUNT}/payments"),
    Step("GET", "/payments/held"),
    Step("POST", "/codes", {"amount_usd": "1.00", "number": 2, "expires": "2030-12-31"}, 201,
         {"batch_id": "id"}),
    Step("GET", "/codes"),
    Step("POST", "/codes/{batch_id}/withdraw"),
    Step("POST", "/plans", {"name": "team/a", "requests_per_minute": "90", "gift_usd": "1"}, 201),
    Step("GET", "/plans"),
    Step("PATCH", "/plans/team/a", {"requests_per_minute": "", "premium": False}),
    Step("GET", "/plans/team%2Fa"),
    Step("PUT", f"{ACCOUNT}/plan", {"name": "team/a"}),
    Step("POST", "/upstreams",
         {"name": "hosted/eu", "base_url": "http://127.0.0.1:9/v1", "api_key": CREDENTIAL}, 201),
    Step("GET", "/upstreams"),
    Step("POST", "/upstreams/hosted%2Feu/test"),
    Step("PUT", "/upstreams/hosted/eu/credential", {"api_key": OTHER_CREDENTIAL}),
    Step("POST", "/models", MODEL, 201),
    Step("GET", "/models"),
    Step("PUT", "/models/vendor/big-1/price",
         {"input_price": "0.30", "output_price": "1", "priority_percent": 150}),
    Step("PUT", "/models/vendor/big-1/price",
         {"input_price": "0.40", "output_price": "1", "effective_from": SOON}),
    Step("GET", "/prices/coming"),
    Step("POST", "/models/vendor/big-1/price/withdraw", {"version": 3}),
    Step("POST", "/models/vendor/big-1/price/correct",
         {"since": "2026-01-01", "until": "2026-02-01",
          "input_price": "0.20", "output_price": "1"}),
    Step("POST", "/prices/import", {"provider": "openai"}),
    Step("POST", "/upstreams/hosted/eu/disable"),
    Step("POST", "/upstreams/hosted/eu/enable"),
    Step("DELETE", "/models/vendor/big-1"),
    Step("DELETE", "/upstreams/hosted/eu"),
    Step("POST", "/invitations", {"email": "guest@example.com"}, 201),
    Step("GET", "/events?limit=3"),
    Step("GET", "/books"),
    Step("GET", "/audit"),
)  # fmt: skip


@pytest.fixture
async def management(tmp_path: Path) -> AsyncIterator[Management]:
    """The API over a new data directory."""
    async with running_management(tmp_path) as running:
        yield running


async def _document(management: Management) -> dict[str, Any]:
    answer = await management.browser().get(f"{ADMIN_PREFIX}/openapi.json")
    document: dict[str, Any] = answer.json()
    return document


def _template(step: Step, document: dict[str, Any]) -> str:
    """The path of the document that a step asks for: the longest that fits, as in a router."""
    asked = ADMIN_PREFIX + step.path.partition("?")[0].replace("%2F", "/")
    fitting = [
        template
        for template, methods in document["paths"].items()
        if step.method.lower() in methods
        if re.fullmatch(re.sub(r"\{name\}", "[^{]+", re.sub(r"\{(?!name)\w+\}", "[^/]+", template)),
                        asked)
    ]  # fmt: skip
    return max(fitting, key=lambda template: len(re.sub(r"\{\w+\}", "", template)))


def _validate(answer: httpx.Response, operation: dict[str, Any], document: dict[str, Any]) -> None:
    """Hold an answer to what the document says of this status."""
    said = operation["responses"].get(str(answer.status_code)) or operation["responses"]["4XX"]
    schema = said["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    jsonschema_rs.validator_for(whole, validate_formats=True).validate(answer.json())


async def _ada(management: Management) -> dict[str, str]:
    """An account with a live key; what paths name of it."""
    await management.signed_up()
    services = management.world.services
    account_id = (await services.accounts.get(EMAIL)).account_id
    made = await commands.run(management.world, "key.create", {"email": EMAIL, "name": "Laptop"})
    return {"account_id": account_id, "key_id": made["id"], "secret": made["secret"]}


async def _walk(
    management: Management, client: httpx.AsyncClient
) -> AsyncIterator[tuple[Step, httpx.Response]]:
    names = await _ada(management)
    for step in WALK:
        path = step.path.format(**names)
        answer = await client.request(step.method, ADMIN_PREFIX + path, json=step.body)
        names |= {name: answer.json()[key] for name, key in step.keeps.items()}
        yield step, answer


async def test_every_route_answers_what_the_document_says(management: Management) -> None:
    document, seen = await _document(management), set()
    client = await program(management, "all")
    async for step, answer in _walk(management, client):
        assert answer.status_code == step.status, (step.path, answer.text)
        assert answer.headers["cache-control"] == "no-store"
        template = _template(step, document)
        seen.add((step.method, template))
        _validate(answer, document["paths"][template][step.method.lower()], document)
    in_document = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    # A month has to pass before there is a statement: tests/api/test_admin_money.py has one.
    later = ("GET", f"{ADMIN_PREFIX}{ACCOUNT}/statements/{{id}}")
    assert seen == in_document - {later}


async def test_every_route_is_in_the_document_with_its_scope(management: Management) -> None:
    document = await _document(management)
    ids = []
    for route in ROUTES:
        operation = document["paths"][ADMIN_PREFIX + route.path.replace(":path", "")][
            route.method.lower()
        ]
        assert operation["security"] == [{"admin_key": [route.scope]}]
        ids.append(operation["operationId"])
    assert len(set(ids)) == len(ROUTES) == sum(map(len, document["paths"].values())) - 2
    assert document["components"]["securitySchemes"]["admin_key"]["scheme"] == "bearer"


def test_every_verb_is_a_route_or_says_why_not() -> None:
    routed = {route.verb for route in ROUTES}
    assert routed | set(NOT_OVER_HTTP) == set(commands.VERBS)
    assert not routed & set(NOT_OVER_HTTP)


async def test_a_scope_is_enough_for_its_routes_and_for_no_other(management: Management) -> None:
    names = {**await _ada(management), "batch_id": "cbt_00000000000000000000000000"}
    names |= {"id": "key_0", "name": "nobody", "what": "account", "period": "month"}
    clients = {scope: await program(management, scope) for scope in SCOPES}
    before = await management.world.services.operator_accounts.list_page()
    for route in ROUTES:
        path = ADMIN_PREFIX + route.path.replace(":path", "").format(**names)
        for scope, client in clients.items():
            # A body that no route takes: who may come in is found in the refusal.
            answer = await client.request(route.method, path, json={"nothing": 1})
            may = scope in {route.scope, "all"}
            if not may:
                assert answer.status_code == 403, (scope, path)
                error = error_of(answer)
                assert error["code"] == "insufficient_scope"
                assert f"the scope {route.scope}" in error["message"]
            else:
                assert answer.status_code not in {401, 403, 500}, (scope, path, answer.text)
    assert await management.world.services.operator_accounts.list_page() == before


async def test_no_answer_has_a_secret(management: Management) -> None:
    key = await make_key(management, "all")
    client = program_with(management, key.secret)
    answers = [(step, answer.text) async for step, answer in _walk(management, client)]
    kept = await management.world.store.read(
        lambda conn: conn.exec_driver_sql(
            "SELECT secret_hash FROM admin_keys UNION SELECT secret_hash FROM api_keys"
        ).all()
    )
    secrets = [CREDENTIAL, OTHER_CREDENTIAL, PASSWORD, key.secret]
    secrets += [row.secret_hash.hex() for row in kept]
    for step, text in answers:
        assert not [secret for secret in secrets if secret in text], step.path
        assert not re.search(r"(sk-lg|lg-admin)-[0-9A-Za-z]{20}", text), step.path
        once = '"secrets"' in text or "invitation=" in text
        assert once == ((step.method, step.path) in SHOWN_ONCE), step.path
