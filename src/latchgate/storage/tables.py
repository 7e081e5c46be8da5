"""Every table. Times are integer microseconds of our clock, money is integer nano-USD.

people    users ─ memberships ─ accounts;  sessions, password_resets, invitations;  audit_events
          (second factors, passkeys: ``factor_tables.py``; plans: ``plan_tables.py``; operators'
          keys: ``operator_tables.py``)
keys      api_keys (a secret is kept as a peppered HMAC only)
          (what has used them is in ``key_tables.py``)
catalog   upstreams ─ models ─ prices (versions, never edited)
          (what put wrong ones right is in ``price_tables.py``)
books     ledger_accounts ─ ledger_entries ─ postings;  usage_events (the invoice lines)
          usage_days, usage_hours, usage_quarters (what the events of such a time add up to)
billing   (codes, statements and payments are in ``billing_tables.py``)
engine    budgets ─ budget_windows;  epochs ─ leases
          (what owners are told of them is in ``alert_tables.py``)
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from latchgate.storage import (
    alert_tables,
    billing_tables,
    factor_tables,
    key_tables,
    operator_tables,
    plan_tables,
    price_tables,
)
from latchgate.storage.columns import Int64, metadata
from latchgate.storage.columns import id_column as _id
from latchgate.storage.columns import int_column as _int
from latchgate.storage.columns import ref_column as _ref
from latchgate.storage.columns import strict_table as _table
from latchgate.storage.columns import text_column as _text
from latchgate.storage.columns import unique_where as _unique_where

#: What is passed on beside the tables below: the others are in the same metadata.
__all__ = ["Int64", "alert_tables", "billing_tables", "factor_tables", "key_tables", "metadata"]
__all__ += ["operator_tables", "plan_tables", "price_tables"]

# ── people ──────────────────────────────────────────────────────────────────────────────────────
users = _table(
    "users",
    _id(),
    _text("email"),  # as its owner writes it
    _text("email_key", unique=True),  # lower case, for look-ups
    _text("password_hash"),
    _int("is_operator"),
    _int("created_us"),
    _int("password_changed_us"),
)

accounts = _table(
    "accounts",
    _id(),
    _text("name"),
    _text("state"),  # active | suspended
    _int("is_premium_on"),  # whether the owner has switched premium models on
    _text("time_zone"),  # IANA name; budgets turn over at its midnight
    _int("credit_line_nanos"),  # how far below zero an account that pays afterwards may go
    _int("requests_per_minute", null=True),  # NULL: what the configuration says; 0: no limit
    _int("tokens_per_minute", null=True),
    _int("calls_at_once", null=True),
    _int("created_us"),
    # Whether the key may call premium models, where the account may; it outlives the key.
    _int("is_key_premium_on", default="1"),
    _int("closed_us", null=True),  # its owner has closed it: for good
    CheckConstraint("state IN ('active', 'suspended')", name="state"),
)

memberships = _table(
    "memberships",
    _ref("user_id", "users.id"),
    _ref("account_id", "accounts.id"),
    _text("role"),  # owner (more roles come with teams)
    PrimaryKeyConstraint("user_id", "account_id"),
    Index("ix_memberships_account_id", "account_id"),
)

sessions = _table(
    "sessions",
    _id(),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    _ref("user_id", "users.id"),
    _int("created_us"),
    _int("seen_us"),
    _int("expires_us"),
    _int("ended_us", null=True),
    _text("ip"),  # where it was last used from
    _text("user_agent"),
    _int("confirmed_us", default="0"),  # when its user last showed that it is he
    Index("ix_sessions_user_id", "user_id"),
)

password_resets = _table(
    "password_resets",
    Column("token_hash", LargeBinary, primary_key=True),
    _ref("user_id", "users.id"),
    _int("created_us"),
    _int("expires_us"),
    _int("used_us", null=True),
    Index("ix_password_resets_user_id", "user_id"),
)

invitations = _table(
    "invitations",
    _id(),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    _text("email_key", null=True),  # only this address may use it; NULL: any
    _int("created_us"),
    _int("expires_us"),
    _int("used_us", null=True),
)

audit_events = _table(
    "audit_events",
    _id(),
    _int("at_us"),
    _ref("account_id", "accounts.id", null=True),
    _text("actor"),  # usr_…, key_…, adm_…, "cli" or "anonymous"
    _text("action"),  # key.create, session.login_failed, …
    _text("target"),
    _text("ip"),
    _text("user_agent"),
    _text("details"),  # JSON object, never a secret
    Index("ix_audit_events_account_id_at_us", "account_id", "at_us"),
)

# ── keys ────────────────────────────────────────────────────────────────────────────────────────
api_keys = _table(
    "api_keys",
    _id(),
    _ref("account_id", "accounts.id"),
    _text("name"),
    _text("public_id", unique=True),
    _text("last_four"),
    Column("secret_hash", LargeBinary, nullable=False),
    # pending: made to replace the live key; works, and becomes live at its first use or at Done.
    _text("state"),  # pending | live | replaced | revoked
    _int("created_us"),
    _int("ended_us", null=True),
    _text("form_nonce", null=True, unique=True),  # a form sent twice makes one key
    # playground: the console's calls are noted under it. It has no secret, and its state is that of
    # a key that has ended: nothing can call with it, whoever forgets to look at its kind.
    Column(
        "kind",
        Text,
        CheckConstraint("kind IN ('secret', 'playground')", name="kind"),
        nullable=False,
        server_default="secret",
    ),
    # Its terms; what a key has that was made without any.
    _int("expires_us", null=True),  # NULL: it does not end by itself
    Column("models", Text, nullable=False, server_default="[]"),  # JSON list of names; empty: all
    Column(
        "scope",
        Text,
        CheckConstraint("scope IN ('all', 'inference', 'read_only')", name="scope"),
        nullable=False,
        server_default="all",
    ),
    Column("addresses", Text, nullable=False, server_default="[]"),  # JSON list; empty: anywhere
    CheckConstraint("state IN ('pending', 'live', 'replaced', 'revoked')", name="state"),
    Index("ix_api_keys_account_id", "account_id"),
    _unique_where("state = 'live'", "uq_api_keys_one_live", "account_id"),
    _unique_where("state = 'pending'", "uq_api_keys_one_pending", "account_id"),
    _unique_where("kind = 'playground'", "uq_api_keys_one_playground", "account_id"),
)

# ── catalog ─────────────────────────────────────────────────────────────────────────────────────
upstreams = _table(
    "upstreams",
    _id(),
    _text("name"),
    _text("base_url"),
    Column("credential_sealed", LargeBinary, nullable=True),  # encrypted: it is used again
    _text("extra_fields"),  # JSON list of body fields that it takes beyond OpenAI's
    _int("created_us"),
    _int("removed_us", null=True),
    # JSON list of the API's endpoints that it answers itself.
    Column("speaks", Text, nullable=False, server_default="[]"),
    _int("calls_at_once", null=True),  # more wait in line; NULL: no bound
    _int("disabled_us", null=True),  # since when its models are not on offer
    _unique_where("removed_us IS NULL", "uq_upstreams_name", "name"),
)

models = _table(
    "models",
    _id(),  # mdl_…
    _text("name"),  # what callers write in "model"
    _ref("upstream_id", "upstreams.id"),
    _text("upstream_model"),
    _text("tier"),  # standard | premium
    _int("context_tokens"),
    _int("output_tokens_max"),
    _int("message_tokens"),  # most tokens that a message costs beyond its bytes
    _int("is_thinking"),  # it may produce output that does not show in a stream
    _int("created_us"),
    _int("removed_us", null=True),
    Column(
        "kind",
        Text,
        CheckConstraint("kind IN ('chat', 'embeddings')", name="kind"),
        nullable=False,
        server_default="chat",
    ),
    _int("takes_images", default="0"),
    CheckConstraint("tier IN ('standard', 'premium')", name="tier"),
    _unique_where("removed_us IS NULL", "uq_models_name", "name"),
)

prices = _table(
    "prices",
    _id(),
    _ref("model_id", "models.id"),
    _int("version"),
    _int("input_picos"),
    _int("cached_picos"),
    _int("output_picos"),
    _int("effective_from_us"),
    # A version has a price for each: what a call that goes ahead of others costs is a row as well.
    Column(
        "service_tier",
        Text,
        CheckConstraint("service_tier IN ('default', 'priority')", name="service_tier"),
        nullable=False,
        server_default="default",
    ),
    _int("withdrawn_us", null=True),  # while it waited: it never takes effect
    Index(
        "uq_prices_model_id_version_service_tier",
        "model_id",
        "version",
        "service_tier",
        unique=True,
    ),
)

# ── books ───────────────────────────────────────────────────────────────────────────────────────
ledger_accounts = _table(
    "ledger_accounts",
    _id(),
    _text("kind"),  # customer | funding | revenue | overrun | loss
    _ref("account_id", "accounts.id", null=True),  # for kind customer
    _int("balance_nanos"),
    Index("uq_ledger_accounts_kind_account_id", "kind", "account_id", unique=True),
)

postings = _table(
    "postings",
    _id(),  # made by whoever asks for the effect, so that asking twice is one effect
    _text("kind"),  # gift | top_up | usage | …
    _ref("account_id", "accounts.id", null=True),
    _int("amount_nanos"),  # as its account sees it: credit is positive, a charge negative
    _int("created_us"),
    _text("actor"),
    _text("note"),
    Index("ix_postings_account_id_created_us", "account_id", "created_us"),
    Index(
        "ix_postings_credit",
        "account_id",
        "created_us",
        sqlite_where=text("kind <> 'usage'"),
        postgresql_where=text("kind <> 'usage'"),
    ),
)

ledger_entries = _table(
    "ledger_entries",
    _ref("posting_id", "postings.id"),
    _ref("ledger_account_id", "ledger_accounts.id"),
    _int("amount_nanos"),
    PrimaryKeyConstraint("posting_id", "ledger_account_id"),
    Index("ix_ledger_entries_ledger_account_id", "ledger_account_id"),
)

usage_events = _table(
    "usage_events",
    Column("request_id", Text, primary_key=True),
    _ref("account_id", "accounts.id"),
    _ref("api_key_id", "api_keys.id"),
    _ref("price_id", "prices.id"),
    _text("model"),
    _text("app"),
    _int("input_tokens"),
    _int("cached_tokens"),
    _int("output_tokens"),
    _int("hold_nanos"),
    _int("charge_nanos"),
    _int("overrun_nanos"),
    _text("outcome"),  # answered | ran_dry | hung_up | cut | failed | interrupted
    _text("counted_by"),  # upstream | gateway | nobody
    _int("is_stream"),
    _int("http_status"),
    _int("started_us"),
    _int("first_byte_us", null=True),
    _int("ended_us"),
    _text("ip"),
    _ref("posting_id", "postings.id", null=True),  # NULL only where nothing was charged
    CheckConstraint("charge_nanos BETWEEN 0 AND hold_nanos", name="charge"),
    Index("ix_usage_events_account_id_started_us", "account_id", "started_us"),
    Index("ix_usage_events_posting_id", "posting_id"),
)

# What the events of a UTC day, an hour and a quarter hour add up to: pages sum these rows, and the
# audit derives them again. A row is found by its key alone, so in SQLite the key is the table.
COUNTED = ("calls", "input_tokens", "cached_tokens", "output_tokens", "charge_nanos")


def _usage_sums(name: str, *indexes: Index) -> Table:
    return _table(
        name,
        _ref("account_id", "accounts.id"),
        _int("starts_us"),
        _ref("api_key_id", "api_keys.id"),
        _text("app"),
        _ref("price_id", "prices.id"),
        *(_int(name) for name in (*COUNTED, "last_used_us")),
        PrimaryKeyConstraint("account_id", "starts_us", "api_key_id", "app", "price_id"),
        *indexes,
        is_key_the_table=True,
    )


usage_days = _usage_sums("usage_days", Index("ix_usage_days_api_key_id", "api_key_id"))
usage_hours = _usage_sums("usage_hours")
usage_quarters = _usage_sums("usage_quarters")

# ── engine ──────────────────────────────────────────────────────────────────────────────────────
budgets = _table(
    "budgets",
    _id(),
    _ref("account_id", "accounts.id"),
    _text("kind"),  # credit | account_limit | key_limit | app_limit
    _text("period"),  # none | day | week | month
    _text("target"),  # the app that it binds; empty for all of the account's calls
    _int("limit_nanos"),
    _int("active_since_us", null=True),  # NULL: switched off, and binds nothing
    Index(
        "uq_budgets_account_id_kind_period_target",
        "account_id",
        "kind",
        "period",
        "target",
        unique=True,
    ),
)

budget_windows = _table(
    "budget_windows",
    _ref("budget_id", "budgets.id"),
    _int("starts_us"),  # 0 for period none
    _int("ends_us"),  # behind the last moment; 2^62 for period none
    _int("limit_nanos"),
    # The highest limit that the window has had, and what was charged to it without its lease.
    _int("ceiling_nanos"),
    _int("spent_nanos"),
    _int("leased_nanos"),
    # What alerts' shares are of, where it is not the limit: what was last added to the credit. And
    # the highest threshold that the owner was told of.
    _int("alert_base_nanos", null=True),
    _int("alerted", default="0"),
    PrimaryKeyConstraint("budget_id", "starts_us"),
    CheckConstraint("spent_nanos >= 0 AND leased_nanos >= 0", name="signs"),
    CheckConstraint("spent_nanos + leased_nanos <= ceiling_nanos", name="ceiling"),
    CheckConstraint("limit_nanos <= ceiling_nanos", name="limit"),
)

epochs = _table(
    "epochs",
    _id(),
    _int("started_us"),
    _int("ended_us", null=True),
    _int("journal_offset"),  # bytes of its journal that are posted
)

leases = _table(
    "leases",
    _ref("epoch_id", "epochs.id"),
    _text("budget_id"),
    _int("starts_us"),
    _int("leased_nanos"),
    PrimaryKeyConstraint("epoch_id", "budget_id", "starts_us"),
    CheckConstraint("leased_nanos >= 0", name="sign"),
)
