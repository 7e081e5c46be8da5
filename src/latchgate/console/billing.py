"""The credit page: four figures, a code to be redeemed, and every posting that they come from."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.domain.people import Identity
from latchgate.domain.redemption_codes import TYPED_CHARS_MAX
from latchgate.http.sessions import LoggedIn, caller_of, services_of
from latchgate.services.billing import PostingView
from latchgate.services.payments import PaymentView
from latchgate.services.statement_words import KINDS

router = APIRouter()

POSTINGS_PER_PAGE = 50
_SEE_OTHER = 303


async def billing_page(
    request: Request,
    identity: Identity,
    *,
    typed_code: str = "",
    typed_amount: str = "",
    typed_terms: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    """The page, with what was typed and what is wrong with it."""
    services = services_of(request)
    before = request.query_params.get("before")
    postings, next_page = await services.billing.list_postings(
        identity.account_id, before=before, limit=POSTINGS_PER_PAGE
    )
    return page(
        request,
        "billing.html",
        identity=identity,
        status=error.status if error else 200,
        balances=await services.billing.balances(identity.account_id),
        standing=await services.limits.standing(identity.account_id),
        postings=postings,
        kinds=KINDS,
        before=before,
        next_page=next_page,
        code_chars_max=TYPED_CHARS_MAX,
        typed_code=typed_code,
        error=error,
        redeemed=_redeemed(request, postings),
        stripe=services.settings.stripe,
        typed_amount=typed_amount,
        payment=await _payment(request, identity),
        top_up=await services.auto_top_ups.find(identity.account_id),
        typed_terms=typed_terms or {},
    )


def _redeemed(request: Request, postings: list[PostingView]) -> PostingView | None:
    """The posting that the address says was just made, if it is one of this account's."""
    posting_id = request.query_params.get("redeemed")
    return next((posting for posting in postings if posting.id == posting_id), None)


async def _payment(request: Request, identity: Identity) -> PaymentView | None:
    """The payment that he comes back from, if it is one of this account's."""
    payment_id = request.query_params.get("payment")
    if payment_id is None:
        return None
    return await services_of(request).payments.find(identity.account_id, payment_id)


@router.get("/billing")
async def show(request: Request, identity: LoggedIn) -> Response:
    """Credit, spent, held, available; and the postings, newest first."""
    return await billing_page(request, identity)


@router.post("/billing/redeem")
async def redeem(request: Request, identity: LoggedIn) -> Response:
    """Redeem a code; what was typed stays when it is refused."""
    code = (await read_form(request)).get("code", "")
    try:
        posting = await services_of(request).redemption_codes.redeem(
            identity.account_id, code, caller_of(request, identity)
        )
    except LatchgateError as error:
        typed = code[:TYPED_CHARS_MAX]
        return await billing_page(request, identity, typed_code=typed, error=error)
    return RedirectResponse(f"/billing?redeemed={posting.id}", _SEE_OTHER)
