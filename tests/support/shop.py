"""A console whose owners can pay, somebody who does, and the Stripe at which he pays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from latchgate.config.settings import StripeSettings
from tests.support.management import Management, running_console
from tests.support.stripe_server import (
    SECRET_KEY,
    WEBHOOK_SECRET,
    StripeServer,
    event,
    signed,
)

WEBHOOK = "/api/stripe/webhook"
COMPLETED = "checkout.session.completed"


@dataclass
class Shop:
    """All of it, and short ways to ask."""

    management: Management
    stripe: StripeServer
    owner: httpx.AsyncClient

    async def begin(self, amount: str = "20.00") -> dict[str, Any]:
        """A payment that the owner has begun."""
        answer = await self.owner.post("/api/billing/payments", json={"amount_usd": amount})
        assert answer.status_code == 201, answer.text
        begun: dict[str, Any] = answer.json()
        return begun

    async def tell(self, told: dict[str, Any]) -> str:
        """Deliver an event; what came of it."""
        body = json.dumps(told).encode()
        answer = await self.courier().post(WEBHOOK, content=body, headers=signed(body))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["outcome"])

    def courier(self) -> httpx.AsyncClient:
        """Whoever delivers: no browser, and no cookie."""
        browser = self.management.browser("203.0.113.7")
        del browser.headers["sec-fetch-site"]
        return browser

    async def paid(self, amount: str = "20.00") -> tuple[dict[str, Any], str]:
        """A payment that was made, and Stripe's id of it."""
        begun = await self.begin(amount)
        session = self.stripe.pay(begun["id"])
        assert await self.tell(event(COMPLETED, session)) == "paid"
        return begun, str(session["payment_intent"])

    async def credit_usd(self) -> str:
        """What the owner was given in all."""
        return str((await self.owner.get("/api/billing")).json()["credit_usd"])

    async def kinds(self) -> list[tuple[str, str]]:
        """The owner's postings, oldest first, without his gift."""
        rows = (await self.owner.get("/api/billing")).json()["data"]
        return [(row["kind"], row["amount_usd"]) for row in rows[::-1]][1:]

    async def state(self, payment_id: str) -> str:
        """What became of a payment."""
        rows = (await self.owner.get("/api/billing/payments")).json()["data"]
        return str(next(row["state"] for row in rows if row["id"] == payment_id))

    async def findings(self) -> tuple[str, ...]:
        """What the audit says."""
        return (await self.management.world.audit()).findings


@asynccontextmanager
async def open_shop(folder: Path, database_url: str = "") -> AsyncIterator[Shop]:
    """All of it, in a new data directory."""
    with StripeServer() as stripe:
        settings = StripeSettings(SECRET_KEY, WEBHOOK_SECRET, stripe.url)
        opened = running_console(folder, database_url=database_url, stripe=settings)
        async with opened as management:
            yield Shop(management, stripe, await management.signed_up())
