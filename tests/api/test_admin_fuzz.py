"""The admin API's own document, at its worst, thrown at it by a program whose key may do all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis import Case

from latchgate.domain.people import CLI
from latchgate.http.admin import ADMIN_PREFIX, admin_api
from tests.api.test_openapi_fuzz import CHECKS, URL
from tests.support.admin import make_key
from tests.support.management import Management, running_management

EXAMPLES_MAX = 5


def _document() -> dict[str, object]:
    async def run(*_: object) -> dict[str, object]:
        raise AssertionError("nobody asks while the document is made")

    async def read() -> dict[str, object]:
        app = FastAPI(openapi_url=None)
        app.include_router(admin_api(run))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            document: dict[str, object] = (await client.get(f"{ADMIN_PREFIX}/openapi.json")).json()
        return document

    return asyncio.run(read())


# What asks upstreams would ask those that were made up here.
schema = schemathesis.openapi.from_dict(_document()).exclude(path_regex="/health$|/test$")
schema.config.generation.update(with_security_parameters=False)


@pytest.fixture(scope="module")
def attacked(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Management, asyncio.Runner]]:
    """The API over one data directory, on one event loop for all calls."""
    with asyncio.Runner() as runner:
        opened = running_management(tmp_path_factory.mktemp("admin"))
        management = runner.run(opened.__aenter__())
        try:
            yield management, runner
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
    case: Case, attacked: tuple[Management, asyncio.Runner]
) -> None:
    management, runner = attacked

    async def send() -> httpx.Response:
        key = await make_key(management, "all")
        prepared = requests.Request(**case.as_transport_kwargs(base_url=URL)).prepare()
        headers = {**prepared.headers, "authorization": f"Bearer {key.secret}"}
        try:
            return await management.browser().request(
                str(prepared.method), str(prepared.url), headers=headers, content=prepared.body
            )
        finally:
            await management.world.services.admin_keys.revoke(key.view.id, CLI)

    case.validate_response(runner.run(send()), checks=CHECKS)
