"""The embedded model in the catalog: always as the configuration says, without anybody's doing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.embedded import EMBEDDED_NAME, EMBEDDED_URL
from latchgate.domain.endpoints import CHAT, SPEAKS_EMBEDDED
from latchgate.domain.ids import new_id
from latchgate.services.catalog import ModelTerms, insert_price
from latchgate.services.catalog_rules import as_spoken
from latchgate.storage import catalog as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store


@dataclass(frozen=True, slots=True)
class EmbeddedOffer:
    """What the configuration says about the embedded model."""

    name: str
    terms: ModelTerms
    context_tokens: int
    message_tokens: int


class EmbeddedModels:
    """Puts the embedded model on the list. ``on_changed`` is told after every commit."""

    def __init__(
        self, store: Store, clock: Clock, on_changed: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_changed = on_changed

    async def ensure(self, offer: EmbeddedOffer) -> None:
        """Put the embedded model on offer, or bring it up to date.

        A changed price becomes a new version; a model that is embedded no more goes off the list.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            upstream = _ensure_upstream(conn, now_us)
            for row in rows.list_models(conn, at_us=now_us):
                is_current = (row.name, row.context_tokens) == (offer.name, offer.context_tokens)
                if row.upstream_id == upstream.id and not is_current:
                    rows.remove_model(conn, row.id, now_us=now_us)
            model = rows.find_model(conn, offer.name, at_us=now_us)
            if model is None:
                _insert_model(conn, offer, upstream.id, now_us)
            elif model.upstream_id == upstream.id and _terms_of(model) != offer.terms:
                insert_price(conn, model.id, model.price_version + 1, offer.terms, now_us)

        await self._store.write(transaction)
        await self._on_changed()


def _ensure_upstream(conn: Connection, now_us: int) -> AnyRow:
    found = rows.find_upstream(conn, EMBEDDED_NAME)
    if found is None:
        rows.insert_upstream(
            conn,
            id=new_id("ups", now_us),
            name=EMBEDDED_NAME,
            base_url=EMBEDDED_URL,
            speaks=as_spoken(SPEAKS_EMBEDDED),
            credential_sealed=None,
            extra_fields=json.dumps(["min_p", "repeat_penalty", "top_k"]),
            created_us=now_us,
            removed_us=None,
        )
        found = rows.find_upstream(conn, EMBEDDED_NAME)
    assert found is not None  # noqa: S101 (found or written just now)
    return found


def _insert_model(conn: Connection, offer: EmbeddedOffer, upstream_id: str, now_us: int) -> None:
    model_id = new_id("mdl", now_us)
    rows.insert_model(
        conn,
        id=model_id,
        name=offer.name,
        upstream_id=upstream_id,
        upstream_model=offer.name,
        kind=CHAT,
        takes_images=0,
        tier="standard",
        context_tokens=offer.context_tokens,
        output_tokens_max=offer.context_tokens,
        message_tokens=offer.message_tokens,
        is_thinking=0,
        created_us=now_us,
        removed_us=None,
    )
    insert_price(conn, model_id, 1, offer.terms, now_us)


def _terms_of(model: AnyRow) -> ModelTerms:
    return ModelTerms(model.input_picos, model.cached_picos, model.output_picos)
