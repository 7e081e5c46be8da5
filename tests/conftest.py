"""What every test shares: the event loop that the product itself runs on."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Asynchronous tests run on uvloop, as the server does."""
    return "asyncio", {"use_uvloop": True}
