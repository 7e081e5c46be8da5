"""What the audit's tests share: one world on disk, and a copy of it for each test."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.storage.books import Books, build


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Books:
    """A small real world, written by the public functions and closed."""
    folder = tmp_path_factory.mktemp("books")
    return Books(folder, asyncio.run(build(folder)))


@pytest.fixture
def books(untouched: Books, tmp_path: Path) -> Books:
    """A copy that a test may spoil."""
    folder = tmp_path / "books"
    shutil.copytree(untouched.folder, folder)
    return Books(folder, untouched.names)
