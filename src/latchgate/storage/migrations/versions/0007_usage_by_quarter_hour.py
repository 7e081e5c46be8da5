"""What the usage events of an hour and a quarter hour add up to; sums whose key is the table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_QUARTER_US = 900_000_000
_HOUR_US = 3_600_000_000
_DAY_US = 86_400_000_000
_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # The newest call of a key is found by its sums.
    op.drop_index("ix_usage_events_api_key_id_started_us", table_name="usage_events")
    _create("usage_quarters", is_key_the_table=True)
    _create("usage_hours", is_key_the_table=True)
    _add_up("usage_quarters", "usage_events", _QUARTER_US, "started_us", "count(*)", "started_us")
    _add_up_sums("usage_hours", "usage_quarters", _HOUR_US)
    _write_days_anew(is_key_the_table=True)


def downgrade() -> None:
    _write_days_anew(is_key_the_table=False)
    op.drop_table("usage_quarters")
    op.drop_table("usage_hours")
    op.create_index(
        "ix_usage_events_api_key_id_started_us", "usage_events", ["api_key_id", "started_us"]
    )


def _write_days_anew(*, is_key_the_table: bool) -> None:
    op.drop_index("ix_usage_days_api_key_id", table_name="usage_days")
    op.drop_table("usage_days")
    _create("usage_days", is_key_the_table=is_key_the_table)
    op.create_index("ix_usage_days_api_key_id", "usage_days", ["api_key_id"])
    _add_up_sums("usage_days", "usage_hours", _DAY_US)


def _create(name: str, *, is_key_the_table: bool) -> None:
    key = ("account_id", "starts_us", "api_key_id", "app", "price_id")
    op.create_table(
        name,
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
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=f"fk_{name}_account_id"),
        sa.ForeignKeyConstraint(["api_key_id"], ["api_keys.id"], name=f"fk_{name}_api_key_id"),
        sa.ForeignKeyConstraint(["price_id"], ["prices.id"], name=f"fk_{name}_price_id"),
        sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"),
        sqlite_strict=True,
        sqlite_with_rowid=not is_key_the_table,
    )


def _add_up_sums(name: str, source: str, width_us: int) -> None:
    _add_up(name, source, width_us, "starts_us", "sum(calls)", "last_used_us")


def _add_up(name: str, source: str, width_us: int, at: str, calls: str, last_used: str) -> None:
    """One statement, which reads nothing in a new installation."""
    starts_us = f"{at} - {at} % {width_us}"
    # PostgreSQL sums 64 bits into a decimal, and takes it back into 64 bits where it is written.
    op.execute(
        f"""INSERT INTO {name}
            SELECT account_id, {starts_us}, api_key_id, app, price_id, {calls},
                   sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(charge_nanos),
                   max({last_used})
            FROM {source} GROUP BY account_id, {starts_us}, api_key_id, app, price_id"""  # noqa: S608 - names and numbers of ours
    )
