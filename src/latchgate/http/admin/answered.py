"""What the admin API's answers carry: what ``latchgate … --json`` prints, and nothing else.

A field that is not here can't leave: an answer that had one would be refused before it is sent.
Amounts are exact twice, as everywhere: ``…_nanos`` and ``…_usd``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from latchgate.http.api.shapes import Answered


class Shown(Answered):
    """An answer's body, of which every field is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AdminKeyShown(Shown):
    """The key that asks."""

    id: str
    name: str
    masked: str
    email: Annotated[str, Field(description="The operator that it acts for.")]
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None


class AccountShown(Shown):
    """An account, without its figures."""

    account_id: str
    user_id: str
    email: str
    state: str
    is_operator: bool
    is_premium_on: bool
    created_at: datetime


class AccountAndMoney(AccountShown):
    """An account with its figures of this moment."""

    credit_nanos: int
    credit_usd: str
    spent_nanos: int
    spent_usd: str
    held_nanos: int
    held_usd: str
    credit_line_nanos: int
    credit_line_usd: str
    available_nanos: int
    available_usd: str


class AccountWhole(AccountAndMoney):
    """An account with its figures and its plan."""

    plan: str


class AccountLine(Shown):
    """An account of the list."""

    account_id: str
    email: str
    state: str
    is_operator: bool
    credit_left_nanos: int
    credit_left_usd: str
    spent_this_month_nanos: int
    spent_this_month_usd: str
    last_used_at: datetime | None
    created_at: datetime


class EventLine(Shown):
    """Something that was done with an account, and by whom."""

    id: str
    at: datetime
    actor: Annotated[str, Field(description="usr_…, key_…, adm_…, `cli` or `anonymous`.")]
    action: str
    target: str
    address: str
    user_agent: str
    details: dict[str, Any]


class KeyLine(Shown):
    """An account's API key, without its secret."""

    id: str
    name: str
    public_id: str
    masked: str
    state: str
    created_at: datetime
    ended_at: datetime | None
    last_used_at: datetime | None
    last_app: str
    calls: int
    spent_nanos: int
    spent_usd: str
    expires_at: datetime | None
    models: list[str]
    scope: str
    addresses: list[str]


class KeyRevoked(Shown):
    """The key that has ended."""

    id: str
    state: str


class LimitLine(Shown):
    """One budget that binds."""

    what: str
    period: str
    limit_nanos: int
    limit_usd: str
    spent_nanos: int
    spent_usd: str
    held_nanos: int
    held_usd: str
    left_nanos: int
    left_usd: str
    resets_at: datetime | None


class LimitsShown(Shown):
    """What binds an account, and what it can spend now."""

    available_nanos: int
    available_usd: str
    time_zone: str
    premium: dict[str, bool]
    limits: list[LimitLine]


class RatesShown(Shown):
    """An account's rates; null is what the configuration says."""

    email: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    calls_at_once: int | None


class MailsShown(Shown):
    """Which mails an account's owner gets; security notices always go."""

    email: str
    new_app: bool
    new_address: bool
    limits: bool
    credit: bool


class PostingLine(Shown):
    """A line of an account's books: credit is positive, a charge negative."""

    id: str
    kind: str
    amount_nanos: int
    amount_usd: str
    note: str
    actor: str
    created_at: datetime


class Posted(AccountAndMoney):
    """An account after a posting, and the posting."""

    posting: PostingLine


class StatementLine(Shown):
    """A closed month."""

    id: str
    number: str
    month: str
    holder: str
    time_zone: str
    starts_at: datetime
    ends_at: datetime
    closed_at: datetime
    opening_nanos: int
    opening_usd: str
    closing_nanos: int
    closing_usd: str


class StatementShown(StatementLine):
    """A closed month in full."""

    credit_nanos: int
    credit_usd: str
    usage_nanos: int
    usage_usd: str
    csv: Annotated[str, Field(description="Its lines, as its CSV file has them.")]


class PaymentLine(Shown):
    """A payment."""

    id: str
    account_id: str
    amount_nanos: int
    amount_usd: str
    state: str
    session_id: str | None
    created_at: datetime


