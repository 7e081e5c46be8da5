"""The list of what model servers charge that the package genai-prices brings along.

It is Pydantic's collection (MIT), read from the installed package alone: nothing is fetched. Its
prices are Decimal US dollars per million tokens; what is taken over is exact, or not taken over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from latchgate.clock import SECOND_US
from latchgate.domain.prices import PRICE_PICOS_MAX

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

_PICOS_PER_USD = 1_000_000
#: The list's names of what a price of ours has, and ours.
_CLASSES = {"input_mtok": "input", "cache_read_mtok": "cached", "output_mtok": "output"}


@dataclass(frozen=True, slots=True)
class Listed:
    """What the list has about a model: pico-USD per token where ``problem`` is empty."""

    #: Whose price it is, as the list names it: ``openai/gpt-4o``. Empty: it knows no such model.
    name: str = ""
    picos: tuple[int, int, int] = (0, 0, 0)
    #: Why it can't be taken over.
    problem: str = ""
    #: Its other prices, which have no counterpart here, as the list names them.
    left_out: tuple[str, ...] = ()


class PriceList:
    """Looks models up. The list is read at the first look, which takes a moment."""

    @property
    def version(self) -> str:
        """Which release of the list this is."""
        from genai_prices import __version__  # noqa: PLC0415 (a large module, and rarely asked)

        return f"genai-prices {__version__}"

    def find(self, model: str, *, base_url: str, provider: str, now_us: int) -> Listed:
        """What the server at ``base_url`` charges for a model, by the name that it has there.

        ``provider`` is whose prices hold where the address tells nothing; empty: nobody's.
        """
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 (as above)

        snapshot = get_snapshot()
        try:
            whose = snapshot.find_provider(None, None, base_url)
        except LookupError:
            if not provider:
                return Listed(problem=f"The list knows no server at {base_url}.")
            try:
                whose = snapshot.find_provider(None, provider, None)
            except LookupError:
                return Listed(problem=f"The list knows no provider {provider}.")
        found = whose.find_model(model.lower(), all_providers=snapshot.providers)
        if found is None:
            return Listed(problem=f"The list has no {model} of {whose.id}.")
        return _listed(f"{whose.id}/{found.id}", found, now_us)


def _listed(name: str, model: ModelInfo, now_us: int) -> Listed:
    if _depends_on_the_hour(model):
        return Listed(name, problem="Its price depends on the hour of the day.")
    price = model.get_prices(datetime.fromtimestamp(now_us // SECOND_US, UTC))
    priced = {key: value for key, value in vars(price).items() if value is not None}
    left_out = tuple(sorted(priced.keys() - _CLASSES.keys()))
    if "input_mtok" not in priced:
        return Listed(name, problem="It has no price for a million tokens.", left_out=left_out)
    picos = {}
    for key, ours in _CLASSES.items():
        value = priced.get(key)
        if value is None:
            continue
        if not isinstance(value, Decimal):
            return Listed(name, problem=_tiers(price, key), left_out=left_out)
        exact = value * _PICOS_PER_USD
        if exact != exact.to_integral_value() or not 0 <= exact <= PRICE_PICOS_MAX:
            problem = f"${value} a million has more digits than a price here can have."
            return Listed(name, problem=problem, left_out=left_out)
        picos[ours] = int(exact)
    cached = picos.get("cached", picos["input"])
    return Listed(name, (picos["input"], cached, picos.get("output", 0)), left_out=left_out)


def _tiers(price: ModelPrice, key: str) -> str:
    tiers = getattr(getattr(price, key), "tiers", ())
    starts = ", ".join(f"{tier.start:,}" for tier in tiers)
    return f"Its price depends on how long the prompt is (another one from {starts} tokens on)."


def _depends_on_the_hour(model: ModelInfo) -> bool:
    from genai_prices.types import TimeOfDateConstraint  # noqa: PLC0415 (as above)

    return isinstance(model.prices, list) and any(
        isinstance(conditional.constraint, TimeOfDateConstraint) for conditional in model.prices
    )
