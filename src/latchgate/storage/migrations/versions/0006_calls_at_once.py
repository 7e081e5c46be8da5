"""How many calls an upstream runs at once; NULL is without a bound."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE upstreams ADD COLUMN calls_at_once {counted}")


def downgrade() -> None:
    op.execute("ALTER TABLE upstreams DROP COLUMN calls_at_once")
