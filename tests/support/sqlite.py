"""A SQLite database with our schema, made once for all tests of a process and copied for each."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from latchgate.storage.ledger import open_platform_books
from latchgate.storage.schema import migrate
from latchgate.storage.store import Store

_made: list[bytes] = []


async def copy_empty_database(path: Path) -> None:
    """Put a database with the platform's books and nothing else at ``path``."""
    if not _made:
        with TemporaryDirectory() as folder:
            first = Path(folder) / "latchgate.db"
            store = Store(first)
            await store.write(migrate)
            await store.write(open_platform_books)
            store.close()
            _made.append(first.read_bytes())
    path.write_bytes(_made[0])
