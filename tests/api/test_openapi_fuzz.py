"""Our own OpenAPI document's worst, thrown at the API by somebody who is logged in.

No answer may be a server error, and every answer has the shape that the document promises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from latchgate.domain.people import Caller
from tests.support.http_application import application
from tests.support.management import EMAIL, PASSWORD, Management, running_management

EXAMPLES_MAX = 20
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
URL = "http://localhost:8000"
schema = schemathesis.openapi.from_dict(application().openapi())
# Who is logged in is not left to chance: with a guessed cookie every answer would be 401.
schema.config.generation.update(with_security_parameters=False)


class Attacker:
    """Somebody with a session, whose every call comes from another address."""

    def __init__(self, management: Management, runner: asyncio.Runner) -> None:
        self._management = management
        self._runner = runner
        self._token = ""
        self._calls = 0

    def call(self, case: Case) -> httpx.Response:
        """Send what was generated, as it was generated, with a session that is open."""
        prepared = requests.Request(**case.as_transport_kwargs(base_url=URL)).prepare()
        return self._runner.run(self._send(prepared))

    async def _send(self, prepared: requests.PreparedRequest) -> httpx.Response:
        services = self._management.world.services
        if await services.sessions.find_identity(self._token) is None:
            logged_in = await services.logins.log_in(EMAIL, PASSWORD, Caller("attacker"))
            self._token = logged_in.session_token
        self._calls += 1
        browser = self._management.browser(f"10.0.{self._calls // 250}.{self._calls % 250}")
        headers = {**prepared.headers, "cookie": f"latchgate={self._token}"}
        return await browser.request(
            str(prepared.method), str(prepared.url), headers=headers, content=prepared.body
        )


@pytest.fixture
def attacker(tmp_path: Path) -> Iterator[Attacker]:
    """Somebody with an account in a new data directory, on one event loop for all his calls."""
    with asyncio.Runner() as runner:
        opened = running_management(tmp_path)
        management = runner.run(opened.__aenter__())
        try:
            runner.run(management.signed_up())
            yield Attacker(management, runner)
        finally:
            runner.run(opened.__aexit__(None, None, None))


@schema.parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_nothing_that_the_document_allows_or_forbids_breaks_the_server(
    case: Case, attacker: Attacker
) -> None:
    case.validate_response(attacker.call(case), checks=CHECKS)
