"""Money from the operator's side: codes to be redeemed, credit, refunds and corrections."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, Field
from starlette.requests import Request

from latchgate.clock import SECOND_US
from latchgate.domain.money import format_usd, parse_usd
from latchgate.http.api.billing import PostingAnswered, posting_answered
from latchgate.http.api.shapes import (
    PAGE_ROWS_USUAL,
    Answered,
    Asked,
    Before,
    Email,
    Limit,
    PathID,
    at,
    at_or_none,
    session_cookie,
)
from latchgate.http.sessions import OperatorLoggedIn, RecentlyConfirmed, caller_of, services_of
from latchgate.services.billing import NOTE_CHARS_MAX
from latchgate.services.redemption_codes import CODES_MAX, BatchView

router = APIRouter(prefix="/operator", tags=["operator"], dependencies=[session_cookie])

Note = Annotated[str, Field(max_length=NOTE_CHARS_MAX)]
Amount = Annotated[str, Field(max_length=32, description="Decimal USD.", examples=["5.00"])]


class BatchAsked(Asked):
    """Codes to be made, each of the same worth."""

    amount_usd: Amount
    codes: Annotated[int, Field(ge=1, le=CODES_MAX)]
    # Text in JSON is all that a time can be.
    expires_at: Annotated[AwareDatetime | None, Field(strict=False)] = None
    note: Note = ""


class BatchAnswered(Answered):
    """A batch of codes; which of them are whose is nowhere."""

    id: str
    amount_nanos: int
    amount_usd: str
    codes: int
    redeemed: int
    note: str
    created_at: datetime
    expires_at: datetime | None
    withdrawn_at: datetime | None


class NewBatchAnswered(BatchAnswered):
    """A batch just made: the only answer that ever has its codes."""

    secrets: list[str]


class BatchesAnswered(Answered):
    """A page of batches, newest first; `next` is the following page's `before`."""

    data: list[BatchAnswered]
    next: str | None


class PostingAsked(Asked):
    """Credit, or what puts a posting right: never an edit, always a posting of its own."""

    email: Email
    kind: Literal["top_up", "refund", "correction"]
    amount_usd: Amount
    take: Annotated[
        bool, Field(description="A correction that takes the amount away, even below zero.")
    ] = False
    reason: Annotated[Note, Field(description="The owner reads it. Only a top-up needs none.")] = ""


@router.post("/codes", operation_id="createCodes", status_code=HTTPStatus.CREATED)
async def create_codes(
    request: Request, _operator: OperatorLoggedIn, identity: RecentlyConfirmed, asked: BatchAsked
) -> NewBatchAnswered:
    """Make a batch of codes. They are in this answer and nowhere else."""
    services = services_of(request)
    expires = asked.expires_at
    made = await services.redemption_codes.create(
        parse_usd(asked.amount_usd, param="amount_usd"),
        asked.codes,
        expires_us=None if expires is None else int(expires.timestamp()) * SECOND_US,
        note=asked.note,
        caller=caller_of(request, identity),
    )
    return NewBatchAnswered(**_batch(made.view).model_dump(), secrets=list(made.codes))


@router.get("/codes", operation_id="listCodes")
async def list_codes(
    request: Request,
    _identity: OperatorLoggedIn,
    before: Before = None,
    limit: Limit = PAGE_ROWS_USUAL,
) -> BatchesAnswered:
    """The batches of codes."""
    found, cursor = await services_of(request).redemption_codes.list_batches(
        before=before, limit=limit
    )
    return BatchesAnswered(data=[_batch(view) for view in found], next=cursor)


@router.post("/codes/{batch_id}/withdraw", operation_id="withdrawCodes")
async def withdraw_codes(
    request: Request, batch_id: PathID, identity: OperatorLoggedIn
) -> BatchAnswered:
    """Let the rest of a batch be worth nothing; what was redeemed stays."""
    codes = services_of(request).redemption_codes
    return _batch(await codes.withdraw(batch_id, caller_of(request, identity)))


@router.post("/postings", operation_id="createPosting", status_code=HTTPStatus.CREATED)
async def create_posting(
    request: Request, _operator: OperatorLoggedIn, identity: RecentlyConfirmed, asked: PostingAsked
) -> PostingAnswered:
    """Give an account credit, refund what was charged, or put a wrong posting right."""
    services, caller = services_of(request), caller_of(request, identity)
    amount_nanos = parse_usd(asked.amount_usd, param="amount_usd")
    account_id = (await services.accounts.get(asked.email)).account_id
    billing = services.billing
    match asked.kind:
        case "refund":
            posting = await billing.refund(
                account_id, amount_nanos, reason=asked.reason, caller=caller
            )
        case "correction":
            signed_nanos = -amount_nanos if asked.take else amount_nanos
            posting = await billing.correct(
                account_id, signed_nanos, reason=asked.reason, caller=caller
            )
        case _:
            posting = await billing.add_credit(
                account_id, amount_nanos, note=asked.reason, caller=caller
            )
    return posting_answered(posting)


def _batch(view: BatchView) -> BatchAnswered:
    return BatchAnswered(
        id=view.id,
        amount_nanos=view.amount_nanos,
        amount_usd=format_usd(view.amount_nanos),
        codes=view.codes,
        redeemed=view.redeemed,
        note=view.note,
        created_at=at(view.created_us),
        expires_at=at_or_none(view.expires_us),
        withdrawn_at=at_or_none(view.withdrawn_us),
    )
