"""A model server that is gone when its test ends, however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.model_server import ModelServer


@pytest.fixture
async def model_server() -> AsyncIterator[ModelServer]:
    """One that answers at once, until the test gives it another behaviour."""
    async with ModelServer() as running:
        yield running
