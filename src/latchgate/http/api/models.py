"""The models on offer, and what they cost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from latchgate.domain.prices import format_price
from latchgate.http.api.shapes import Answered, at, session_cookie
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.catalog import ModelView

router = APIRouter(prefix="/models", tags=["models"], dependencies=[session_cookie])


_CLASSES = ("input", "cached", "output")
_AS_THEY_ARE = (
    *("name", "kind", "takes_images", "tier"),
    *("context_tokens", "output_tokens_max", "price_version"),
)


class ModelAnswered(Answered):
    """A model with the prices in force, in US dollars per million tokens.

    Calls of `service_tier` priority have a price of their own.
    """

    name: str
    kind: str
    takes_images: bool
    tier: str
    context_tokens: int
    output_tokens_max: int
    price_version: int
    input_price_usd: str
    cached_price_usd: str
    output_price_usd: str
    priority_input_price_usd: str
    priority_cached_price_usd: str
    priority_output_price_usd: str


class ComingAnswered(ModelAnswered):
    """A model as it will be from a moment on."""

    effective_from: datetime


class ModelsAnswered(Answered):
    """Every model on offer, by name; and what will change, in the order of its moments."""

    data: list[ModelAnswered]
    coming: list[ComingAnswered]


@router.get("", operation_id="listModels")
async def list_models(request: Request, _identity: LoggedIn) -> ModelsAnswered:
    """The models that a key can ask for."""
    services = services_of(request)
    found, coming = await services.catalog.list_models(), await services.prices.list_coming()
    return ModelsAnswered(
        data=[ModelAnswered(**_fields(view)) for view in found],
        coming=[
            ComingAnswered(**_fields(price.model), effective_from=at(price.from_us))
            for price in coming
        ],
    )


def _fields(view: ModelView) -> dict[str, Any]:
    shown = {name: getattr(view, name) for name in _AS_THEY_ARE}
    priced = (*_CLASSES, *(f"priority_{name}" for name in _CLASSES))
    prices = {f"{name}_price_usd": format_price(getattr(view, f"{name}_picos")) for name in priced}
    return {**shown, **prices}
