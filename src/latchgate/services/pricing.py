"""What is on offer and what it costs: services that are made together, of the same parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypedDict

from latchgate.services.catalog import Catalog
from latchgate.services.price_import import PriceImport
from latchgate.services.prices import Prices

if TYPE_CHECKING:
    from latchgate.clock import Clock
    from latchgate.services.vault import Vault
    from latchgate.storage.store import Store


class Pricing(TypedDict):
    """The services about models and their prices."""

    catalog: Catalog
    prices: Prices
    price_import: PriceImport


def build_pricing(
    store: Store,
    clock: Clock,
    vault: Vault,
    on_changed: Callable[[], Awaitable[None]],
    *,
    priority_percent: int,
) -> Pricing:
    """Make them. ``on_changed`` is told after every commit that changes what is on offer."""
    catalog = Catalog(store, clock, vault, on_changed, priority_percent=priority_percent)
    prices = Prices(store, clock, on_changed, priority_percent=priority_percent)
    return Pricing(catalog=catalog, prices=prices, price_import=PriceImport(catalog, prices, clock))
