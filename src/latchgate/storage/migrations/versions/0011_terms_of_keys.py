"""Terms of keys: until when, which models, what for, and from where; and what has used keys.

What has used a key before is known, and no news to its owner.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INT64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
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
    _add_sightings()


def _add_sightings() -> None:
    op.create_table(
        "key_sightings",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False),
        sa.Column("first_us", _INT64, nullable=False),
        sa.Column("told_us", _INT64, nullable=True),
        sa.PrimaryKeyConstraint("account_id", "kind", "value", name=op.f("pk_key_sightings")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_key_sightings_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_key_sightings_api_key_id")
        ),
        sa.CheckConstraint("kind IN ('app', 'address')", name=op.f("ck_key_sightings_kind")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_key_sightings_account_id_kind_first_us",
        "key_sightings",
        ["account_id", "kind", "first_us"],
    )
    op.create_table(
        "muted_notices",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "what", name=op.f("pk_muted_notices")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_muted_notices_account_id")
        ),
        sqlite_strict=True,
    )
    op.execute(
        """INSERT INTO key_sightings (account_id, kind, value, api_key_id, first_us, told_us)
           SELECT account_id, 'app', app, min(api_key_id), min(starts_us), 0
           FROM usage_days GROUP BY account_id, app"""
    )
    # Of IPv6 a network of 64 bits counts as one place, which SQL can't tell: it is news once.
    op.execute(
        """INSERT INTO key_sightings (account_id, kind, value, api_key_id, first_us, told_us)
           SELECT account_id, 'address', ip, min(api_key_id), min(started_us), 0
           FROM usage_events WHERE ip <> '' AND ip NOT LIKE '%:%' GROUP BY account_id, ip"""
    )


def downgrade() -> None:
    op.drop_table("muted_notices")
    op.drop_table("key_sightings")
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE api_keys DROP COLUMN {column}")
