"""The account's money: balances, and the lines of its books."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from latchgate.domain.money import format_usd
from latchgate.domain.redemption_codes import TYPED_CHARS_MAX
from latchgate.http.api.shapes import (
    PAGE_ROWS_USUAL,
    Answered,
    Asked,
    Before,
    Limit,
    at,
    session_cookie,
)
from latchgate.http.sessions import LoggedIn, caller_of, services_of
from latchgate.services.billing import PostingView

router = APIRouter(prefix="/billing", tags=["billing"], dependencies=[session_cookie])


class RedemptionAsked(Asked):
    """A code to be redeemed; case, spaces and hyphens do not matter."""

    code: Annotated[str, Field(max_length=TYPED_CHARS_MAX, examples=["7K3M-9QXZ-4T2W-HB8N-P5RC"])]


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
        data=[posting_answered(view) for view in page],
        next=cursor,
    )


@router.post("/redemptions", operation_id="redeemCode", status_code=HTTPStatus.CREATED)
async def redeem(request: Request, identity: LoggedIn, asked: RedemptionAsked) -> PostingAnswered:
    """Redeem a code for credit. Each works once; a used one is 409 `code_used`."""
    posting = await services_of(request).redemption_codes.redeem(
        identity.account_id, asked.code, caller_of(request, identity)
    )
    return posting_answered(posting)


def posting_answered(view: PostingView) -> PostingAnswered:
    """A line of the books."""
    return PostingAnswered(
        id=view.id,
        kind=view.kind,
        amount_nanos=view.amount_nanos,
        amount_usd=format_usd(view.amount_nanos),
        created_at=at(view.created_us),
        note=view.note,
    )
