"""Guards upgrades: whatever schema was ever released is brought up to date without loss."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from latchgate.app import open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings, StorageSettings
from latchgate.storage.schema import list_revisions, migrate, newest_revision, revision_of
from latchgate.storage.store import Store
from tests.storage.earlier import EPOCH, RUNNING, UNPOSTED, VAULT_KEY, Row, fill, rows_of

pytestmark = pytest.mark.anyio
#: A million is given, 8,680 were spent, and the journal has a call of 3,200 more.
SPENT_NANOS = 8_680 + 3_200


@pytest.fixture
async def store(tmp_path: Path, database_url: str) -> AsyncIterator[Store]:
    """An empty database of either engine, with a journal's folder beside it."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "vault.key").write_bytes(VAULT_KEY)
    opened = Store(tmp_path / "latchgate.db", database_url)
    yield opened
    opened.close()


def _fill_at(conn: Connection, revision: str, journal: Path) -> None:
    migrate(conn, to=revision)
    fill(conn, journal)


def _lost(before: dict[str, list[Row]], after: dict[str, list[Row]]) -> list[str]:
    """Rows that are gone or changed; a column may go, and a table may grow."""
    lost = []
    for table, rows in before.items():
        kept = list(after[table])
        for row in rows:
            same = [
                new for new in kept if all(new[name] == row[name] for name in new if name in row)
            ]
            if not same:
                lost.append(f"{table}: {row}")
    return lost


@pytest.mark.parametrize("revision", list_revisions())
async def test_a_filled_database_of_every_released_schema_is_upgraded_without_loss(
    revision: str, store: Store, tmp_path: Path, database_url: str
) -> None:
    await store.write(_fill_at, revision, tmp_path / "journal")
    before = await store.read(rows_of)
    assert all(rows for table, rows in before.items() if table in {"leases", "usage_events"})
    await store.write(migrate)
    assert await store.read(revision_of) == newest_revision()
    assert _lost(before, await store.read(rows_of)) == []
    store.close()

    settings = Settings(
        data_dir=tmp_path,
        storage=StorageSettings(url=database_url),
        embedded=EmbeddedSettings(enabled=False),
    )
    world = await open_world(settings, serving=True)
    report = await world.audit()
    assert report.findings == ()
    assert report.checked["usage_events"] == len(before["usage_events"]) + 2
    balances = await world.services.billing.balances("acct_a")
    assert (balances.credit_nanos, balances.spent_nanos) == (1_000_000, SPENT_NANOS)

    def outcomes(conn: Connection) -> dict[str, tuple[str, int]]:
        rows = conn.execute(text("SELECT request_id, outcome, charge_nanos FROM usage_events"))
        return {row[0]: (row[1], row[2]) for row in rows}

    found = await world.store.read(outcomes)
    assert (found[UNPOSTED], found[RUNNING]) == (("answered", 3_200), ("interrupted", 0))
    offers = await world.services.catalog.list_models()
    assert "m" in [offer.name for offer in offers]
    assert await world.store.read(
        lambda conn: conn.execute(
            text("SELECT ended_us IS NOT NULL FROM epochs WHERE id = :id"), {"id": EPOCH}
        ).scalar_one()
    )
    await world.close()


async def test_the_chain_of_schemas_has_no_gap_and_no_fork() -> None:
    revisions = list_revisions()
    assert revisions[0] == "0001"
    assert revisions[-1] == newest_revision()
    assert len(set(revisions)) == len(revisions)
