"""Runs the embedded models for a world that serves: for each a child, an upstream and an offer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from latchgate.domain.embedded import EMBEDDINGS_MESSAGE_TOKENS, EMBEDDINGS_WINDOW_TOKENS
from latchgate.domain.endpoints import CHAT, EMBEDDINGS
from latchgate.domain.prices import parse_price
from latchgate.gateway.metrics import EmbeddedState
from latchgate.runtime.child import ChildAddress, ModelChild
from latchgate.runtime.embedded import chat_spec, embeddings_spec
from latchgate.services.catalog import ModelTerms
from latchgate.services.embedded import CHAT_UPSTREAM, EMBEDDINGS_UPSTREAM, EmbeddedOffer
from latchgate.upstream.target import Target

if TYPE_CHECKING:
    from latchgate.app import World
    from latchgate.config import EmbeddedSettings
    from latchgate.runtime.child import ChildSpec

#: The most that SmolLM2's chat template adds around one message, its own system prompt included.
MESSAGE_TOKENS = 40


@dataclass(frozen=True, slots=True)
class _Part:
    """One embedded model: what the catalog says, and the process that answers."""

    offer: EmbeddedOffer
    child: ModelChild


class Embedded:
    """The embedded models that the configuration switches on; none runs before ``start``."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Renewals that run; the loop itself holds tasks only weakly.
        self._renewals: set[asyncio.Task[None]] = set()
        settings, data_dir = world.settings.embedded, world.settings.data_dir
        percent = world.settings.gateway.priority_price_percent
        self._parts: list[_Part] = []
        if settings.enabled:
            offer = replace(chat_offer(settings), priority_percent=percent)
            self._add(offer, chat_spec(settings, data_dir=data_dir))
        if settings.enabled and settings.embeddings_enabled:
            offer = replace(embeddings_offer(settings), priority_percent=percent)
            self._add(offer, embeddings_spec(settings, data_dir=data_dir))

    def _add(self, offer: EmbeddedOffer, spec: ChildSpec) -> None:
        child = ModelChild(
            spec,
            data_dir=self._world.settings.data_dir,
            on_address_changed=lambda address: self._on_address_changed(offer, address),
        )
        self._parts.append(_Part(offer, child))

    async def start(self) -> None:
        """Start them, and put them on offer at the configuration's prices.

        Raises ModelUnavailable, and Conflict when an upstream has the name of one of ours.
        """
        if not self._parts:
            return
        for part in self._parts:
            await self._set_address(part.offer, await part.child.start())
        await self._world.services.embedded.ensure([part.offer for part in self._parts])

    def states(self) -> list[EmbeddedState]:
        """How each of them is."""
        return [
            EmbeddedState(part.offer.name, part.child.is_up, part.child.restarts)
            for part in self._parts
        ]

    async def stop(self) -> None:
        """End them; they are gone when this returns."""
        for part in self._parts:
            await part.child.stop()

    async def _set_address(self, offer: EmbeddedOffer, address: ChildAddress) -> None:
        upstream = offer.upstream
        target = Target.parse(
            upstream.name,
            address.base_url,
            address.api_key,
            speaks=upstream.speaks,
            calls_at_once=offer.calls_at_once,
        )
        await self._world.directory.set_embedded(target)

    def _on_address_changed(self, offer: EmbeddedOffer, address: ChildAddress) -> None:
        """A model has come up again elsewhere."""
        task = asyncio.get_running_loop().create_task(self._set_address(offer, address))
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)


def chat_offer(settings: EmbeddedSettings) -> EmbeddedOffer:
    """The model that writes, at the configuration's prices."""
    return EmbeddedOffer(
        upstream=CHAT_UPSTREAM,
        kind=CHAT,
        name=settings.model_name,
        terms=ModelTerms(
            input_picos=parse_price(settings.input_price, param="embedded.input_price"),
            cached_picos=parse_price(settings.cached_price, param="embedded.cached_price"),
            output_picos=parse_price(settings.output_price, param="embedded.output_price"),
        ),
        context_tokens=settings.context_tokens,
        message_tokens=MESSAGE_TOKENS,
        # It would let more wait in a line of its own, in which nobody is ahead of anybody.
        calls_at_once=settings.parallel,
    )


def embeddings_offer(settings: EmbeddedSettings) -> EmbeddedOffer:
    """The model for embeddings, which has a price of input only."""
    input_picos = parse_price(
        settings.embeddings_input_price, param="embedded.embeddings_input_price"
    )
    return EmbeddedOffer(
        upstream=EMBEDDINGS_UPSTREAM,
        kind=EMBEDDINGS,
        name=settings.embeddings_model_name,
        terms=ModelTerms(input_picos=input_picos, cached_picos=input_picos, output_picos=0),
        context_tokens=EMBEDDINGS_WINDOW_TOKENS,
        message_tokens=EMBEDDINGS_MESSAGE_TOKENS,
    )