class BatchShown(Shown):
    """A batch of codes, without them."""

    id: str
    amount_nanos: int
    amount_usd: str
    codes: int
    redeemed: int
    note: str
    actor: str
    created_at: datetime
    expires_at: datetime | None
    withdrawn_at: datetime | None


class BatchMade(BatchShown):
    """A batch just made: the only answer that ever has its codes."""

    secrets: list[str]


class UpstreamShown(Shown):
    """An upstream, without its credential."""

    id: str
    name: str
    base_url: str
    has_credential: bool
    is_enabled: Annotated[bool, Field(description="Else its models are not on offer.")]
    speaks: list[str]
    extra_fields: list[str]
    calls_at_once: int | None
    created_at: datetime


class UpstreamTested(Shown):
    """What a test call found."""

    name: str
    works: bool
    problem: Annotated[str, Field(description="What is wrong, and what to do; else empty.")]


class UpstreamSwitched(Shown):
    """Whether an upstream's models are on offer."""

    name: str
    is_enabled: bool


class CredentialKept(Shown):
    """An upstream that has a credential."""

    name: str
    has_credential: bool


class Removed(Shown):
    """What is not in use any more."""

    name: str
    state: str


class ModelShown(Shown):
    """A model on offer with the prices in force, USD per million tokens."""

    name: str
    upstream: str
    upstream_model: str
    kind: str
    takes_images: bool
    tier: str
    is_offered: Annotated[bool, Field(description="Not while its upstream is disabled.")]
    context_tokens: int
    output_tokens_max: int
    price_version: int
    input_price: str
    cached_price: str
    output_price: str
    priority_input_price: str
    priority_cached_price: str
    priority_output_price: str
    created_at: datetime


class InvitationMade(Shown):
    """An invitation just made: the only answer that ever has its link."""

    id: str
    url: str
    email: str | None
    expires_us: int
    expires_at: datetime


class PostingSum(Shown):
    """What all postings of a kind add up to, as their accounts see them."""

    kind: str
    count: int
    sum_nanos: int
    sum_usd: str


class BooksShown(Shown):
    """What the platform has earned, owes and bears."""

    revenue_nanos: Annotated[int, Field(description="Usage at list price.")]
    revenue_usd: str
    charged_nanos: Annotated[int, Field(description="What accounts were charged of it.")]
    charged_usd: str
    given_nanos: Annotated[int, Field(description="Given or paid, less what was taken back.")]
    given_usd: str
    outstanding_nanos: Annotated[int, Field(description="Credit that is not spent.")]
    outstanding_usd: str
    owed_nanos: Annotated[int, Field(description="What accounts below zero owe.")]
    owed_usd: str
    overrun_nanos: Annotated[int, Field(description="What upstreams counted beyond holds.")]
    overrun_usd: str
    loss_nanos: Annotated[int, Field(description="What came too late to be anybody's.")]
    loss_usd: str
    accounts: int
    postings: list[PostingSum]


class AuditShown(Shown):
    """Every figure derived again from its rows."""

    agrees: bool
    findings: Annotated[list[str], Field(description="A sentence for each disagreement.")]
    checked: dict[str, int]


class HealthCheck(Shown):
    """One check, and what to do if it was not well."""

    name: str
    outcome: Annotated[str, Field(description="`ok`, `warning` or `failed`.")]
    says: str


class HealthShown(Shown):
    """What `latchgate doctor` finds of a running server."""

    version: str
    outcome: Annotated[str, Field(description="The worst of the checks.")]
    checks: list[HealthCheck]


class PlanShown(Shown):
    """A plan; null is what the configuration says."""

    id: str
    name: str
    accounts: Annotated[int, Field(description="How many have it.")]
    gift_nanos: int | None
    gift_usd: str | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    calls_at_once: int | None
    has_premium: bool
    credit_line_nanos: int
    credit_line_usd: str


class PlanGiven(Shown):
    """Which plan an account has from now on."""

    account_id: str
    email: str
    plan: str
