"""The tables of plans: named sets of terms, and which accounts have them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Text

from latchgate.storage.columns import id_column, int_column, strict_table, text_column

plans = strict_table(
    "plans",
    id_column(),  # pln_…; the one that accounts have by themselves is pln_default
    text_column("name", unique=True),
    int_column("gift_nanos", null=True),  # NULL, here and below: what the configuration says
    int_column("requests_per_minute", null=True),  # 0: no limit
    int_column("tokens_per_minute", null=True),
    int_column("calls_at_once", null=True),
    int_column("has_premium"),  # whether premium models can be switched on
    int_column("credit_line_nanos"),
    int_column("created_us"),
    CheckConstraint("has_premium IN (0, 1)", name="has_premium"),
    CheckConstraint("credit_line_nanos >= 0", name="credit_line"),
)

# An account without a row has the default plan.
account_plans = strict_table(
    "account_plans",
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("plan_id", Text, ForeignKey("plans.id"), nullable=False),
    Index("ix_account_plans_plan_id", "plan_id"),
)
