"""Prices that wait for their moment, corrections of those that were wrong, and plans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: In force was the highest version, whatever the clock had said; now it is the one that came last.
_IN_ORDER = """
    UPDATE prices SET effective_from_us = (
        SELECT max(before.effective_from_us) FROM prices before
        WHERE before.model_id = prices.model_id AND before.version <= prices.version
    )
"""


def _int(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, _INT64, nullable=null)


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=False)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [to], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE prices ADD COLUMN withdrawn_us {counted}")
    op.execute(sa.text(_IN_ORDER))
    _add_corrections()
    _add_plans()


def _add_corrections() -> None:
    op.create_table(
        "price_corrections",
        _text("id"),
        _text("model"),
        _int("since_us"),
        _int("until_us"),
        _int("input_picos"),
        _int("cached_picos"),
        _int("output_picos"),
        _int("priority_percent"),
        _text("reason"),
        _int("created_us"),
        _text("actor"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_corrections")),
        sa.CheckConstraint("since_us < until_us", name=op.f("ck_price_corrections_span")),
        sqlite_strict=True,
    )
    lines = "price_correction_lines"
    op.create_table(
        lines,
        _text("correction_id"),
        _text("account_id"),
        _text("posting_id"),
        _int("calls"),
        _int("charged_nanos"),
        _int("right_nanos"),
        _refers(lines, "correction_id", "price_corrections.id"),
        _refers(lines, "account_id", "accounts.id"),
        _refers(lines, "posting_id", "postings.id"),
        sa.PrimaryKeyConstraint("correction_id", "account_id", name=op.f(f"pk_{lines}")),
        sa.UniqueConstraint("posting_id", name=op.f(f"uq_{lines}_posting_id")),
        sa.CheckConstraint("charged_nanos <> right_nanos", name=op.f(f"ck_{lines}_difference")),
        sqlite_strict=True,
    )
    op.create_index(f"ix_{lines}_account_id", lines, ["account_id"])
    calls = "corrected_calls"
    op.create_table(
        calls,
        _text("request_id"),
        _text("correction_id"),
        _int("difference_nanos"),
        _refers(calls, "request_id", "usage_events.request_id"),
        _refers(calls, "correction_id", "price_corrections.id"),
        sa.PrimaryKeyConstraint("request_id", "correction_id", name=op.f(f"pk_{calls}")),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{calls}_correction_id", calls, ["correction_id"])


def _add_plans() -> None:
    op.create_table(
        "plans",
        _text("id"),
        _text("name"),
        _int("gift_nanos", null=True),
        _int("requests_per_minute", null=True),
        _int("tokens_per_minute", null=True),
        _int("calls_at_once", null=True),
        _int("has_premium"),
        _int("credit_line_nanos"),
        _int("created_us"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
        sa.UniqueConstraint("name", name=op.f("uq_plans_name")),
        sa.CheckConstraint("has_premium IN (0, 1)", name=op.f("ck_plans_has_premium")),
        sa.CheckConstraint("credit_line_nanos >= 0", name=op.f("ck_plans_credit_line")),
        sqlite_strict=True,
    )
    op.create_table(
        "account_plans",
        _text("account_id"),
        _text("plan_id"),
        _refers("account_plans", "account_id", "accounts.id"),
        _refers("account_plans", "plan_id", "plans.id"),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account_plans")),
        sqlite_strict=True,
    )
    op.create_index("ix_account_plans_plan_id", "account_plans", ["plan_id"])
    # The one that every account has by itself says nothing of its own.
    op.execute(
        """INSERT INTO plans (id, name, has_premium, credit_line_nanos, created_us)
           VALUES ('pln_default', 'default', 1, 0, 0)"""
    )


def downgrade() -> None:
    for table in ("account_plans", "plans"):
        op.drop_table(table)
    for table in ("corrected_calls", "price_correction_lines", "price_corrections"):
        op.drop_table(table)
    op.execute("ALTER TABLE prices DROP COLUMN withdrawn_us")
