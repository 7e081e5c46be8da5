"""Who asks the admin API: an admin key, known by its header; a session opens nothing here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from latchgate.domain.admin_keys import WORDS, Scope, allows
from latchgate.domain.errors import Forbidden
from latchgate.domain.people import Caller
from latchgate.http.sessions import client_ip, services_of
from latchgate.services.admin_keys import AdminKeyView
from latchgate.services.audit_log import USER_AGENT_CHARS_MAX

HEADER_CHARS_MAX = 256
_BEARER = "bearer "

#: For the OpenAPI document.
SCHEME = {
    "admin_key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "lg-admin-…",
        "description": "An admin key, which an operator makes in the console, under API.",
    }
}


def secured(*scopes: Scope) -> dict[str, Any]:
    """What a route's part of the document says of who may use it."""
    return {"security": [{"admin_key": [*scopes]}]}


async def identify(request: Request) -> AdminKeyView:
    """The admin key that a request came with. Raises InvalidKey, or RateLimited."""
    header = request.headers.get("authorization", "")[:HEADER_CHARS_MAX]
    secret = header[len(_BEARER) :].strip() if header.lower().startswith(_BEARER) else ""
    return await services_of(request).admin_keys.identify(secret, client_ip(request))


def needs(scope: Scope) -> Callable[[Request], Awaitable[AdminKeyView]]:
    """What finds the key, and raises Forbidden ``insufficient_scope`` where it may not do this."""

    async def require(request: Request) -> AdminKeyView:
        key = await identify(request)
        if not allows(key.scopes, scope):
            raise Forbidden(
                f"This admin key may not {WORDS[scope]}: that needs the scope {scope}. Make a key "
                "that has it, in the console under API or with latchgate admin-key create.",
                code="insufficient_scope",
            )
        return key

    return require


def caller_of(request: Request, key: AdminKeyView) -> Caller:
    """Who asks for a change, as the audit log keeps it: the key."""
    agent = request.headers.get("user-agent", "")[:USER_AGENT_CHARS_MAX]
    return Caller(actor=key.id, ip=client_ip(request), user_agent=agent)
