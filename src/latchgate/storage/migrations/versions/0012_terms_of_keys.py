"""Terms of keys: until when, which models, what for, and from where."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = ("addresses", "scope", "models", "expires_us")


def upgrade() -> None:
    counted = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE api_keys ADD COLUMN expires_us {counted}")
    op.execute("ALTER TABLE api_keys ADD COLUMN models TEXT DEFAULT '[]' NOT NULL")
    op.execute(
        """ALTER TABLE api_keys ADD COLUMN scope TEXT DEFAULT 'all' NOT NULL
           CONSTRAINT ck_api_keys_scope CHECK (scope IN ('all', 'inference', 'read_only'))"""
    )
    op.execute("ALTER TABLE api_keys ADD COLUMN addresses TEXT DEFAULT '[]' NOT NULL")


def downgrade() -> None:
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE api_keys DROP COLUMN {column}")
