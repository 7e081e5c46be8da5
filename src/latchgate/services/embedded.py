"""The embedded models in the catalog: always as the configuration says, by nobody's doing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from latchgate.domain.embedded import (
    EMBEDDED_NAME,
    EMBEDDED_SCHEME,
    EMBEDDED_URL,
    EMBEDDINGS_NAME,
    EMBEDDINGS_URL,
)
from latchgate.domain.endpoints import EMBEDDINGS, SPEAKS_EMBEDDED, SPEAKS_EMBEDDINGS
from latchgate.domain.errors import Conflict
from latchgate.domain.ids import new_id
from latchgate.domain.prices import PRIORITY_PERCENT_USUAL
from latchgate.services.catalog import ModelTerms
from latchgate.services.catalog_rules import as_spoken
from latchgate.storage import catalog as rows
from latchgate.storage.prices import insert_version, next_version

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.clock import Clock
    from latchgate.storage.statements import AnyRow
    from latchgate.storage.store import Store


@dataclass(frozen=True, slots=True)
class EmbeddedUpstream:
    """A model server of our own, as the catalog has it."""

    name: str
    base_url: str
    speaks: Sequence[str]
    extra_fields: Sequence[str] = ()


CHAT_UPSTREAM = EmbeddedUpstream(
    EMBEDDED_NAME, EMBEDDED_URL, SPEAKS_EMBEDDED, extra_fields=("min_p", "repeat_penalty", "top_k")
)
EMBEDDINGS_UPSTREAM = EmbeddedUpstream(EMBEDDINGS_NAME, EMBEDDINGS_URL, SPEAKS_EMBEDDINGS)


@dataclass(frozen=True, slots=True)
class EmbeddedOffer:
    """What the configuration says about an embedded model."""

    upstream: EmbeddedUpstream
    kind: str
    name: str
    terms: ModelTerms
    context_tokens: int
    message_tokens: int
    priority_percent: int = PRIORITY_PERCENT_USUAL
    #: More wait in line; None: no bound.
    calls_at_once: int | None = None

    @property
    def priority(self) -> ModelTerms:
        """What a call costs that goes ahead of others."""
        return self.terms.share(self.priority_percent)


class EmbeddedModels:
    """Puts the embedded models on the list. ``on_changed`` is told after every commit."""

    def __init__(
        self, store: Store, clock: Clock, on_changed: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_changed = on_changed

    async def ensure(self, offers: Sequence[EmbeddedOffer]) -> None:
        """Put the embedded models on offer, or bring them up to date.

        A changed price becomes a new version; a model that is embedded no more goes off the list.
        Raises Conflict when an upstream of somebody else's has the name of one of ours.
        """
        now_us = self._clock.now_us()

        def transaction(conn: Connection) -> None:
            current = {(offer.upstream.name, offer.name, offer.context_tokens) for offer in offers}
            own = {
                row.name
                for row in rows.list_upstreams(conn)
                if row.base_url.startswith(EMBEDDED_SCHEME)
            }
            for row in rows.list_models(conn, at_us=now_us, with_disabled=True):
                is_current = (row.upstream, row.name, row.context_tokens) in current
                if row.upstream in own and not is_current:
                    rows.remove_model(conn, row.id, now_us=now_us)
            for offer in offers:
                _ensure_offer(conn, offer, now_us)

        await self._store.write(transaction)
        await self._on_changed()


def _ensure_offer(conn: Connection, offer: EmbeddedOffer, now_us: int) -> None:
    upstream = _ensure_upstream(conn, offer.upstream, now_us)
    if upstream.calls_at_once != offer.calls_at_once:
        rows.set_upstream(conn, upstream.id, calls_at_once=offer.calls_at_once)
    model = rows.find_model(conn, offer.name, at_us=now_us)
    if model is None:
        _insert_model(conn, offer, upstream.id, now_us)
    elif model.upstream_id == upstream.id and _terms_of(model) != (offer.terms, offer.priority):
        _insert_price(conn, model.id, offer, now_us)


def _ensure_upstream(conn: Connection, upstream: EmbeddedUpstream, now_us: int) -> AnyRow:
    if rows.find_upstream(conn, upstream.name) is None:
        rows.insert_upstream(
            conn,
            id=new_id("ups", now_us),
            name=upstream.name,
            base_url=upstream.base_url,
            speaks=as_spoken(upstream.speaks),
            credential_sealed=None,
            extra_fields=json.dumps(sorted(upstream.extra_fields)),
            created_us=now_us,
            removed_us=None,
        )
    found = rows.find_upstream(conn, upstream.name)
    if found is None or found.base_url != upstream.base_url:
        raise Conflict(
            f"There is an upstream {upstream.name}, which is the name of an embedded model's. "
            "Remove it, or serve with --no-embedded-model."
        )
    return found


def _insert_model(conn: Connection, offer: EmbeddedOffer, upstream_id: str, now_us: int) -> None:
    model_id = new_id("mdl", now_us)
    rows.insert_model(
        conn,
        id=model_id,
        name=offer.name,
        upstream_id=upstream_id,
        upstream_model=offer.name,
        kind=offer.kind,
        takes_images=0,
        tier="standard",
        context_tokens=offer.context_tokens,
        output_tokens_max=0 if offer.kind == EMBEDDINGS else offer.context_tokens,
        message_tokens=offer.message_tokens,
        is_thinking=0,
        created_us=now_us,
        removed_us=None,
    )
    _insert_price(conn, model_id, offer, now_us)


def _insert_price(conn: Connection, model_id: str, offer: EmbeddedOffer, now_us: int) -> None:
    insert_version(
        conn,
        model_id,
        version=next_version(conn, model_id),
        usual=asdict(offer.terms),
        priority=asdict(offer.priority),
        effective_from_us=now_us,
        now_us=now_us,
    )


def _terms_of(model: AnyRow) -> tuple[ModelTerms, ModelTerms]:
    """The price in force, and the priority price beside it."""
    return (
        ModelTerms(model.input_picos, model.cached_picos, model.output_picos),
        ModelTerms(
            model.priority_input_picos, model.priority_cached_picos, model.priority_output_picos
        ),
    )
