"""What the doctor's tests look at: an installation that is well, and a copy of it for each."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from latchgate.app import open_world
from latchgate.config import Settings
from latchgate.config.settings import EmbeddedSettings


@pytest.fixture(autouse=True)
def _nothing_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATCHGATE_EMBEDDED_ENABLED", "false")
    monkeypatch.setenv("LATCHGATE_SERVER_PORT", "0")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that has been used once."""
    folder = tmp_path_factory.mktemp("doctor") / "data"

    async def use() -> None:
        off = EmbeddedSettings(enabled=False)
        await (await open_world(Settings(data_dir=folder, embedded=off), serving=True)).close()

    asyncio.run(use())
    return folder


@pytest.fixture
def data(untouched: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    folder = tmp_path / "data"
    shutil.copytree(untouched, folder)
    return folder
