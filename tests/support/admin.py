"""Admin keys for tests, and clients that send them."""

from __future__ import annotations

import httpx

from latchgate.domain.errors import NotFound
from latchgate.domain.people import CLI
from latchgate.services.admin_keys import NewAdminKey
from tests.support.management import PASSWORD, Management

OPERATOR = "operator@example.com"


async def make_key(management: Management, *scopes: str, expires_at: str = "") -> NewAdminKey:
    """A key that acts for the operator, who is made first where he is not there yet."""
    services = management.world.services
    try:
        await services.accounts.get(OPERATOR)
    except NotFound:
        await services.accounts.create(
            OPERATOR, PASSWORD, is_operator=True, credit_nanos=0, actor="cli"
        )
    return await services.admin_keys.create(
        OPERATOR, " and ".join(scopes), scopes=scopes, expires_at=expires_at, caller=CLI
    )


def program_with(management: Management, secret: str, ip: str = "10.2.2.2") -> httpx.AsyncClient:
    """A program that sends a key, and is no browser."""
    client = management.browser(ip)
    del client.headers["sec-fetch-site"]
    client.headers.update({"authorization": f"Bearer {secret}", "user-agent": "provisioner/1.0"})
    return client


async def program(management: Management, *scopes: str) -> httpx.AsyncClient:
    """A program with a new key of these scopes."""
    return program_with(management, (await make_key(management, *scopes)).secret)
