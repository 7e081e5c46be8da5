"""How credit comes in, and what a month comes to: codes, statements, payments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_codes()
    _create_statements()
    _create_payments()
    _create_auto_top_ups()


def _create_codes() -> None:
    op.create_table(
        "code_batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("amount_nanos", _INT64, nullable=False),
        sa.Column("codes", _INT64, nullable=False),
        sa.Column("expires_us", _INT64, nullable=True),
        sa.Column("withdrawn_us", _INT64, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_us", _INT64, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_nanos > 0 AND codes > 0", name=op.f("ck_code_batches_signs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_batches")),
        sqlite_strict=True,
    )
    op.create_table(
        "redemption_codes",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("number", _INT64, nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("redeemed_us", _INT64, nullable=True),
        sa.Column("account_id", sa.Text(), nullable=True),
        sa.Column("posting_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(redeemed_us IS NULL) = (posting_id IS NULL) AND (account_id IS NULL) = "
            "(posting_id IS NULL)",
            name=op.f("ck_redemption_codes_redeemed"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["code_batches.id"], name=op.f("fk_redemption_codes_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_redemption_codes_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["posting_id"], ["postings.id"], name=op.f("fk_redemption_codes_posting_id")
        ),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_redemption_codes")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_redemption_codes_code_hash")),
        sa.UniqueConstraint("posting_id", name=op.f("uq_redemption_codes_posting_id")),
        sqlite_strict=True,
    )
    op.create_index("ix_redemption_codes_account_id", "redemption_codes", ["account_id"])


def _create_statements() -> None:
    op.create_table(
        "monthly_statements",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("number", _INT64, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("starts_us", _INT64, nullable=False),
        sa.Column("ends_us", _INT64, nullable=False),
        sa.Column("opening_nanos", _INT64, nullable=False),
        sa.Column("closing_nanos", _INT64, nullable=False),
        sa.Column("closed_us", _INT64, nullable=False),
        sa.CheckConstraint("starts_us < ends_us", name=op.f("ck_monthly_statements_period")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_monthly_statements_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_monthly_statements")),
        sqlite_strict=True,
    )
    op.create_index(
        "uq_monthly_statements_account_id_number",
        "monthly_statements",
        ["account_id", "number"],
        unique=True,
    )
    op.create_table(
        "statement_postings",
        sa.Column("statement_id", sa.Text(), nullable=False),
        sa.Column("posting_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["statement_id"],
            ["monthly_statements.id"],
            name=op.f("fk_statement_postings_statement_id"),
        ),
        sa.ForeignKeyConstraint(
            ["posting_id"], ["postings.id"], name=op.f("fk_statement_postings_posting_id")
        ),
        sa.PrimaryKeyConstraint("posting_id", name=op.f("pk_statement_postings")),
        sqlite_strict=True,
    )
    op.create_index("ix_statement_postings_statement_id", "statement_postings", ["statement_id"])
    op.create_table(
        "statement_usage",
        sa.Column("statement_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("service_tier", sa.Text(), nullable=False),
        sa.Column("calls", _INT64, nullable=False),
        sa.Column("input_tokens", _INT64, nullable=False),
        sa.Column("cached_tokens", _INT64, nullable=False),
        sa.Column("output_tokens", _INT64, nullable=False),
        sa.Column("charge_nanos", _INT64, nullable=False),
        sa.ForeignKeyConstraint(
            ["statement_id"],
            ["monthly_statements.id"],
            name=op.f("fk_statement_usage_statement_id"),
        ),
        sa.PrimaryKeyConstraint(
            "statement_id", "day", "model", "service_tier", name=op.f("pk_statement_usage")
        ),
        sqlite_strict=True,
    )
    is_credit = sa.text("kind <> 'usage'")
    op.create_index(
        "ix_postings_credit",
        "postings",
        ["account_id", "created_us"],
        sqlite_where=is_credit,
        postgresql_where=is_credit,
    )


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("amount_nanos", _INT64, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("payment_intent", sa.Text(), nullable=True),
        sa.Column("created_us", _INT64, nullable=False),
        sa.Column("changed_us", _INT64, nullable=False),
        sa.Column("posting_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tried_us", _INT64, nullable=True),
        sa.CheckConstraint("kind IN ('checkout', 'auto')", name=op.f("ck_payments_kind")),
        sa.CheckConstraint(
            "state IN ('open', 'pending', 'paid', 'failed', 'expired', 'review')",
            name=op.f("ck_payments_state"),
        ),
        sa.CheckConstraint(
            "(state = 'paid') = (posting_id IS NOT NULL)", name=op.f("ck_payments_paid")
        ),
        sa.CheckConstraint("amount_nanos > 0", name=op.f("ck_payments_amount")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_payments_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["posting_id"], ["postings.id"], name=op.f("fk_payments_posting_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
        sa.UniqueConstraint("session_id", name=op.f("uq_payments_session_id")),
        sa.UniqueConstraint("payment_intent", name=op.f("uq_payments_payment_intent")),
        sa.UniqueConstraint("posting_id", name=op.f("uq_payments_posting_id")),
        sqlite_strict=True,
    )
    op.create_index("ix_payments_account_id", "payments", ["account_id"])
    is_running = sa.text("kind = 'auto' AND state IN ('open', 'pending')")
    op.create_index(
        "uq_payments_one_auto",
        "payments",
        ["account_id"],
        unique=True,
        sqlite_where=is_running,
        postgresql_where=is_running,
    )
    op.create_table(
        "payment_reversals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payment_intent", sa.Text(), nullable=False),
        sa.Column("amount_nanos", _INT64, nullable=False),
        sa.Column("is_returned", _INT64, nullable=False),
        sa.Column("created_us", _INT64, nullable=False),
        sa.Column("taken_posting_id", sa.Text(), nullable=True),
        sa.Column("returned_posting_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('payment_refund', 'dispute')", name=op.f("ck_payment_reversals_kind")
        ),
        sa.CheckConstraint(
            "returned_posting_id IS NULL OR (taken_posting_id IS NOT NULL AND is_returned = 1)",
            name=op.f("ck_payment_reversals_returned"),
        ),
        sa.ForeignKeyConstraint(
            ["taken_posting_id"],
            ["postings.id"],
            name=op.f("fk_payment_reversals_taken_posting_id"),
        ),
        sa.ForeignKeyConstraint(
            ["returned_posting_id"],
            ["postings.id"],
            name=op.f("fk_payment_reversals_returned_posting_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_reversals")),
        sa.UniqueConstraint("taken_posting_id", name=op.f("uq_payment_reversals_taken_posting_id")),
        sa.UniqueConstraint(
            "returned_posting_id", name=op.f("uq_payment_reversals_returned_posting_id")
        ),
        sqlite_strict=True,
    )
    op.create_index("ix_payment_reversals_payment_intent", "payment_reversals", ["payment_intent"])
    op.create_table(
        "payment_events",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("received_us", _INT64, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_events")),
        sqlite_strict=True,
    )


def _create_auto_top_ups() -> None:
    op.create_table(
        "auto_top_ups",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("threshold_nanos", _INT64, nullable=False),
        sa.Column("amount_nanos", _INT64, nullable=False),
        sa.Column("month_max_nanos", _INT64, nullable=False),
        sa.Column("setup_id", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("payment_method", sa.Text(), nullable=True),
        sa.Column("changed_us", _INT64, nullable=False),
        sa.CheckConstraint(
            "state IN ('off', 'confirming', 'on', 'failed')", name=op.f("ck_auto_top_ups_state")
        ),
        sa.CheckConstraint(
            "state <> 'on' OR (customer IS NOT NULL AND payment_method IS NOT NULL)",
            name=op.f("ck_auto_top_ups_card"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_auto_top_ups_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_auto_top_ups")),
        sa.UniqueConstraint("setup_id", name=op.f("uq_auto_top_ups_setup_id")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("auto_top_ups")
    op.drop_table("payment_events")
    op.drop_table("payment_reversals")
    op.drop_table("payments")
    op.drop_index("ix_postings_credit", table_name="postings")
    op.drop_table("statement_usage")
    op.drop_table("statement_postings")
    op.drop_table("monthly_statements")
    op.drop_index("ix_redemption_codes_account_id", table_name="redemption_codes")
    op.drop_table("redemption_codes")
    op.drop_table("code_batches")
