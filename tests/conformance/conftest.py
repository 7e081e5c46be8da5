"""One server, one process for each client, and a record of what the run has seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from importlib import metadata
from typing import Any

import pytest

from tests.conformance.callers import Caller
from tests.conformance.clients import BUILT, CLIENTS, Client
from tests.conformance.driving import Driver
from tests.conformance.house import House

SEEN = BUILT / "seen.json"
_results = pytest.StashKey[list[dict[str, Any]]]()


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The server with all its models; at the end its audit must find nothing."""
    with House(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="session")
def driver_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Client], Driver]]:
    """The one running process of a client."""
    drivers: dict[str, Driver] = {}

    def find(client: Client) -> Driver:
        if client.id not in drivers:
            folder = tmp_path_factory.mktemp("client") / "home"
            drivers[client.id] = Driver(client.command, folder)
        return drivers[client.id]

    yield find
    for driver in drivers.values():
        driver.close()


@pytest.fixture
def caller(house: House, driver_of: Callable[[Client], Driver], client: Client) -> Caller:
    """The client under test, with an account of its own."""
    return Caller(house, client, driver_of(client))


# ── what the run has seen ───────────────────────────────────────────────────────────────────────
def pytest_configure(config: pytest.Config) -> None:
    """Begin with nothing seen."""
    config.stash[_results] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note for each client what was shown of it, and whether it held."""
    report = yield
    params = getattr(getattr(item, "callspec", None), "params", {})
    column = item.get_closest_marker("column")
    is_last_word = report.when == "call" or report.outcome != "passed"
    if isinstance(params.get("client"), Client) and column is not None and is_last_word:
        row = {"client": params["client"].id, "column": column.args[0], "outcome": report.outcome}
        item.config.stash[_results].append(row)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what was seen, with the versions that it was seen of."""
    clients = [
        {
            "id": client.id,
            "name": client.name,
            "mode": client.mode,
            "endpoint": client.endpoint,
            "package": client.package,
            "version": _version(client),
        }
        for client in CLIENTS
    ]
    seen = {"clients": clients, "results": session.config.stash[_results]}
    SEEN.write_text(json.dumps(seen, indent=1))


def _version(client: Client) -> str:
    """The installed version of a client's package."""
    if not client.package:
        return ""
    if client.python is None:
        package = BUILT / "node" / "node_modules" / client.package / "package.json"
        version: str = json.loads(package.read_text())["version"]
        return version
    places = [str(path) for path in client.python.parents[1].glob("lib/python*/site-packages")]
    found = next(iter(metadata.distributions(name=client.package, path=places)))
    return found.version
