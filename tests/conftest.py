"""What every test shares: the event loop that the product itself runs on."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from tests.support.postgres import TEMPLATE, PostgresServer

# A busy machine is slow, and that is no mistake of what is tested.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
#: Needs clients that ``make conformance`` installs, and runs when it is asked for by its path.
CONFORMANCE = Path(__file__).parent / "conformance"
BROWSER = "tests/e2e/"


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
    """Run the browser's tests first and the embedded models' last, whatever the random order.

    The browser's take longest, and keep one worker busy while the others run all else.
    """
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("e2e") is not None:
        return 0
    return 1 if item.get_closest_marker("model") is None else 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker whole files, and the browser's tests all to one."""
    return _ByFile(config, log)


class _ByFile(LoadFileScheduling):
    """Playwright keeps an event loop running in its thread, where no other test could run one."""

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        return BROWSER if scope.startswith(BROWSER) else scope


@pytest.fixture(scope="module")
def only_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No other test of this run has an embedded model meanwhile."""
    with one_model(tmp_path_factory):
        yield


@contextmanager
def one_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One embedded model after the other: two at once would be many times slower than in turn."""
    folder = tmp_path_factory.getbasetemp().parent  # of all workers of a run
    with (folder / "model.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
