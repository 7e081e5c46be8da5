"""The tables of billing: how credit comes in, and what a month comes to.

codes       code_batches ─ redemption_codes (a code is kept as a peppered HMAC only)
statements  monthly_statements ─ statement_postings, statement_usage
payments    payments, payment_reversals, payment_events;  auto_top_ups
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    text,
)

from latchgate.storage.columns import (
    id_column,
    int_column,
    ref_column,
    strict_table,
    text_column,
)

code_batches = strict_table(
    "code_batches",
    id_column(),
    int_column("amount_nanos"),  # what each of its codes gives
    int_column("codes"),
    int_column("expires_us", null=True),  # the moment from which none is taken any more
    int_column("withdrawn_us", null=True),
    text_column("note"),  # shown beside the posting
    int_column("created_us"),
    text_column("actor"),
    CheckConstraint("amount_nanos > 0 AND codes > 0", name="signs"),
)

redemption_codes = strict_table(
    "redemption_codes",
    ref_column("batch_id", "code_batches.id"),
    int_column("number"),  # from 1, as in the list that was printed
    Column("code_hash", LargeBinary, nullable=False, unique=True),
    int_column("redeemed_us", null=True),
    ref_column("account_id", "accounts.id", null=True),
    ref_column("posting_id", "postings.id", null=True, unique=True),
    PrimaryKeyConstraint("batch_id", "number"),
    CheckConstraint(
        "(redeemed_us IS NULL) = (posting_id IS NULL) AND (account_id IS NULL) = "
        "(posting_id IS NULL)",
        name="redeemed",
    ),
    Index("ix_redemption_codes_account_id", "account_id"),
)

# A closed month: rows that are written once, together, and never again.
monthly_statements = strict_table(
    "monthly_statements",
    id_column(),
    ref_column("account_id", "accounts.id"),
    int_column("number"),  # from 1, without a gap
    text_column("holder"),  # the owner's e-mail as it was then
    text_column("time_zone"),
    int_column("starts_us"),
    int_column("ends_us"),
    int_column("opening_nanos"),
    int_column("closing_nanos"),
    int_column("closed_us"),
    CheckConstraint("starts_us < ends_us", name="period"),
    Index("uq_monthly_statements_account_id_number", "account_id", "number", unique=True),
)

# Which postings a statement is about: each is on one.
statement_postings = strict_table(
    "statement_postings",
    ref_column("statement_id", "monthly_statements.id"),
    ref_column("posting_id", "postings.id"),
    PrimaryKeyConstraint("posting_id"),
    Index("ix_statement_postings_statement_id", "statement_id"),
)

# What its usage postings add up to by day, model and service tier.
statement_usage = strict_table(
    "statement_usage",
    ref_column("statement_id", "monthly_statements.id"),
    text_column("day"),  # 2026-11-23, by the statement's time zone
    text_column("model"),
    text_column("service_tier"),
    int_column("calls"),
    int_column("input_tokens"),
    int_column("cached_tokens"),
    int_column("output_tokens"),
    int_column("charge_nanos"),
    PrimaryKeyConstraint("statement_id", "day", "model", "service_tier"),
)

payments = strict_table(
    "payments",
    id_column(),
    ref_column("account_id", "accounts.id"),
    int_column("amount_nanos"),
    # open ─ pending ─ paid | failed | expired;  review: what was paid is not what was asked for
    text_column("state"),
    text_column("session_id", null=True, unique=True),  # Stripe's names: cs_…, pi_…
    text_column("payment_intent", null=True, unique=True),
    int_column("created_us"),
    int_column("changed_us"),
    ref_column("posting_id", "postings.id", null=True, unique=True),
    text_column("kind"),  # checkout: its owner is present;  auto: nobody is
    int_column("tried_us", null=True),  # when an auto one was last asked of Stripe
    CheckConstraint("kind IN ('checkout', 'auto')", name="kind"),
    CheckConstraint(
        "state IN ('open', 'pending', 'paid', 'failed', 'expired', 'review')", name="state"
    ),
    CheckConstraint("(state = 'paid') = (posting_id IS NOT NULL)", name="paid"),
    CheckConstraint("amount_nanos > 0", name="amount"),
    Index("ix_payments_account_id", "account_id"),
    Index(
        "uq_payments_one_auto",
        "account_id",
        unique=True,
        sqlite_where=text("kind = 'auto' AND state IN ('open', 'pending')"),
        postgresql_where=text("kind = 'auto' AND state IN ('open', 'pending')"),
    ),
)

# How an account's credit is paid for by itself. No row, or "off": it is not.
auto_top_ups = strict_table(
    "auto_top_ups",
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    text_column("state"),  # off | confirming | on | failed
    int_column("threshold_nanos"),
    int_column("amount_nanos"),
    int_column("month_max_nanos"),
    text_column("setup_id", unique=True),  # atu_…: what the owner confirms at Stripe
    text_column("customer", null=True),  # Stripe's names: cus_…, pm_…
    text_column("payment_method", null=True),
    int_column("changed_us"),
    CheckConstraint("state IN ('off', 'confirming', 'on', 'failed')", name="state"),
    CheckConstraint(
        "state <> 'on' OR (customer IS NOT NULL AND payment_method IS NOT NULL)", name="card"
    ),
)

# Refunds and disputes, which may be told before their payment and in any order.
payment_reversals = strict_table(
    "payment_reversals",
    id_column(),  # Stripe's: re_…, dp_…
    text_column("kind"),  # payment_refund | dispute
    text_column("payment_intent"),
    int_column("amount_nanos"),
    int_column("is_returned"),  # it failed, or was decided for us: once so, always so
    int_column("created_us"),
    ref_column("taken_posting_id", "postings.id", null=True, unique=True),
    ref_column("returned_posting_id", "postings.id", null=True, unique=True),
    CheckConstraint("kind IN ('payment_refund', 'dispute')", name="kind"),
    CheckConstraint(
        "returned_posting_id IS NULL OR (taken_posting_id IS NOT NULL AND is_returned = 1)",
        name="returned",
    ),
    Index("ix_payment_reversals_payment_intent", "payment_intent"),
)

# Events that are done: one that is delivered again changes nothing.
payment_events = strict_table(
    "payment_events",
    id_column(),  # Stripe's: evt_…
    text_column("type"),
    text_column("outcome"),
    int_column("received_us"),
)
