"""A wrong price put right: what the calls of a span should have cost, who gets what, and done."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.operator_models import PATH as MODELS_PATH
from latchgate.console.operator_models import PRICES, read_count, read_terms
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.errors import LatchgateError
from latchgate.domain.moments import parse_moment
from latchgate.domain.people import Identity
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.price_correction_views import Correction, CorrectionAsked

router = APIRouter()

PATH = f"{MODELS_PATH}/correct"
ASKED = ("name", "since", "until", *PRICES, "priority_percent", "charges", "below_zero")
FIELDS = (*ASKED, "reason")
ACCOUNTS_SHOWN = 200
_SEE_OTHER = 303


@router.get(PATH)
async def show(request: Request, identity: Operator) -> Response:
    """The form; filled in, it shows who would get what."""
    typed = request.query_params
    if "since" not in typed:
        return await _correction_page(request, identity, typed)
    try:
        found = await services_of(request).price_corrections.preview(await _ask(request, typed))
    except LatchgateError as error:
        return await _correction_page(request, identity, typed, error=error)
    return await _correction_page(request, identity, typed, found=found)


@router.post(PATH)
async def correct(request: Request, identity: ConfirmedOperator) -> Response:
    """Post what the preview showed."""
    form = await read_form(request)
    corrections = services_of(request).price_corrections
    found = None
    try:
        asked = await _ask(request, form)
        found = await corrections.preview(asked)
        await corrections.correct(
            asked,
            reason=form.get("reason", "").strip(),
            caller=caller_of(request, identity),
            expected=form.get("expected", ""),
        )
    except LatchgateError as error:
        return await _correction_page(request, identity, form, found=found, error=error)
    return RedirectResponse(f"{PATH}?notice=done", _SEE_OTHER)


async def _ask(request: Request, typed: Mapping[str, str]) -> CorrectionAsked:
    return await services_of(request).price_corrections.ask(
        typed.get("name", "").strip(),
        since_us=parse_moment(typed.get("since", ""), param="since"),
        until_us=parse_moment(typed.get("until", ""), param="until"),
        terms=read_terms(typed, writes=bool(typed.get("output_price", "").strip())),
        priority_percent=read_count(typed, "priority_percent"),
        has_charges=typed.get("charges") == "1",
        may_go_below_zero=typed.get("below_zero") == "1",
    )


async def _correction_page(
    request: Request,
    identity: Identity,
    typed: Mapping[str, str],
    *,
    found: Correction | None = None,
    error: LatchgateError | None = None,
) -> Response:
    services = services_of(request)
    return page(
        request,
        "operator_price_corrections.html",
        identity=identity,
        status=error.status if error else 200,
        models=await services.catalog.list_models(),
        typed={name: typed.get(name, "") for name in FIELDS},
        found=found,
        shown=found.lines[:ACCOUNTS_SHOWN] if found else (),
        done=await services.price_corrections.list_corrections(),
        prices=PRICES,
        asked=ASKED,
        fields=FIELDS,
        error=error,
        notice=request.query_params.get("notice", ""),
    )
