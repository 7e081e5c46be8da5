"""The account's money: balances, and the lines of its books."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from starlette.requests import Request

from latchgate.domain.money import format_usd
from latchgate.http.api.shapes import (
    PAGE_ROWS_USUAL,
    Answered,
    Before,
    Limit,
    at,
    session_cookie,
)
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.billing import PostingView

router = APIRouter(prefix="/billing", tags=["billing"], dependencies=[session_cookie])


class PostingAnswered(Answered):
    """One line: credit is positive, a charge negative."""

    id: str
    kind: str
    amount_nanos: int
    amount_usd: str
    created_at: datetime
    note: str


class BillingAnswered(Answered):
    """Exact figures of this moment; ``available`` is what the next call may use."""

    credit_nanos: int
    credit_usd: str
    spent_nanos: int
    spent_usd: str
    held_nanos: int
    held_usd: str
    available_nanos: int
    available_usd: str
    data: list[PostingAnswered]
    next: str | None


@router.get("", operation_id="getBilling")
async def get_billing(
    request: Request,
    identity: LoggedIn,
    before: Before = None,
    limit: Limit = PAGE_ROWS_USUAL,
) -> BillingAnswered:
    """Balances, and a page of postings, newest first; `next` is the following page's `before`."""
    billing = services_of(request).billing
    page, cursor = await billing.list_postings(identity.account_id, before=before, limit=limit)
    balances = await billing.balances(identity.account_id)
    return BillingAnswered(
        credit_nanos=balances.credit_nanos,
        credit_usd=format_usd(balances.credit_nanos),
        spent_nanos=balances.spent_nanos,
        spent_usd=format_usd(balances.spent_nanos),
        held_nanos=balances.held_nanos,
        held_usd=format_usd(balances.held_nanos),
        available_nanos=balances.available_nanos,
        available_usd=format_usd(balances.available_nanos),
        data=[_posting(view) for view in page],
        next=cursor,
    )


def _posting(view: PostingView) -> PostingAnswered:
    return PostingAnswered(
        id=view.id,
        kind=view.kind,
        amount_nanos=view.amount_nanos,
        amount_usd=format_usd(view.amount_nanos),
        created_at=at(view.created_us),
        note=view.note,
    )
