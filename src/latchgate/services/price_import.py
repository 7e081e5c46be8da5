"""Prices taken over from a public list: shown first, and then what the operator chooses.

Nothing is invented: a model that the list does not know, or whose price there is none that a model
here can have, stays as it is, and the preview says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latchgate.domain.endpoints import EMBEDDINGS
from latchgate.domain.errors import InvalidRequest
from latchgate.services.catalog import ModelTerms, ModelView
from latchgate.services.price_list import Listed, PriceList

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.domain.people import Caller
    from latchgate.services.catalog import Catalog
    from latchgate.services.prices import Prices

PERCENT_MAX = 1000
PROVIDER_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class ImportLine:
    """One model of the catalog beside what the list says of it."""

    model: ModelView
    listed: Listed
    #: What it would cost from now on; None: it stays, and ``listed.problem`` says why.
    terms: ModelTerms | None

    @property
    def now(self) -> ModelTerms:
        """What it costs now."""
        return ModelTerms(self.model.input_picos, self.model.cached_picos, self.model.output_picos)

    @property
    def is_change(self) -> bool:
        """Whether there is something to take over."""
        return self.terms is not None and self.terms != self.now


@dataclass(frozen=True, slots=True)
class ImportPreview:
    """Every model on offer, and which release of the list was asked."""

    source: str
    lines: tuple[ImportLine, ...]

    @property
    def changes(self) -> tuple[ImportLine, ...]:
        """The lines that would change a price."""
        return tuple(line for line in self.lines if line.is_change)


class PriceImport:
    """Use cases over the list."""

    def __init__(self, catalog: Catalog, prices: Prices, clock: Clock) -> None:
        self._catalog = catalog
        self._prices = prices
        self._clock = clock
        self._list = PriceList()

    async def preview(self, *, provider: str = "", percent: int = 100) -> ImportPreview:
        """What could be taken over, at ``percent`` of the list's prices. Changes nothing.

        ``provider`` is whose prices hold for upstreams whose address the list does not know.
        Raises InvalidRequest.
        """
        if not 0 < percent <= PERCENT_MAX:
            raise InvalidRequest(f"Write 1 to {PERCENT_MAX} percent.", param="percent")
        provider = provider.strip()
        if len(provider) > PROVIDER_CHARS_MAX or not provider.isprintable():
            raise InvalidRequest("A provider is named such as openai.", param="provider")
        models = await self._catalog.list_models(with_disabled=True)
        urls = {row.name: row.base_url for row in await self._catalog.list_upstreams()}
        # The list is a large module: reading it must not hold up the calls of this process.
        return await asyncio.to_thread(self._compare, models, urls, provider, percent)

    def _compare(
        self, models: list[ModelView], urls: dict[str, str], provider: str, percent: int
    ) -> ImportPreview:
        now_us, lines = self._clock.now_us(), []
        for model in models:
            listed = self._list.find(
                model.upstream_model,
                base_url=urls.get(model.upstream, ""),
                provider=provider,
                now_us=now_us,
            )
            if not listed.problem and model.kind == EMBEDDINGS and listed.picos[2]:
                problem = "It is priced for what it writes; an embeddings model writes nothing."
                listed = Listed(listed.name, problem=problem)
            terms = None if listed.problem else ModelTerms(*listed.picos).share(percent)
            lines.append(ImportLine(model, listed, terms))
        return ImportPreview(self._list.version, tuple(lines))

    async def apply(
        self,
        names: Collection[str],
        *,
        provider: str = "",
        percent: int = 100,
        caller: Caller,
    ) -> ImportPreview:
        """Give the models that are named the list's prices, all or none; what was done.

        Those that have them already stay. Raises InvalidRequest where the list has no price for
        one of them.
        """
        preview = await self.preview(provider=provider, percent=percent)
        by_name = {line.model.name: line for line in preview.lines}
        for name in names:
            line = by_name.get(name)
            if line is None or line.terms is None:
                why = line.listed.problem if line else "There is no such model on offer."
                raise InvalidRequest(f"{name[:100]} can't be taken over. {why}", param="model")
        chosen = tuple(line for line in preview.changes if line.model.name in set(names))
        await self._prices.take_over(
            {line.model.name: line.terms for line in chosen if line.terms is not None},
            source=preview.source,
            caller=caller,
        )
        return ImportPreview(preview.source, chosen)
