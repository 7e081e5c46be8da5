"""What is on offer: a model as admission and the relay need it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.embedded import EMBEDDED_SCHEME
from latchgate.domain.prices import Price
from latchgate.upstream.target import Target

if TYPE_CHECKING:
    from latchgate.storage.statements import AnyRow


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


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the calls of an upstream's models go, and what they may say there."""

    target: Target
    extra_fields: frozenset[str]

    @classmethod
    def of(
        cls,
        row: AnyRow,
        embedded: Mapping[str, Target],
        open_credential: Callable[[bytes], str],
    ) -> Upstream:
        """An upstream of its row; one of ours is where ``embedded`` says, or not up yet."""
        speaks = json.loads(row.speaks)
        if row.base_url.startswith(EMBEDDED_SCHEME):
            target = embedded.get(row.name, Target.nowhere(row.name, speaks=speaks))
        else:
            sealed = row.credential_sealed
            target = Target.parse(
                row.name,
                row.base_url,
                None if sealed is None else open_credential(sealed),
                speaks=speaks,
                calls_at_once=row.calls_at_once,
            )
        return cls(target, frozenset(json.loads(row.extra_fields)))


def model_entry(row: AnyRow, upstream: Upstream) -> ModelEntry:
    """A model of its row in the catalog, and of its upstream."""
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
        target=upstream.target,
        extra_fields=upstream.extra_fields,
    )
