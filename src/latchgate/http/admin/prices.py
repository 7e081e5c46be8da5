"""What the admin API's routes about prices carry, asked and answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from latchgate.http.admin.answered import ModelShown, Shown
from latchgate.http.admin.asked import COUNT_MAX, LIST_MAX, Count, Name, Price
from latchgate.http.api.operator_billing import Note
from latchgate.http.api.shapes import Asked

Moment = Annotated[str, Field(max_length=40, examples=["2030-12-31T18:00"])]
_Percent = Annotated[
    int | None,
    Field(ge=1, le=COUNT_MAX, description="What a priority call costs of it; null: as usual."),
]


class PriceAsked(Asked):
    """A price, in USD per million tokens."""

    input_price: Price
    cached_price: Annotated[Price | None, Field(description="Null: as input.")] = None
    output_price: Price
    priority_percent: _Percent = None


class PriceSet(PriceAsked):
    """A new price version, for every call that is admitted from its moment on."""

    effective_from: Annotated[
        Moment | None, Field(description="UTC, at least ten seconds ahead; null: from now on.")
    ] = None


class VersionNamed(Asked):
    """Which version of a price."""

    version: Count


class PricesCompared(Asked):
    """Which prices of the public list to compare, and which of them to take over."""

    provider: Annotated[
        Name | None, Field(description="For upstreams whose address the list does not know.")
    ] = None
    percent: Annotated[int | None, Field(ge=1, le=COUNT_MAX, description="100: at cost.")] = None
    take: Annotated[
        list[Name] | None,
        Field(max_length=LIST_MAX, description="Models to take over; null: it is a preview."),
    ] = None


class PriceCorrected(PriceAsked):
    """A price that should have been, for calls of a span."""

    since: Annotated[Moment, Field(description="Calls from this moment on, UTC.")]
    until: Annotated[Moment, Field(description="Calls before this moment, UTC.")]
    charges: Annotated[
        bool, Field(description="Who paid too little is charged the rest; else refunds alone.")
    ] = False
    below_zero: Annotated[bool, Field(description="Even where nothing is left.")] = False
    post: Annotated[bool, Field(description="False: it is a preview.")] = False
    reason: Annotated[Note | None, Field(description="The owners read it; needed to post.")] = None


class ComingPriceShown(ModelShown):
    """A model as it will be, once a price that waits is in force."""

    effective_from: datetime


class PriceWithdrawn(Shown):
    """A version that never comes into force."""

    name: str
    price_version: int
    state: str


class TermsShown(Shown):
    """A price, in USD per million tokens."""

    input_price: str
    cached_price: str
    output_price: str


class ModelCompared(Shown):
    """A model beside what the list says of it."""

    name: str
    listed_as: str | None
    state: Annotated[
        str, Field(description="`differs`, `the same`, `taken over`, or why it can't be.")
    ]
    now: TermsShown
    listed: TermsShown | None
    left_out: Annotated[list[str], Field(description="What is priced there, and not here.")]


class ComparisonShown(Shown):
    """The models on offer beside a public list of prices."""

    source: str
    models: list[ModelCompared]


class AccountCorrected(Shown):
    """What a correction is to an account: its calls, and what they were and should have been."""

    account_id: str
    email: str
    calls: int
    charged_nanos: int
    charged_usd: str
    right_nanos: int
    right_usd: str
    amount_nanos: int
    amount_usd: str
    left_out: Annotated[str | None, Field(description="Why nothing is posted, if so.")]


class CorrectionShown(Shown):
    """Who gets what by a correction, or got it."""

    accounts: list[AccountCorrected]
    refunded_nanos: int
    refunded_usd: str
    taken_nanos: int
    taken_usd: str
    posted: bool
