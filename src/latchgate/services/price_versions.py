"""Price versions: a new one for each change, and none is ever edited."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from latchgate.domain.ids import new_id
from latchgate.domain.prices import DEFAULT_TIER, PRIORITY_TIER
from latchgate.storage import catalog as rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from latchgate.services.catalog import ModelTerms


def insert_prices(
    conn: Connection,
    model_id: str,
    version: int,
    terms: ModelTerms,
    priority: ModelTerms,
    now_us: int,
) -> None:
    """Give a model a price version, in force from now on: one row for either service tier."""
    for service_tier, own in ((DEFAULT_TIER, terms), (PRIORITY_TIER, priority)):
        rows.insert_price(
            conn,
            id=new_id("prc", now_us),
            model_id=model_id,
            version=version,
            effective_from_us=now_us,
            service_tier=service_tier,
            **asdict(own),
        )
