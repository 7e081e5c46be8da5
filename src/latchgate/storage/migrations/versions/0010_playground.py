"""What the console's own calls are noted under: a row beside an account's keys, with no secret."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """ALTER TABLE api_keys ADD COLUMN kind TEXT DEFAULT 'secret' NOT NULL
           CONSTRAINT ck_api_keys_kind CHECK (kind IN ('secret', 'playground'))"""
    )
    op.create_index(
        "uq_api_keys_one_playground",
        "api_keys",
        ["account_id"],
        unique=True,
        sqlite_where=sa.text("kind = 'playground'"),
        postgresql_where=sa.text("kind = 'playground'"),
    )


def downgrade() -> None:
    # Its row may have been charged for, and stays: as the ended key that its state says it is.
    op.drop_index("uq_api_keys_one_playground", table_name="api_keys")
    op.execute("ALTER TABLE api_keys DROP COLUMN kind")
