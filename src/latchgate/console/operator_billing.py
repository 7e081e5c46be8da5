"""Money from the operator's side: codes in batches, credit, refunds and corrections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.errors import InvalidRequest, LatchgateError
from latchgate.domain.money import format_usd, parse_usd
from latchgate.domain.people import Caller, Identity
from latchgate.domain.redemption_codes import csv_of_codes, end_of_day_us
from latchgate.http.api.shapes import at_or_none
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.billing import PostingView
from latchgate.services.bundle import Services
from latchgate.services.redemption_codes import NewBatch

router = APIRouter()

BATCHES_PER_PAGE = 20
PATH = "/operator/billing"
FIELDS = {
    "codes": ("worth", "codes", "expires", "note"),
    "posting": ("email", "kind", "amount", "reason"),
}
KINDS = {
    "top_up": "Credit",
    "refund": "Refund",
    "correction": "Correction that adds",
    "take": "Correction that takes",
}
_TYPED_CHARS_MAX = 254
_SEE_OTHER = 303


@dataclass(frozen=True, slots=True)
class Tried:
    """A form that was sent: which, what was typed, and what is wrong with it."""

    form: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)
    error: LatchgateError | None = None

    def value(self, form: str, name: str) -> str:
        """What a form's field held."""
        if form != self.form:
            return ""
        return self.typed.get(name, "")[:_TYPED_CHARS_MAX]

    def error_of(self, form: str) -> LatchgateError | None:
        """What is wrong with a form."""
        return self.error if form == self.form else None


async def _money_page(
    request: Request,
    identity: Identity,
    tried: Tried | None = None,
    made: NewBatch | None = None,
) -> Response:
    services, tried = services_of(request), tried or Tried()
    before = request.query_params.get("before")
    batches, next_page = await services.redemption_codes.list_batches(
        before=before, limit=BATCHES_PER_PAGE
    )
    return page(
        request,
        "operator_billing.html",
        identity=identity,
        status=tried.error.status if tried.error else 200,
        batches=batches,
        held=await services.payments.list_held(),
        made=made,
        printed=_printed(made) if made else "",
        posted=request.query_params.get("posted", ""),
        before=before,
        next_page=next_page,
        tried=tried,
        fields=FIELDS,
        kinds=KINDS,
    )


@router.get(PATH)
async def show(request: Request, identity: Operator) -> Response:
    """The page, over the account that it was opened from."""
    email = request.query_params.get("email", "")
    return await _money_page(request, identity, Tried("posting", {"email": email}))


@router.post(f"{PATH}/codes")
async def create_codes(request: Request, identity: ConfirmedOperator) -> Response:
    """Make a batch, and show its codes or send them as a file: the one answer that has them."""
    form = await read_form(request)
    services = services_of(request)
    try:
        expires = form.get("expires", "").strip()
        made = await services.redemption_codes.create(
            _amount(form, "worth"),
            _count(form),
            expires_us=end_of_day_us(expires) if expires else None,
            note=form.get("note", ""),
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        error.param = "worth" if error.param == "amount" else error.param
        return await _money_page(request, identity, Tried("codes", form, error))
    if form.get("as") == "file":
        headers = {"content-disposition": f'attachment; filename="codes-{made.view.id}.csv"'}
        return Response(_printed(made), media_type="text/csv; charset=utf-8", headers=headers)
    return await _money_page(request, identity, made=made)


@router.get(f"{PATH}/codes/{{batch_id}}/withdraw")
async def show_withdraw(request: Request, batch_id: str, identity: Operator) -> Response:
    """Ask before a batch is withdrawn."""
    batch = await services_of(request).redemption_codes.get_batch(batch_id)
    return page(request, "operator_withdraw.html", identity=identity, batch=batch)


@router.post(f"{PATH}/codes/{{batch_id}}/withdraw")
async def withdraw(request: Request, batch_id: str, identity: Operator) -> Response:
    """Let the rest of a batch be worth nothing."""
    codes = services_of(request).redemption_codes
    await codes.withdraw(batch_id, caller_of(request, identity))
    return RedirectResponse(PATH, _SEE_OTHER)


@router.post(f"{PATH}/postings")
async def post(request: Request, identity: ConfirmedOperator) -> Response:
    """Give credit, refund a charge, or put a posting right."""
    form = await read_form(request)
    services = services_of(request)
    try:
        posting = await _post(services, form, caller_of(request, identity))
    except LatchgateError as error:
        if error.code == "not_found":
            error.param = "email"
        error.param = "reason" if error.param == "note" else error.param
        return await _money_page(request, identity, Tried("posting", form, error))
    return RedirectResponse(f"{PATH}?posted={posting.id}", _SEE_OTHER)


async def _post(services: Services, form: Mapping[str, str], caller: Caller) -> PostingView:
    amount_nanos, reason = _amount(form, "amount"), form.get("reason", "").strip()
    account_id = (await services.accounts.get(form.get("email", ""))).account_id
    billing = services.billing
    match form.get("kind"):
        case "top_up":
            return await billing.add_credit(account_id, amount_nanos, note=reason, caller=caller)
        case "refund":
            return await billing.refund(account_id, amount_nanos, reason=reason, caller=caller)
        case "correction":
            return await billing.correct(account_id, amount_nanos, reason=reason, caller=caller)
        case "take":
            return await billing.correct(account_id, -amount_nanos, reason=reason, caller=caller)
    raise InvalidRequest("Choose what is posted.", param="kind")


def _amount(form: Mapping[str, str], name: str) -> int:
    return parse_usd(form.get(name, "").strip().removeprefix("$"), param=name)


def _count(form: Mapping[str, str]) -> int:
    written = form.get("codes", "").strip()
    if not (written.isascii() and written.isdecimal() and len(written) <= 6):  # noqa: PLR2004
        raise InvalidRequest("A number of codes is written 100.", param="codes")
    return int(written)


def _printed(made: NewBatch) -> str:
    view = made.view
    expires = at_or_none(view.expires_us)
    return csv_of_codes(
        made.codes,
        amount_usd=format_usd(view.amount_nanos),
        expires_at=expires.isoformat().replace("+00:00", "Z") if expires else None,
        batch_id=view.id,
    )
