"""What the engine's properties share: furnished databases on either engine."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.property.engine_house import Databases, furnish, sqlite
from tests.support.postgres import PostgresServer

TEMPLATE = "template_engine"


@pytest.fixture(scope="session")
def furnished_postgres(postgres: PostgresServer) -> Databases:
    """Copies of a furnished database on a PostgreSQL server."""
    postgres.make_template(TEMPLATE, lambda url: asyncio.run(furnish(Path(), url)))

    def databases(_folder: Path) -> AbstractContextManager[str]:
        return postgres.database(TEMPLATE)

    return databases


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest) -> Databases:
    """Furnished databases on SQLite, then on PostgreSQL."""
    if request.param == "sqlite":
        return sqlite
    found: Databases = request.getfixturevalue("furnished_postgres")
    return found
