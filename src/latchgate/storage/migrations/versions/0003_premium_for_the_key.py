"""Whether an account's key may call premium models, where the account may."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # By ADD COLUMN: SQLite would otherwise make the table anew, which the references to it forbid
    # inside a transaction.
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE accounts ADD COLUMN is_key_premium_on {counted} DEFAULT 1 NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE accounts DROP COLUMN is_key_premium_on")
