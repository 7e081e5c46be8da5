"""A real Chromium, and one real server with the embedded model for all browser tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import one_model
from tests.support.server import ROOT, ServerProcess

#: How long a page may take to show something: a busy machine is slow, not wrong.
EXPECT_TIMEOUT_MS = 60_000
SCREENSHOTS = ROOT / "build" / "screenshots"
#: Flags for a machine without a graphics card and without a way out to the network.
_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package", autouse=True)
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The embedded model is theirs alone."""
    with one_model(tmp_path_factory):
        yield


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the embedded model, as ``make run`` starts it."""
    with ServerProcess(
        tmp_path_factory.mktemp("e2e") / "data",
        LATCHGATE_SIGNUP_TRIES_PER_HOUR="1000",  # all come from this machine
    ) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    expect.set_options(timeout=EXPECT_TIMEOUT_MS)
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path, "Chromium is not installed. Run make test, or install Debian's package chromium."
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else _FLAGS
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile, that may use its clipboard."""
    fresh = browser.new_context(viewport={"width": 1440, "height": 900})
    fresh.grant_permissions(["clipboard-read", "clipboard-write"])
    fresh.set_default_timeout(EXPECT_TIMEOUT_MS)
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab in which no script fails, nothing is refused by the CSP, nothing comes from outside."""
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    tab.on(
        "console",
        lambda line: complaints.append(line.text) if "Content Security" in line.text else None,
    )
    tab.on("request", lambda request: _note_foreign(request.url, complaints))
    yield tab
    assert complaints == []


def _note_foreign(url: str, complaints: list[str]) -> None:
    if not url.startswith(("http://localhost:", "data:")):
        complaints.append(f"asked elsewhere: {url}")


@pytest.fixture(scope="package")
def screenshots() -> Path:
    """Where pictures of the pages go, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
