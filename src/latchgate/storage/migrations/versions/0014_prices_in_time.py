"""Prices that wait for their moment, and can be withdrawn until then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: In force was the highest version, whatever the clock had said; now it is the one that came last.
_IN_ORDER = """
    UPDATE prices SET effective_from_us = (
        SELECT max(before.effective_from_us) FROM prices before
        WHERE before.model_id = prices.model_id AND before.version <= prices.version
    )
"""


def upgrade() -> None:
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE prices ADD COLUMN withdrawn_us {counted}")
    op.execute(sa.text(_IN_ORDER))


def downgrade() -> None:
    op.execute("ALTER TABLE prices DROP COLUMN withdrawn_us")
