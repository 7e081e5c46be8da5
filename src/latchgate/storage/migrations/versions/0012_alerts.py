"""What owners are told of their limits and credit, and how far they were told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WAITS = "mail_id IS NOT NULL AND mail_ended_us IS NULL"
#: What was last added to an account's credit: alerts about it are shares of that.
_LAST_ADDED = """
    UPDATE budget_windows SET alert_base_nanos = (
        SELECT postings.amount_nanos
        FROM postings JOIN budgets ON budgets.account_id = postings.account_id
        WHERE budgets.id = budget_windows.budget_id
          AND postings.kind IN ('gift', 'top_up', 'redemption', 'payment')
        ORDER BY postings.created_us DESC, postings.id DESC LIMIT 1
    )
    WHERE budget_id IN (SELECT id FROM budgets WHERE kind = 'credit')
"""


def _int(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[object]:
    return sa.Column(name, _INT64, nullable=null, server_default=default and sa.text(default))


def _text(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=null)


def _of_account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["account_id"], ["accounts.id"], name=op.f(f"fk_{table}_account_id")
    )


def upgrade() -> None:
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE budget_windows ADD COLUMN alert_base_nanos {counted}")
    op.execute(f"ALTER TABLE budget_windows ADD COLUMN alerted {counted} DEFAULT 0 NOT NULL")
    op.execute(_LAST_ADDED)
    op.create_table(
        "alert_terms",
        _text("account_id"),
        _text("percents"),
        _int("credit_left_nanos", null=True),
        _int("mails_limits"),
        _int("mails_credit"),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_alert_terms")),
        _of_account("alert_terms"),
        sqlite_strict=True,
    )
    op.create_table(
        "alerts",
        _text("id"),
        _text("account_id"),
        _text("budget_id"),
        _int("starts_us"),
        _int("ends_us"),
        _text("kind"),
        _text("period"),
        _int("threshold"),
        _int("limit_nanos"),
        _int("left_nanos"),
        _int("created_us"),
        _int("ended_us", null=True),
        _text("mail_id", null=True),
        _int("mail_tries", default="0"),
        _int("mail_next_us", default="0"),
        _int("mail_ended_us", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        _of_account("alerts"),
        sa.CheckConstraint("threshold BETWEEN 1 AND 100", name=op.f("ck_alerts_threshold")),
        sqlite_strict=True,
    )
    op.create_index("ix_alerts_account_id_created_us", "alerts", ["account_id", "created_us"])
    op.create_index(
        "ix_alerts_waiting",
        "alerts",
        ["mail_next_us"],
        sqlite_where=sa.text(_WAITS),
        postgresql_where=sa.text(_WAITS),
    )


def downgrade() -> None:
    op.drop_table("alerts")
    op.drop_table("alert_terms")
    op.execute("ALTER TABLE budget_windows DROP COLUMN alerted")
    op.execute("ALTER TABLE budget_windows DROP COLUMN alert_base_nanos")
