"""The management API: what the console does, for scripts, with the same session in a cookie."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from latchgate.http.api import account, billing, keys, limits, models, passkeys, session, usage
from latchgate.http.api.shapes import Refusal, require_json
from latchgate.http.refusals import API_PREFIX


def management_api() -> APIRouter:
    """Every route under ``/api``."""
    router = APIRouter(
        prefix=API_PREFIX,
        dependencies=[Depends(require_json)],
        responses={"4XX": {"model": Refusal, "description": "Refused; the envelope says why."}},
    )
    for part in (account, session, passkeys, keys, usage, billing, limits, models):
        router.include_router(part.router)
    return router
