"""Prices taken over from a public list: it is shown beside what is, and the operator picks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.operator_models import PATH as MODELS_PATH
from latchgate.console.operator_models import read_count
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.errors import InvalidRequest, LatchgateError
from latchgate.domain.people import Identity
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.price_import import ImportPreview

router = APIRouter()

PATH = f"{MODELS_PATH}/import"
FIELDS = ("provider", "percent")
MODELS_MAX = 1000
#: What a checkbox's name begins with; a model's name follows.
TAKE = "take."
_SEE_OTHER = 303


@router.get(PATH)
async def show(request: Request, identity: Operator) -> Response:
    """The list beside the catalog."""
    return await _import_page(request, identity, request.query_params)


async def _import_page(
    request: Request,
    identity: Identity,
    typed: Mapping[str, str],
    taken: Collection[str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    imports = services_of(request).price_import
    try:
        preview = await imports.preview(provider=_provider(typed), percent=_percent(typed))
    except LatchgateError as refusal:
        error, preview = refusal, ImportPreview("genai-prices", ())
    return page(
        request,
        "operator_price_import.html",
        identity=identity,
        status=error.status if error else 200,
        preview=preview,
        typed={name: typed.get(name, "") for name in FIELDS},
        taken=taken,
        take=TAKE,
        fields=FIELDS,
        error=error,
    )


@router.post(PATH)
async def take_over(request: Request, identity: ConfirmedOperator) -> Response:
    """Give the models that are ticked the list's prices."""
    form = await read_form(request, fields_max=MODELS_MAX)
    taken = [name.removeprefix(TAKE) for name in form if name.startswith(TAKE)]
    try:
        if not taken:
            raise InvalidRequest("Tick the models whose prices you want to take over.")
        await services_of(request).price_import.apply(
            taken,
            provider=_provider(form),
            percent=_percent(form),
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _import_page(request, identity, form, taken, error)
    return RedirectResponse(f"{MODELS_PATH}?notice=taken_over", _SEE_OTHER)


def _provider(typed: Mapping[str, str]) -> str:
    return typed.get("provider", "")


def _percent(typed: Mapping[str, str]) -> int:
    percent = read_count(typed, "percent")
    return 100 if percent is None else percent
