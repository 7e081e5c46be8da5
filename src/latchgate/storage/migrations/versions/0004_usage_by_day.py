"""What the usage events of a day add up to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_DAY_US = 86_400_000_000
_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "usage_days",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("starts_us", _INT64, nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("calls", _INT64, nullable=False),
        sa.Column("input_tokens", _INT64, nullable=False),
        sa.Column("cached_tokens", _INT64, nullable=False),
        sa.Column("output_tokens", _INT64, nullable=False),
        sa.Column("charge_nanos", _INT64, nullable=False),
        sa.Column("last_used_us", _INT64, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_usage_days_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_usage_days_api_key_id")
        ),
        sa.ForeignKeyConstraint(["price_id"], ["prices.id"], name=op.f("fk_usage_days_price_id")),
        sa.PrimaryKeyConstraint(
            "account_id",
            "starts_us",
            "api_key_id",
            "app",
            "price_id",
            name=op.f("pk_usage_days"),
        ),
        sqlite_strict=True,
    )
    op.create_index("ix_usage_days_api_key_id", "usage_days", ["api_key_id"])
    # What was used before there were sums; a statement that reads nothing in a new installation.
    op.execute(
        f"""INSERT INTO usage_days
            SELECT account_id, started_us - started_us % {_DAY_US}, api_key_id, app, price_id,
                   count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens),
                   sum(charge_nanos), max(started_us)
            FROM usage_events
            GROUP BY account_id, started_us - started_us % {_DAY_US}, api_key_id, app, price_id"""  # noqa: S608 - a number of ours
    )


def downgrade() -> None:
    op.drop_index("ix_usage_days_api_key_id", table_name="usage_days")
    op.drop_table("usage_days")
