"""The management API: what the console does, for scripts, with the same session in a cookie."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from latchgate.http.api import (
    account,
    alerts,
    billing,
    keys,
    limits,
    models,
    monthly_statements,
    notices,
    operator_billing,
    passkeys,
    payments,
    playground,
    session,
    usage,
)
from latchgate.http.api.shapes import Refusal, require_json
from latchgate.http.refusals import API_PREFIX


def management_api(*, takes_payments: bool) -> APIRouter:
    """Every route under ``/api``; those of payments only where they are set up."""
    router = APIRouter(
        prefix=API_PREFIX,
        dependencies=[Depends(require_json)],
        responses={"4XX": {"model": Refusal, "description": "Refused; the envelope says why."}},
    )
    parts = (
        *(account, session, passkeys, keys, notices, playground),
        *(usage, billing, monthly_statements, limits, alerts, models),
        *((operator_billing, payments) if takes_payments else (operator_billing,)),
    )
    for part in parts:
        router.include_router(part.router)
    return router
