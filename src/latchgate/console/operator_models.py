"""Models in the operator's hands: put on offer, given another price, taken off the list."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from latchgate.console.forms import read_form
from latchgate.console.operators import ConfirmedOperator, Operator
from latchgate.console.rendering import page
from latchgate.domain.embedded import EMBEDDED_NAME, EMBEDDINGS_NAME
from latchgate.domain.endpoints import EMBEDDINGS, KINDS
from latchgate.domain.errors import InvalidRequest, LatchgateError, NotFound
from latchgate.domain.moments import parse_moment
from latchgate.domain.people import Identity
from latchgate.domain.prices import format_price, parse_price
from latchgate.http.sessions import caller_of, services_of
from latchgate.services.catalog import ModelTerms, ModelView
from latchgate.services.catalog_rules import TIERS

router = APIRouter()

PATH = "/operator/models"
PRICES = {
    "input_price": "Input",
    "cached_price": "Cached input",
    "output_price": "Output",
}
FIELDS = ("name", "upstream", "upstream_model", "context", "max_output", *PRICES)
_DIGITS_MAX = 8
_SEE_OTHER = 303


async def _models_page(
    request: Request,
    identity: Identity,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    catalog = services_of(request).catalog
    return page(
        request,
        "operator_models.html",
        identity=identity,
        status=error.status if error else 200,
        models=await catalog.list_models(with_disabled=True),
        coming=await services_of(request).prices.list_coming(with_disabled=True),
        upstreams=await catalog.list_upstreams(),
        typed=typed or {},
        kinds=KINDS,
        tiers=TIERS,
        prices=PRICES,
        fields=FIELDS,
        error=error,
        notice=request.query_params.get("notice", ""),
    )


@router.get(PATH)
async def show(request: Request, identity: Operator) -> Response:
    """The page."""
    return await _models_page(request, identity)


@router.post(PATH)
async def add(request: Request, identity: ConfirmedOperator) -> Response:
    """Put a model on offer."""
    form = await read_form(request)
    kind = form.get("kind", "")
    try:
        context = read_count(form, "context")
        if context is None:
            raise InvalidRequest("Say how many tokens it reads at most.", param="context")
        await services_of(request).catalog.add_model(
            form.get("name", "").strip(),
            upstream=form.get("upstream", ""),
            upstream_model=form.get("upstream_model", "").strip() or None,
            tier=form.get("tier", ""),
            context_tokens=context,
            output_tokens_max=read_count(form, "max_output"),
            kind=kind,
            takes_images=form.get("images") == "1",
            is_thinking=form.get("thinks") == "1",
            terms=read_terms(form, writes=kind != EMBEDDINGS),
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _models_page(request, identity, form, error)
    return RedirectResponse(f"{PATH}?notice=added", _SEE_OTHER)


@router.get(f"{PATH}/change")
async def show_change(request: Request, identity: Operator) -> Response:
    """One model: another price, or its end."""
    model = await _find(request, request.query_params.get("name", ""))
    return await _change_page(request, identity, model)


async def _change_page(
    request: Request,
    identity: Identity,
    model: ModelView,
    typed: Mapping[str, str] | None = None,
    error: LatchgateError | None = None,
) -> Response:
    written = {
        "input_price": format_price(model.input_picos),
        "cached_price": format_price(model.cached_picos),
        "output_price": format_price(model.output_picos),
        "priority_percent": str(model.priority_percent or ""),
    }
    return page(
        request,
        "operator_model.html",
        identity=identity,
        status=error.status if error else 200,
        model=model,
        coming=await services_of(request).prices.list_coming(model.name, with_disabled=True),
        typed=written if typed is None else typed,
        prices=PRICES,
        own_upstreams=(EMBEDDED_NAME, EMBEDDINGS_NAME),
        error=error,
    )


@router.post(f"{PATH}/price")
async def set_price(request: Request, identity: ConfirmedOperator) -> Response:
    """Give a model a new price version, from now on or from a moment that is announced."""
    form = await read_form(request)
    model = await _find(request, form.get("name", ""))
    try:
        written = form.get("effective_from", "").strip()
        await services_of(request).prices.set_price(
            model.name,
            terms=read_terms(form, writes=model.kind != EMBEDDINGS),
            priority_percent=read_count(form, "priority_percent"),
            from_us=parse_moment(written, param="effective_from") if written else None,
            caller=caller_of(request, identity),
        )
    except LatchgateError as error:
        return await _change_page(request, identity, model, form, error)
    return RedirectResponse(f"{PATH}?notice={'announced' if written else 'price'}", _SEE_OTHER)


@router.post(f"{PATH}/price/withdraw")
async def withdraw_price(request: Request, identity: ConfirmedOperator) -> Response:
    """Let a price that waits never come into force."""
    form = await read_form(request)
    await services_of(request).prices.withdraw(
        form.get("name", ""), read_count(form, "version") or 0, caller=caller_of(request, identity)
    )
    return RedirectResponse(f"{PATH}?notice=withdrawn", _SEE_OTHER)


@router.post(f"{PATH}/remove")
async def remove(request: Request, identity: ConfirmedOperator) -> Response:
    """Take a model off the list."""
    form = await read_form(request)
    model = await _find(request, form.get("name", ""))
    await services_of(request).catalog.remove_model(model.name, caller=caller_of(request, identity))
    return RedirectResponse(f"{PATH}?notice=removed", _SEE_OTHER)


async def _find(request: Request, name: str) -> ModelView:
    for view in await services_of(request).catalog.list_models(with_disabled=True):
        if view.name == name:
            return view
    raise NotFound("There is no such model on offer.")


def read_terms(form: Mapping[str, str], *, writes: bool) -> ModelTerms:
    """Prices from their texts; cached input costs as much as input when nothing is said."""
    written = {name: form.get(name, "").strip().removeprefix("$") for name in PRICES}
    if not writes:
        written["output_price"] = written["output_price"] or "0"
    written["cached_price"] = written["cached_price"] or written["input_price"]
    picos = {name: parse_price(text, param=name) for name, text in written.items()}
    return ModelTerms(picos["input_price"], picos["cached_price"], picos["output_price"])


def read_count(form: Mapping[str, str], name: str) -> int | None:
    """A whole number of a form, None where nothing is written. Raises InvalidRequest."""
    written = form.get(name, "").strip()
    if not written:
        return None
    if not (written.isascii() and written.isdecimal() and len(written) <= _DIGITS_MAX):
        raise InvalidRequest("Write a whole number, such as 8192.", param=name)
    return int(written)
