"""The tables of prices that were wrong, and what put them right.

corrections   price_corrections ─ price_correction_lines (a posting each) ─ corrected_calls
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint

from latchgate.storage.columns import (
    id_column,
    int_column,
    ref_column,
    strict_table,
    text_column,
)

# What a model's calls of a span of time should have cost.
price_corrections = strict_table(
    "price_corrections",
    id_column(),
    text_column("model"),  # its name, as callers write it
    int_column("since_us"),
    int_column("until_us"),  # behind the last moment
    int_column("input_picos"),
    int_column("cached_picos"),
    int_column("output_picos"),
    int_column("priority_percent"),
    text_column("reason"),  # every owner reads it beside his posting
    int_column("created_us"),
    text_column("actor"),
    CheckConstraint("since_us < until_us", name="span"),
)

# What an account was charged for them until then, and what it should have been.
price_correction_lines = strict_table(
    "price_correction_lines",
    ref_column("correction_id", "price_corrections.id"),
    ref_column("account_id", "accounts.id"),
    ref_column("posting_id", "postings.id", unique=True),
    int_column("calls"),
    int_column("charged_nanos"),
    int_column("right_nanos"),
    PrimaryKeyConstraint("correction_id", "account_id"),
    CheckConstraint("charged_nanos <> right_nanos", name="difference"),
    Index("ix_price_correction_lines_account_id", "account_id"),
)

# By how much each call's charge was put right. With its usage event that is what it has cost, so
# that a correction that is made again finds nothing to do.
corrected_calls = strict_table(
    "corrected_calls",
    ref_column("request_id", "usage_events.request_id"),
    ref_column("correction_id", "price_corrections.id"),
    int_column("difference_nanos"),  # above zero: it should have cost more
    PrimaryKeyConstraint("request_id", "correction_id"),
    Index("ix_corrected_calls_correction_id", "correction_id"),
    is_key_the_table=True,
)
