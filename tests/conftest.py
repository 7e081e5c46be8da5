"""What every test shares: the event loop that the product itself runs on."""

from __future__ import annotations

import pytest


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
