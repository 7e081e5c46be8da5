"""The management API over the real services and a real database, as a browser would reach it."""

from __future__ import annotations

import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.policy import SMTP
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from latchgate import commands
from latchgate.app import World, open_world
from latchgate.config import Settings
from latchgate.config.settings import (
    EmbeddedSettings,
    SignupSettings,
    StorageSettings,
    StripeSettings,
)
from latchgate.console import STATIC, build_routers, render_error
from latchgate.http.admin import admin_api
from latchgate.http.application import build_application
from latchgate.services.catalog import ModelTerms
from tests.support.http_application import page_of

PASSWORD = "seven quiet violet llamas"
EMAIL = "ada@example.com"


@dataclass
class Management:
    """A world with its application, and as many browsers as a test wants."""

    world: World
    #: With the console's pages, or the API alone.
    has_pages: bool = False
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @cached_property
    def app(self) -> FastAPI:
        """The application, made when somebody asks it something."""
        pages = build_routers() if self.has_pages else []
        return build_application(
            self.world.services,
            routers=[*pages, admin_api(partial(commands.run, self.world))],
            render_error=render_error if self.has_pages else page_of,
            static=STATIC if self.has_pages else None,
            health=lambda: True,
        )

    def browser(self, ip: str = "127.0.0.1") -> httpx.AsyncClient:
        """A browser with its own cookies."""
        transport = httpx.ASGITransport(self.app, client=(ip, 50_000))
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")
        client.headers["sec-fetch-site"] = "same-origin"
        self.clients.append(client)
        return client

    async def signed_up(self, address: str = EMAIL, ip: str = "127.0.0.1") -> httpx.AsyncClient:
        """A browser in which somebody has just signed up."""
        browser = self.browser(ip)
        answer = await browser.post("/api/signup", json={"email": address, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return browser

    async def letters(self) -> str:
        """Every mail that was put into the outbox so far, as one text."""
        await self.world.services.mail.flush()
        outbox = sorted(self.world.data.outbox.glob("*.eml"))
        parsed = [email.message_from_bytes(path.read_bytes(), policy=SMTP) for path in outbox]
        return "\n".join(f"{letter['subject']}\n{letter.get_content()}" for letter in parsed)


@asynccontextmanager
async def running_management(
    folder: Path,
    *,
    signup: SignupSettings | None = None,
    database_url: str = "",
    stripe: StripeSettings | None = None,
) -> AsyncIterator[Management]:
    """The API over a new data directory, with one model on offer."""
    settings = Settings(
        data_dir=folder / "data",
        signup=signup or SignupSettings(),
        storage=StorageSettings(database_url),
        embedded=EmbeddedSettings(enabled=False),
        stripe=stripe or StripeSettings(),
    )
    world = await open_world(settings)
    catalog = world.services.catalog
    await catalog.add_upstream("lab", base_url="http://127.0.0.1:9/v1", api_key=None)
    await catalog.add_model(
        "m",
        upstream="lab",
        upstream_model=None,
        tier="standard",
        context_tokens=8192,
        output_tokens_max=1000,
        terms=ModelTerms(100_000, 20_000, 400_000),
    )
    management = Management(world)
    try:
        yield management
    finally:
        for client in management.clients:
            await client.aclose()
        await world.close()


@asynccontextmanager
async def running_console(
    folder: Path, *, database_url: str = "", stripe: StripeSettings | None = None
) -> AsyncIterator[Management]:
    """The same with the console's own pages."""
    opened = running_management(folder, database_url=database_url, stripe=stripe)
    async with opened as management:
        management.has_pages = True
        yield management


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error envelope's inside; all four keys must be there."""
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error
