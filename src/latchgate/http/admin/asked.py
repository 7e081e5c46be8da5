"""What the admin API's requests carry: the verbs' own arguments, under their own names.

A field that ends in ``_usd`` is the verb's amount, as exact decimal text.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from latchgate.http.api.operator_billing import Amount, Note
from latchgate.http.api.shapes import ID_CHARS_MAX, Asked, Email, Password
from latchgate.services.billing import PAGE_ROWS_MAX
from latchgate.services.operator_accounts import ASKED_CHARS_MAX
from latchgate.services.redemption_codes import CODES_MAX
from latchgate.services.upstreams import CREDENTIAL_CHARS_MAX

COUNT_MAX = 10**12
NAME_CHARS_MAX = 100
URL_CHARS_MAX = 500
LIST_MAX = 64

Name = Annotated[str, Field(max_length=NAME_CHARS_MAX)]
Price = Annotated[
    str, Field(max_length=32, description="USD per million tokens.", examples=["0.15"])
]
Rate = Annotated[
    int | None,
    Field(ge=0, le=COUNT_MAX, description="Null: what the configuration says; 0: no limit."),
]
Credential = Annotated[
    str,
    Field(min_length=1, max_length=CREDENTIAL_CHARS_MAX, description="Written, and never shown."),
]
Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]


class Paged(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    before: Annotated[
        str | None,
        Field(
            max_length=ID_CHARS_MAX,
            description="The last page's `next`: where this page begins.",
        ),
    ] = None
    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX, description="Rows of a page.")] = 50


class AccountsFound(Paged):
    """Which accounts."""

    q: Annotated[
        str,
        Field(
            max_length=ASKED_CHARS_MAX,
            description="A part of an e-mail address, or an id of an account, a user or a key.",
        ),
    ] = ""


class AccountMade(Asked):
    """An account to be made, with the sign-up gift. Operators are made on the command line."""

    email: Email
    password: Password


class LimitSet(Asked):
    """A limit's amount."""

    amount_usd: Amount


class PremiumSet(Asked):
    """Whether premium models may be called."""

    on: bool


class MailSet(Asked):
    """Whether a mail is sent."""

    on: bool


class TimeZoneSet(Asked):
    """At whose midnight limits begin anew."""

    time_zone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])]


class RatesSet(Asked):
    """How much an account may do in a minute and at once; all three are set."""

    requests_per_minute: Rate
    tokens_per_minute: Rate
    calls_at_once: Rate


class CreditLineSet(Asked):
    """How far below zero an account may go."""

    amount_usd: Amount


class CreditGiven(Asked):
    """Credit for an account."""

    amount_usd: Amount
    note: Annotated[Note, Field(description="The owner reads it.")] = ""


class Refunded(Asked):
    """What was charged, given back."""

    amount_usd: Amount
    reason: Annotated[Note, Field(description="The owner reads it.")]


class Corrected(Asked):
    """A wrong posting put right: exactly one of the amounts."""

    add_usd: Amount | None = None
    take_usd: Annotated[Amount | None, Field(description="Even below zero.")] = None
    reason: Annotated[Note, Field(description="The owner reads it.")]


class CodesMade(Asked):
    """Codes to be made, each of the same worth."""

    amount_usd: Amount
    number: Annotated[int, Field(ge=1, le=CODES_MAX)]
    expires: Annotated[
        str | None,
        Field(max_length=10, description="The last day, UTC.", examples=["2030-12-31"]),
    ] = None
    note: Note = ""


class UpstreamAdded(Asked):
    """A model server to be taken into use."""

    name: Name
    base_url: Annotated[
        str, Field(max_length=URL_CHARS_MAX, description="What an OpenAI SDK would be given.")
    ]
    api_key: Credential | None = None
    speaks: Annotated[
        list[Name] | None,
        Field(max_length=LIST_MAX, description="The endpoints that it answers itself."),
    ] = None
    extra_fields: Annotated[list[Name] | None, Field(max_length=LIST_MAX)] = None
    calls_at_once: Annotated[
        int | None, Field(ge=1, le=COUNT_MAX, description="More wait in line. Null: no bound.")
    ] = None


class CredentialSet(Asked):
    """Another key that an upstream takes."""

    api_key: Credential


class ModelAdded(Asked):
    """A model to be put on offer."""

    name: Name
    upstream: Name
    upstream_model: Annotated[
        Name | None, Field(description="What the upstream calls it; null: the same.")
    ] = None
    kind: Literal["chat", "embeddings"] = "chat"
    tier: Literal["standard", "premium"] = "standard"
    context_tokens: Count
    output_tokens_max: Count | None = None
    images: Annotated[bool, Field(description="It takes images.")] = False
    thinks: Annotated[bool, Field(description="It thinks before it answers.")] = False
    input_price: Price
    cached_price: Annotated[Price | None, Field(description="Null: as input.")] = None
    output_price: Annotated[Price | None, Field(description="Null for embeddings alone.")] = None


class Invited(Asked):
    """Somebody to be invited; without an address, whoever has the link."""

    email: Email | None = None


PlanRate = Annotated[
    str | None,
    Field(max_length=13, description="A whole number; 0: no limit; empty: as configured."),
]
PlanAmount = Annotated[
    str | None,
    Field(max_length=32, description="Decimal US dollars.", examples=["5.00"]),
]


class PlanSet(Asked):
    """Terms of a plan; what is left out stays, or is as the default plan has it at first."""

    gift_usd: PlanAmount = None
    requests_per_minute: PlanRate = None
    tokens_per_minute: PlanRate = None
    calls_at_once: PlanRate = None
    premium: Annotated[
        bool | None, Field(description="Whether premium models can be switched on.")
    ] = None
    credit_line_usd: PlanAmount = None


class PlanMade(PlanSet):
    """A plan that shall be made."""

    name: Name


class PlanAssigned(Asked):
    """The plan that an account gets."""

    name: Name
