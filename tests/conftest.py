"""What every test shares: the event loop that the product itself runs on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.postgres import TEMPLATE, PostgresServer

# A busy machine is slow, and that is no mistake of what is tested.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
#: Needs clients that ``make conformance`` installs, and runs when it is asked for by its path.
CONFORMANCE = Path(__file__).parent / "conformance"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the clients' tests to their own verb."""
    is_asked_for = any(CONFORMANCE.name in Path(word).parts for word in config.args)
    return True if collection_path == CONFORMANCE and not is_asked_for else None


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Asynchronous tests run on uvloop, as the server does."""
    return "asyncio", {"use_uvloop": True}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the browser's tests last, whatever the random order.

    Playwright's synchronous interface keeps an event loop running in this thread while a browser is
    open, and no other test could run one beside it.
    """
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, with a template that has our schema."""
    server = PostgresServer()
    try:
        server.start()
        server.make_template()
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A new, empty database on either engine: what ``storage.url`` would say."""
    if request.param == "sqlite":
        yield ""
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def either_engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Run a test on both engines: ``running_gateway`` takes a database of one, then the other."""
    if request.param == "sqlite":
        yield
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database(TEMPLATE) as url:
        monkeypatch.setattr("tests.support.gateway.default_database_url", lambda: url)
        yield
