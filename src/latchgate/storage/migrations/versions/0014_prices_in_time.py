"""Prices that wait for their moment, and corrections of those that were wrong."""

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


def _int(name: str) -> sa.Column[object]:
    return sa.Column(name, _INT64, nullable=False)


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Text(), nullable=False)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [to], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE prices ADD COLUMN withdrawn_us {counted}")
    op.execute(sa.text(_IN_ORDER))
    _add_corrections()


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


def downgrade() -> None:
    for table in ("corrected_calls", "price_correction_lines", "price_corrections"):
        op.drop_table(table)
    op.execute("ALTER TABLE prices DROP COLUMN withdrawn_us")
