"""The models on offer, and what they cost."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from latchgate.domain.prices import format_price
from latchgate.http.api.shapes import Answered, session_cookie
from latchgate.http.sessions import LoggedIn, services_of
from latchgate.services.catalog import ModelView

router = APIRouter(prefix="/models", tags=["models"], dependencies=[session_cookie])


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


class ModelsAnswered(Answered):
    """Every model on offer, by name."""

    data: list[ModelAnswered]


@router.get("", operation_id="listModels")
async def list_models(request: Request, _identity: LoggedIn) -> ModelsAnswered:
    """The models that a key can ask for."""
    found = await services_of(request).catalog.list_models()
    return ModelsAnswered(data=[_answered(view) for view in found])


def _answered(view: ModelView) -> ModelAnswered:
    return ModelAnswered(
        name=view.name,
        kind=view.kind,
        takes_images=view.takes_images,
        tier=view.tier,
        context_tokens=view.context_tokens,
        output_tokens_max=view.output_tokens_max,
        price_version=view.price_version,
        input_price_usd=format_price(view.input_picos),
        cached_price_usd=format_price(view.cached_picos),
        output_price_usd=format_price(view.output_picos),
        priority_input_price_usd=format_price(view.priority_input_picos),
        priority_cached_price_usd=format_price(view.priority_cached_picos),
        priority_output_price_usd=format_price(view.priority_output_picos),
    )
