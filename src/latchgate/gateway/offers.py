"""What is on offer: a model as admission and the relay need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.prices import Price

if TYPE_CHECKING:
    from latchgate.storage.statements import AnyRow
    from latchgate.upstream.target import Target


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model on offer: where its calls go, what they cost, how large they may be."""

    name: str
    upstream_model: str
    tier: str
    context_tokens: int
    output_tokens_max: int
    message_tokens: int
    kind: str
    takes_images: bool
    is_thinking: bool
    created_us: int
    price: Price
    #: What a call costs that goes ahead of others.
    priority_price: Price
    target: Target
    extra_fields: frozenset[str]


def model_entry(row: AnyRow, target: Target, extra_fields: frozenset[str]) -> ModelEntry:
    """A model of its row in the catalog, and of where its upstream is."""
    return ModelEntry(
        name=row.name,
        upstream_model=row.upstream_model,
        tier=row.tier,
        context_tokens=row.context_tokens,
        output_tokens_max=row.output_tokens_max,
        message_tokens=row.message_tokens,
        kind=row.kind,
        takes_images=bool(row.takes_images),
        is_thinking=bool(row.is_thinking),
        created_us=row.created_us,
        price=Price(row.price_id, row.input_picos, row.cached_picos, row.output_picos),
        priority_price=Price(
            row.priority_price_id,
            row.priority_input_picos,
            row.priority_cached_picos,
            row.priority_output_picos,
        ),
        target=target,
        extra_fields=extra_fields,
    )
